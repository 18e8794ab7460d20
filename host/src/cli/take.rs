//! `linger take`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http::{Method, StatusCode};

use super::admin::Server;
use super::place::{Events, Place};
use crate::admin::client::{Sent, succeeded};
use crate::events::{Lease, Name, Settlement};

/// Take the event at the head of a queue, and print its bytes
///
/// With --store it is gone once they are written to standard output; if they cannot be, it stays, flagged `maybe-delivered`. A
/// server lets go of it when it sends it here. What else is known of it goes to standard error. Exits with 1 if there is none.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger take jobs                          from the server at 127.0.0.1:9070",
    "linger take jobs --store events",
    "linger take jobs --store events --peek | jq .",
))]
pub(super) struct Take {
    /// The queue's name
    queue: Name,

    /// Print the event, and leave it where it is
    #[arg(long)]
    peek: bool,

    #[command(flatten)]
    place: Place,
}

/// Within this time an event that can be taken is, unless the disk hangs.
const LOOK: Duration = Duration::from_secs(5);

impl Take {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { queue, peek, place } = self;
        let directory = match place.events() {
            Events::Stored(directory) => directory,
            Events::Served(server) => return take_served(&server, &queue, peek),
        };
        if !directory.contents()?.queues.iter().any(|content| content.name == queue) {
            return Ok(nothing(&queue));
        }
        directory.with(async |store| {
            let time = store.clone().keep_time();
            tokio::select! {
                taken = tokio::time::timeout(LOOK, store.take(&queue)) => match taken {
                    Ok(lease) => hand_over(lease?, peek).await,
                    Err(_) => Ok(nothing(&queue)),
                },
                () = time => unreachable!("time goes on"),
            }
        })
    }
}

fn nothing(queue: &Name) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "queue {queue}: no event can be taken");
    ExitCode::FAILURE
}

fn take_served(server: &Server, queue: &Name, peek: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/queues/{queue}/take?peek={peek}");
    let answer = server.exchange(Method::POST, &path, Sent::default())?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(nothing(queue));
    }
    let taken = succeeded(answer)?;
    let header = |name: &str| taken.headers().get(name).and_then(|value| value.to_str().ok());
    let flag = if header("maybe-delivered").is_some() { ", maybe delivered" } else { "" };
    let (id, kind, attempt) = (header("event-id"), header("content-type"), header("attempt"));
    let (id, kind, attempt) = (id.unwrap_or("?"), kind.unwrap_or("?"), attempt.unwrap_or("?"));
    let _ = writeln!(std::io::stderr(), "{id}: {kind}, attempt {attempt}{flag}");
    let mut out = std::io::stdout().lock();
    out.write_all(taken.body())
        .and_then(|()| out.flush())
        .context("cannot write the event, which is gone")?;
    Ok(ExitCode::SUCCESS)
}

async fn hand_over(lease: Lease, peek: bool) -> anyhow::Result<ExitCode> {
    let event = lease.event();
    let kind = event.content_type.as_deref().unwrap_or("application/octet-stream");
    let flag = if event.maybe_delivered { ", maybe delivered" } else { "" };
    let _ = writeln!(std::io::stderr(), "{}: {kind}, attempt {}{flag}", event.id, event.attempt);
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&event.data).and_then(|()| out.flush());
    let settlement = match &written {
        Ok(()) if peek => Settlement::Untaken,
        Ok(()) => Settlement::Commit,
        Err(_) => Settlement::PutBack { maybe_delivered: true },
    };
    lease.settle(settlement).await?;
    written.context("cannot write the event, which stays in its queue")?;
    Ok(ExitCode::SUCCESS)
}
