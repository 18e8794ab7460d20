//! `linger queues`.

use std::fmt::Write as _;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use linger_events::{ContentCount, DirectoryContents};

use super::admin::AdminServer;
use super::output::OutputArgs;
use super::place::{EventsArgs, EventsPlace};
use crate::admin::client::RequestContent;

/// List the queues and topics of a server or store, with the number and size of their events
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger queues                           of the server at 127.0.0.1:9070",
    "linger queues --store events",
    "linger queues --store events --json",
))]
pub(super) struct QueuesArgs {
    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    place: EventsArgs,
}

impl QueuesArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let contents = match self.place.events() {
            EventsPlace::Stored(directory) => directory.contents()?,
            EventsPlace::Served(server) => contents(&server)?,
        };
        Ok(self.output.print(&to_json(&contents), || to_table(&contents)))
    }
}

/// The queues and topics of a server.
fn contents(server: &AdminServer) -> anyhow::Result<DirectoryContents> {
    let list = |kind: &str, name: &str, counts: &[&str]| {
        let answer = server.ask(Method::GET, &format!("/{kind}"), RequestContent::default())?;
        let content = |one: &Value| {
            let count = |key: &&str| one[*key].as_u64().unwrap_or_default();
            let events: u64 = counts.iter().map(count).sum();
            Ok(ContentCount {
                name: one[name].as_str().unwrap_or_default().parse()?,
                events: usize::try_from(events)?,
                bytes: count(&"bytes"),
            })
        };
        answer[kind].as_array().into_iter().flatten().map(content).collect::<anyhow::Result<Vec<_>>>()
    };
    let queues = list("queues", "queue", &["ready", "delayed", "leased"])?;
    Ok(DirectoryContents { queues, topics: list("topics", "topic", &["events"])? })
}

pub(super) fn to_json(contents: &DirectoryContents) -> Value {
    let list = |all: &[ContentCount]| {
        all.iter()
            .map(|ContentCount { name, events, bytes }| json!({ "name": name.as_str(), "events": events, "bytes": bytes }))
            .collect::<Vec<_>>()
    };
    json!({ "queues": list(&contents.queues), "topics": list(&contents.topics) })
}

fn to_table(contents: &DirectoryContents) -> String {
    let rows: Vec<_> = [("queue", &contents.queues), ("topic", &contents.topics)]
        .into_iter()
        .flat_map(|(kind, all)| all.iter().map(move |content| (kind, content)))
        .collect();
    let width = rows.iter().map(|(_, content)| content.name.as_str().len()).max().unwrap_or(0).max(4);
    let mut table = format!("KIND   {:width$}  {:>9}  {:>10}\n", "NAME", "EVENTS", "SIZE");
    for (kind, ContentCount { name, events, bytes }) in rows {
        let size = ByteSize(*bytes).to_string();
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{kind}  {:width$}  {events:>9}  {size:>10}", name.as_str());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_for_each() {
        let content = |name: &str, events| ContentCount { name: name.parse().unwrap(), events, bytes: 2048 };
        let contents =
            DirectoryContents { queues: vec![content("orders", 3)], topics: vec![content("n", 12)] };
        let expected = "KIND   NAME       EVENTS        SIZE\n\
                        queue  orders          3     2.0 KiB\n\
                        topic  n              12     2.0 KiB\n";
        assert_eq!(to_table(&contents), expected);
    }
}
