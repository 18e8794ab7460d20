//! `linger man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;

use super::{Cli, print};

/// Print the man page, or write the man pages of all commands to a folder
#[derive(Debug, Args)]
#[command(after_help = examples!("linger man | man -l -", "linger man ~/.local/share/man/man1"))]
pub(super) struct ManArgs {
    /// The folder for `linger.1` and the pages of the commands; created if it does not exist
    directory: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let command = Cli::command();
        if let Some(directory) = self.directory {
            let written = std::fs::create_dir_all(&directory)
                .and_then(|()| clap_mangen::generate_to(command, &directory));
            written.map_err(|error| anyhow!("{}: {error}; name another folder", directory.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = Vec::new();
        Page::new(command).render(&mut text)?;
        print(&text)
    }
}
