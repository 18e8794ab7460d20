//! `linger push`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use linger_base::Name;
use linger_events::Schedule;

use super::offline::PayloadArgs;
use super::output::OutputArgs;
use super::place::{EventsArgs, EventsPlace};

/// Append an event to a queue, and print its id
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "echo hello | linger push jobs                                  to the server at 127.0.0.1:9070",
    "echo hello | linger push jobs --store events",
    "linger push jobs job.json --content-type application/json --delay 10s --store events",
))]
pub(super) struct PushArgs {
    /// The queue's name
    queue: Name,

    #[command(flatten)]
    payload: PayloadArgs,

    /// Delay before the event can be taken, such as `10s` or `5m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,

    /// Time to live, such as `10s` or `5m`; then the event is dropped
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    place: EventsArgs,
}

impl PushArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { queue, payload, delay, ttl, output, place } = self;
        let event = payload.read()?;
        let id = match place.events() {
            EventsPlace::Stored(directory) => {
                let schedule = Schedule { delay, time_to_live: ttl };
                let id = directory.with(async |store| Ok(store.push(&queue, event, schedule).await?))?;
                id.to_string()
            }
            EventsPlace::Served(server) => {
                let times = [("delay", delay), ("ttl", ttl)];
                let times = times
                    .iter()
                    .filter_map(|(name, time)| Some(format!("{name}={}ms", time.as_ref()?.as_millis())));
                let query = times.collect::<Vec<_>>().join("&");
                server.store(&format!("/queues/{queue}?{query}"), event, "id")?
            }
        };
        Ok(output.print(&json!({ "id": id }), || format!("{id}\n")))
    }
}
