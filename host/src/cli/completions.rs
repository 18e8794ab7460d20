//! `linger completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, print};

/// Print a shell's completion script
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger completions bash > ~/.local/share/bash-completion/completions/linger",
    "linger completions fish > ~/.config/fish/completions/linger.fish",
))]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // Not directly to standard output: this panics if the pipe is closed.
        let mut text = Vec::new();
        generate(self.shell, &mut Cli::command(), "linger", &mut text);
        print(&text)
    }
}
