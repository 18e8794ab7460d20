//! Clients that ask as fast as they are answered, on connections that are kept.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client, request};

/// How many do so at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// Bytes of a body that is sent and read again.
const ECHOED: usize = 16 * 1024;

/// What a client does all the time.
#[derive(Clone, Copy)]
pub(crate) enum Work {
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
pub(crate) async fn round(address: SocketAddr, work: Work, length: Duration) -> anyhow::Result<Done> {
    let mut connected = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connected.push(Client::connect(address).await?);
    }
    let start = Instant::now();
    let end = start + length;
    let mut clients = JoinSet::new();
    for (number, client) in connected.into_iter().enumerate() {
        clients.spawn(async move {
            match work {
                Work::Hello => hello(client, end).await,
                Work::Poll => poll(client, Client::connect(address).await?, number, end).await,
                Work::Push => push(client, number, end).await,
                Work::Publish => publish(client, number, end).await,
                Work::Echo => echo(client, end).await,
            }
        });
    }
    let mut count = 0;
    while let Some(ended) = clients.join_next().await {
        count += ended??;
    }
    Ok(Done { count, took: start.elapsed() })
}

async fn hello(mut client: Client, end: Instant) -> anyhow::Result<u32> {
    let hello = request("GET", "/", "");
    let mut done = 0;
    while Instant::now() < end {
        let status = client.ask(&hello).await?;
        ensure!(status == 200, "{status}");
        done += 1;
    }
    Ok(done)
}

async fn poll(mut consumer: Client, mut producer: Client, queue: usize, end: Instant) -> anyhow::Result<u32> {
    let (push, poll) = requests(queue);
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

async fn push(mut client: Client, queue: usize, end: Instant) -> anyhow::Result<u32> {
    let (push, poll) = requests(queue);
    let mut done = 0;
    while Instant::now() < end {
        let stored = client.ask(&push).await?;
        let got = client.ask(&poll).await?;
        ensure!((stored, got) == (202, 200), "push {stored}, poll {got}");
        done += 1;
    }
    Ok(done)
}

async fn publish(mut client: Client, topic: usize, end: Instant) -> anyhow::Result<u32> {
    let publish = request("POST", &format!("/publish/{topic}"), "an event");
    let follow = request("GET", &format!("/follow/{topic}"), "");
    let mut done = 0;
    while Instant::now() < end {
        let stored = client.ask(&publish).await?;
        let got = client.ask(&follow).await?;
        ensure!((stored, got) == (202, 200), "publish {stored}, follow {got}");
        done += 1;
    }
    Ok(done)
}

async fn echo(mut client: Client, end: Instant) -> anyhow::Result<u32> {
    let echo = request("POST", "/", &"x".repeat(ECHOED));
    let mut done = 0;
    while Instant::now() < end {
        let status = client.ask(&echo).await?;
        ensure!(status == 200, "{status}");
        done += 1;
    }
    Ok(done)
}

/// To push an event to a queue, and to poll for it.
fn requests(queue: usize) -> (String, String) {
    (
        request("POST", &format!("/push/{queue}"), "an event"),
        request("GET", &format!("/poll/{queue}?wait=60"), ""),
    )
}
