//! Clients that ask as fast as they are answered, on connections that are kept.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{BenchClient, request};

/// How many do so at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// Bytes of a body that is sent and read again.
const ECHOED: usize = 16 * 1024;

/// What a client does all the time.
#[derive(Clone, Copy)]
pub(crate) enum LoadWork {
    /// Asks, and reads the answer.
    Hello,
    /// Polls with one connection, pushes with another, and reads both answers.
    Poll,
    /// Pushes an event, and then polls for it.
    Push,
    /// Publishes an event, and reads the oldest of its topic.
    Publish,
    /// Sends a body, and reads it again.
    Echo,
}

impl LoadWork {
    /// What a client with this number asks for in turn, and the status that each has.
    pub(crate) fn requests(self, number: usize) -> Vec<(String, u16)> {
        match self {
            Self::Hello => vec![(request("GET", "/", ""), 200)],
            Self::Poll | Self::Push => vec![(to_push(number), 202), (to_poll(number), 200)],
            Self::Publish => vec![
                (request("POST", &format!("/publish/{number}"), "an event"), 202),
                (request("GET", &format!("/follow/{number}"), ""), 200),
            ],
            Self::Echo => vec![(request("POST", "/", &"x".repeat(ECHOED)), 200)],
        }
    }
}

fn to_push(queue: usize) -> String {
    request("POST", &format!("/push/{queue}"), "an event")
}

fn to_poll(queue: usize) -> String {
    request("GET", &format!("/poll/{queue}?wait=60"), "")
}

/// What came of a round.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    /// How often the work was done.
    pub(crate) count: u32,
    pub(crate) took: Duration,
}

impl Done {
    /// How often a second.
    pub(crate) fn rate(self) -> f64 {
        f64::from(self.count) / self.took.as_secs_f64()
    }
}

/// Does the work for a while, on new connections.
pub(crate) async fn round(address: SocketAddr, work: LoadWork, length: Duration) -> anyhow::Result<Done> {
    let mut connected = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connected.push(BenchClient::connect(address).await?);
    }
    let start = Instant::now();
    let end = start + length;
    let mut clients = JoinSet::new();
    for (number, client) in connected.into_iter().enumerate() {
        clients.spawn(async move {
            match work {
                LoadWork::Poll => poll(client, BenchClient::connect(address).await?, number, end).await,
                other => ask(client, &other.requests(number), end).await,
            }
        });
    }
    let mut count = 0;
    while let Some(ended) = clients.join_next().await {
        count += ended??;
    }
    Ok(Done { count, took: start.elapsed() })
}

/// Asks for these in turn until then, and gives how often that was done.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: BenchClient<S>,
    requests: &[(String, u16)],
    end: Instant,
) -> anyhow::Result<u32> {
    let mut done = 0;
    while Instant::now() < end {
        for (request, expected) in requests {
            let status = client.ask(request).await?;
            ensure!(status == *expected, "{status} instead of {expected}");
        }
        done += 1;
    }
    Ok(done)
}

async fn poll(
    mut consumer: BenchClient,
    mut producer: BenchClient,
    queue: usize,
    end: Instant,
) -> anyhow::Result<u32> {
    let (push, poll) = (to_push(queue), to_poll(queue));
    let mut done = 0;
    while Instant::now() < end {
        consumer.send(&poll).await?;
        let stored = producer.ask(&push).await?;
        let got = consumer.answer().await?;
        ensure!((stored, got) == (202, 200), "push {stored}, poll {got}");
        done += 1;
    }
    Ok(done)
}
