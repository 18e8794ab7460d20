//! `linger publish`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use linger_base::Name;

use super::offline::Payload;
use super::output::Output;
use super::place::{Events, Place};

/// Append an event to a topic, and print the cursor after it
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "echo hello | linger publish news                   to the server at 127.0.0.1:9070",
    "echo hello | linger publish news --store events",
))]
pub(super) struct Publish {
    /// The topic's name
    topic: Name,

    #[command(flatten)]
    payload: Payload,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    place: Place,
}

impl Publish {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { topic, payload, output, place } = self;
        let event = payload.read()?;
        let cursor = match place.events() {
            Events::Stored(directory) => {
                directory.with(async |store| Ok(store.publish(&topic, event).await?))?.to_string()
            }
            Events::Served(server) => server.store(&format!("/topics/{topic}"), event, "cursor")?,
        };
        Ok(output.print(&json!({ "cursor": cursor }), || format!("{cursor}\n")))
    }
}
