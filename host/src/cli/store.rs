//! `linger store`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use crate::events::{Contents, OpenError, check};

/// Look after the directory of a store
#[derive(Debug, Args)]
pub(super) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read all that a store's directory holds, and print how much that is
    ///
    /// No host may have it open. Exits with 0 if all can be read, and with 1 if the directory is damaged.
    Check {
        /// The directory that `linger serve` was given by `--store`
        directory: PathBuf,
    },
}

impl Store {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Check { directory } = self.command;
        let contents = match check(&directory) {
            Err(error @ OpenError::Damaged(..)) => {
                // Nobody is left to tell if this fails.
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return Ok(ExitCode::FAILURE);
            }
            contents => contents?,
        };
        // Who reads no further has seen enough; the exit code says the rest.
        let _ = print(&contents);
        Ok(ExitCode::SUCCESS)
    }
}

fn print(contents: &Contents) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (mut events, mut bytes) = (0, 0);
    for (kind, all) in [("queue", &contents.queues), ("topic", &contents.topics)] {
        for content in all {
            writeln!(out, "{kind} {}: {} events, {}", content.name, content.events, ByteSize(content.bytes))?;
            events += content.events;
            bytes += content.bytes;
        }
    }
    let (queues, topics) = (contents.queues.len(), contents.topics.len());
    writeln!(out, "{queues} queues, {topics} topics, {events} events, {}: all can be read", ByteSize(bytes))
}
