//! `linger store`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use linger_events::{DirectoryContents, OpenError, check};

use super::output::OutputArgs;
use super::queues::to_json;

/// Look after the directory of a store
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read all that a store's directory holds, and print how much that is
    ///
    /// No host may have it open. Exits with 0 if all can be read, and with 1 if the directory is damaged.
    Check {
        /// The directory that `linger serve` was given by `--store`
        directory: PathBuf,

        #[command(flatten)]
        output: OutputArgs,
    },
}

impl StoreArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let StoreCommand::Check { directory, output } = self.command;
        let contents = match check(&directory) {
            Err(error @ OpenError::Damaged(..)) => {
                // Nobody is left to tell if this fails.
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return Ok(ExitCode::FAILURE);
            }
            contents => contents?,
        };
        Ok(output.print(&to_json(&contents), || to_text(&contents)))
    }
}

fn to_text(contents: &DirectoryContents) -> String {
    let mut text = String::new();
    let (mut events, mut bytes) = (0, 0);
    for (kind, all) in [("queue", &contents.queues), ("topic", &contents.topics)] {
        for content in all {
            let (name, size) = (&content.name, ByteSize(content.bytes));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{kind} {name}: {} events, {size}", content.events);
            events += content.events;
            bytes += content.bytes;
        }
    }
    let (queues, topics) = (contents.queues.len(), contents.topics.len());
    let size = ByteSize(bytes);
    let _ = writeln!(text, "{queues} queues, {topics} topics, {events} events, {size}: all can be read");
    text
}
