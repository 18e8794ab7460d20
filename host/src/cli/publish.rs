//! `linger publish`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::offline::{Directory, Payload};
use crate::events::Name;

/// Store an event at the end of a topic, and print the cursor after it
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "echo hello | linger publish news --store events",
))]
pub(super) struct Publish {
    /// The topic's name
    topic: Name,

    #[command(flatten)]
    payload: Payload,

    #[command(flatten)]
    directory: Directory,
}

impl Publish {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { topic, payload, directory } = self;
        let event = payload.read()?;
        let cursor = directory.with(async |store| Ok(store.publish(&topic, event).await?))?;
        // It is stored, whoever reads this.
        let _ = writeln!(std::io::stdout(), "{cursor}");
        Ok(ExitCode::SUCCESS)
    }
}
