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

/// Check a store on disk
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Verify every event in a store's directory, and print their number and size
    ///
    /// No server may have it open. Exits with 0 if every event can be read, and with 1 if the store is damaged.
    Check {
        /// The directory, as given to `linger serve --store`
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
                // There is nowhere to report a failure of this.
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
    let _ = writeln!(text, "{queues} queues, {topics} topics, {events} events, {size}: no damage found");
    text
}
