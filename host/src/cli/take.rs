//! `linger take`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::offline::Directory;
use crate::events::{Lease, Name, Settlement};

/// Take the event at the head of a queue, and print its bytes
///
/// It is gone once they are written to standard output; if they cannot be, it stays, flagged `maybe-delivered`.
/// What else is known of it goes to standard error. Exits with 1 if there is none.
#[derive(Debug, Args)]
#[command(after_help = examples!(
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
    directory: Directory,
}

/// Within this time an event that can be taken is, unless the disk hangs.
const LOOK: Duration = Duration::from_secs(5);

impl Take {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Self { queue, peek, directory } = self;
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
