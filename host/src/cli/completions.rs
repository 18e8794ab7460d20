//! `linger completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, print};

/// Print what a shell needs to complete the command line
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
        // Not at once to standard output: if its reader has gone, this panics.
        let mut text = Vec::new();
        generate(self.shell, &mut Cli::command(), "linger", &mut text);
        print(&text)
    }
}
