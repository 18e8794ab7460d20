//! What the watcher and the receipts cost: two servers that differ in them take turns in one run.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use linger::config::Detection;
use linger::guest::Engine;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, request};
use crate::server::Server;
use crate::summary::{median, quartiles, verdict};

const CONNECTIONS: usize = 32;
/// Many short ones: what else the machine does then falls on both servers of a pair.
const PAIRS: usize = 60;
const ROUND: Duration = Duration::from_millis(400);
const TARGET: f64 = 0.95;

const HELLO: &str = "apps.hello.component = 'hello.wasm'";
const POLL: &str = "apps.longpoll.component = 'longpoll.wasm'";

/// What a client does all the time.
#[derive(Clone, Copy)]
enum Work {
    /// Asks, and reads the answer.
    Hello,
    /// Polls with one connection, pushes with another, and reads both answers.
    Poll,
}

/// Both on, as by default, against both off.
pub(crate) async fn hello(engine: &Engine) -> anyhow::Result<()> {
    println!("hello: {CONNECTIONS} connections, requests a second; watcher and receipts on, and both off");
    let off = |detection: &mut Detection| {
        detection.watch = false;
        detection.confirm_window = None;
    };
    let ratio = compare(engine, HELLO, off, Work::Hello).await?;
    println!("hello: on/off {ratio:.3}, target at least {TARGET}: {}", verdict(ratio >= TARGET));
    Ok(())
}

/// With the watcher on in both: only answers with events wait for receipts.
pub(crate) async fn poll(engine: &Engine) -> anyhow::Result<()> {
    println!("poll: {CONNECTIONS} pollers and pushers, events a second; receipts on, and off");
    let off = |detection: &mut Detection| detection.confirm_window = None;
    let ratio = compare(engine, POLL, off, Work::Poll).await?;
    println!("poll: on/off {ratio:.3}, no target");
    Ok(())
}

/// The median of the ratios of both servers' rates, which take turns at going first.
async fn compare(
    engine: &Engine,
    config: &str,
    off: impl FnOnce(&mut Detection),
    work: Work,
) -> anyhow::Result<f64> {
    let on = Server::start(engine, config, |_| ())?;
    let off = Server::start(engine, config, off)?;
    for server in [&on, &off] {
        // To be warm.
        round(server.address(), work).await?;
    }
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..PAIRS {
        let (first, second) = if number % 2 == 0 { (&on, &off) } else { (&off, &on) };
        let rates = (round(first.address(), work).await?, round(second.address(), work).await?);
        let (rate_on, rate_off) = if number % 2 == 0 { rates } else { (rates.1, rates.0) };
        with.push(rate_on);
        without.push(rate_off);
        ratios.push(rate_on / rate_off);
    }
    let [low, high] = quartiles(&ratios);
    let (with, without) = (median(&with), median(&without));
    println!(
        "  medians of {PAIRS} pairs: on {with:.0}, off {without:.0}; half of the ratios in {low:.3} to {high:.3}"
    );
    on.stop().await?;
    off.stop().await?;
    Ok(median(&ratios))
}

/// How often a second the work was done, on new connections.
async fn round(address: SocketAddr, work: Work) -> anyhow::Result<f64> {
    let start = Instant::now();
    let end = start + ROUND;
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        clients.spawn(async move {
            match work {
                Work::Hello => hello_client(address, end).await,
                Work::Poll => poll_client(address, number, end).await,
            }
        });
    }
    let mut done = 0;
    while let Some(ended) = clients.join_next().await {
        done += ended??;
    }
    let took = start.elapsed();
    // What a round leaves behind should not fall to the next.
    sleep(Duration::from_millis(100)).await;
    Ok(f64::from(done) / took.as_secs_f64())
}

async fn hello_client(address: SocketAddr, end: Instant) -> anyhow::Result<u32> {
    let hello = request("GET", "/", "");
    let mut client = Client::connect(address).await?;
    let mut done = 0;
    while Instant::now() < end {
        let status = client.ask(&hello).await?;
        ensure!(status == 200, "{status}");
        done += 1;
    }
    Ok(done)
}

async fn poll_client(address: SocketAddr, number: usize, end: Instant) -> anyhow::Result<u32> {
    let poll = request("GET", &format!("/poll/{number}?wait=60"), "");
    let push = request("POST", &format!("/push/{number}"), "an event");
    let (mut consumer, mut producer) = (Client::connect(address).await?, Client::connect(address).await?);
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
