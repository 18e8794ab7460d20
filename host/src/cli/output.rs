//! How a command prints its result: as text for people, or as JSON for programs.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

/// How a command prints.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct OutputArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    /// Prints JSON or text.
    pub(super) fn print(self, value: &Value, text: impl FnOnce() -> String) -> ExitCode {
        let text = if self.json { format!("{value:#}\n") } else { text() };
        // A closed pipe changes nothing: the work is done, and the exit code reports it.
        let _ = std::io::stdout().write_all(text.as_bytes());
        ExitCode::SUCCESS
    }
}
