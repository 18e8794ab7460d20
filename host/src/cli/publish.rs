//! `linger publish`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use linger_base::Name;

use super::offline::PayloadArgs;
use super::output::OutputArgs;
use super::place::{EventsArgs, EventsPlace};

/// Append an event to a topic, and print the cursor after it
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "echo hello | linger publish news                   to the server at 127.0.0.1:9070",
    "echo hello | linger publish news --store events",
))]
pub(super) struct PublishArgs {
    /// The topic's name
    topic: Name,

    #[command(flatten)]
    payload: PayloadArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    place: EventsArgs,
}

impl PublishArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { topic, payload, output, place } = self;
        let event = payload.read()?;
        let cursor = match place.events() {
            EventsPlace::Stored(directory) => {
                directory.with(async |store| Ok(store.publish(&topic, event).await?))?.to_string()
            }
            EventsPlace::Served(server) => server.store(&format!("/topics/{topic}"), event, "cursor")?,
        };
        Ok(output.print(&json!({ "cursor": cursor }), || format!("{cursor}\n")))
    }
}
