//! `linger take`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use linger_base::Name;
use linger_events::{Lease, Settlement};

use super::admin::AdminServer;
use super::place::{EventsArgs, EventsPlace};
use crate::admin::client::{RequestContent, succeeded};

/// Take the next event of a queue, and print its bytes
///
/// With --store, the event is acknowledged once its bytes are written to standard output; if that fails, it is
/// requeued, flagged `maybe-delivered`. A server acknowledges the event when it sends it to this command. The
/// event's metadata goes to standard error. Exits with 1 if no event is available.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger take jobs                          from the server at 127.0.0.1:9070",
    "linger take jobs --store events",
    "linger take jobs --store events --peek | jq .",
))]
pub(super) struct TakeArgs {
    /// The queue's name
    queue: Name,

    /// Print the event without taking it
    #[arg(long)]
    peek: bool,

    /// Print JSON with the event and its metadata; the bytes are in `data` if they are UTF-8, and in `base64` otherwise
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: EventsArgs,
}

/// An available event is taken within this time, unless the disk hangs.
const LOOK: Duration = Duration::from_secs(5);

impl TakeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { queue, peek, json, place } = self;
        let directory = match place.events() {
            EventsPlace::Stored(directory) => directory,
            EventsPlace::Served(server) => return take_served(&server, &queue, peek, json),
        };
        if !directory.contents()?.queues.iter().any(|content| content.name == queue) {
            return Ok(nothing(&queue));
        }
        directory.with(async |store| {
            let time = store.clone().keep_time();
            tokio::select! {
                taken = tokio::time::timeout(LOOK, store.take(&queue)) => match taken {
                    Ok(lease) => hand_over(lease?, peek, json).await,
                    Err(_) => Ok(nothing(&queue)),
                },
                () = time => unreachable!("time goes on"),
            }
        })
    }
}

fn nothing(queue: &Name) -> ExitCode {
    // There is nowhere to report a failure of this.
    let _ = writeln!(std::io::stderr(), "queue {queue}: no event is available");
    ExitCode::FAILURE
}

fn take_served(server: &AdminServer, queue: &Name, peek: bool, json: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/queues/{queue}/take?peek={peek}");
    let answer = server.exchange(Method::POST, &path, RequestContent::default())?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(nothing(queue));
    }
    let answer = succeeded(answer)?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let word = |name| header(name).unwrap_or("?");
    let taken = PrintedEvent {
        id: word("event-id"),
        content_type: word("content-type"),
        attempt: word("attempt").parse().unwrap_or_default(),
        maybe_delivered: header("maybe-delivered").is_some(),
        data: answer.body(),
    };
    taken.write(json).context("cannot write the event; it is already acknowledged, and lost")?;
    Ok(ExitCode::SUCCESS)
}

/// The printed parts of an event.
struct PrintedEvent<'a> {
    id: &'a str,
    content_type: &'a str,
    attempt: u32,
    maybe_delivered: bool,
    data: &'a [u8],
}

impl PrintedEvent<'_> {
    fn write(&self, json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            writeln!(out, "{:#}", self.to_json())?;
        } else {
            let Self { id, content_type, attempt, .. } = self;
            let flag = if self.maybe_delivered { ", maybe delivered" } else { "" };
            // There is nowhere to report a failure of this.
            let _ = writeln!(std::io::stderr(), "{id}: {content_type}, attempt {attempt}{flag}");
            out.write_all(self.data)?;
        }
        out.flush()
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "id": self.id,
            "content_type": self.content_type,
            "attempt": self.attempt,
            "maybe_delivered": self.maybe_delivered,
        });
        match std::str::from_utf8(self.data) {
            Ok(text) => value["data"] = text.into(),
            Err(_) => value["base64"] = STANDARD.encode(self.data).into(),
        }
        value
    }
}

async fn hand_over(lease: Lease, peek: bool, json: bool) -> anyhow::Result<ExitCode> {
    let event = lease.event();
    let taken = PrintedEvent {
        id: &event.id.to_string(),
        content_type: event.content_type.as_deref().unwrap_or("application/octet-stream"),
        attempt: event.attempt,
        maybe_delivered: event.maybe_delivered,
        data: &event.data,
    };
    let written = taken.write(json);
    let settlement = match &written {
        Ok(()) if peek => Settlement::Release,
        Ok(()) => Settlement::Ack,
        Err(_) => Settlement::Requeue { maybe_delivered: true },
    };
    lease.settle(settlement).await?;
    written.context("cannot write the event; it is requeued")?;
    Ok(ExitCode::SUCCESS)
}
