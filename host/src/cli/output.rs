//! How a command says what it has found out or done: for people, or for programs.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

/// How a command prints.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Prints one of the two.
    pub(super) fn print(self, value: &Value, text: impl FnOnce() -> String) -> ExitCode {
        let text = if self.json { format!("{value:#}\n") } else { text() };
        // Who reads no further has seen enough; what was done is done, and the exit code says the rest.
        let _ = std::io::stdout().write_all(text.as_bytes());
        ExitCode::SUCCESS
    }
}
