//! What the watcher and the receipts cost: two servers that differ in them take turns in one run.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use linger::config::Detection;
use linger::guest::Engine;
use rustix::time::{ClockId, clock_gettime};
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

/// What one round came to.
#[derive(Clone, Copy)]
struct Round {
    /// How often a second the work was done.
    rate: f64,
    /// Microseconds of processor time for each, the clients' included. Other jobs of the machine weigh less on it.
    cpu: f64,
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
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for number in 0..PAIRS {
        let (first, second) = if number % 2 == 0 { (&on, &off) } else { (&off, &on) };
        let (one, other) = (round(first.address(), work).await?, round(second.address(), work).await?);
        let (round_on, round_off) = if number % 2 == 0 { (one, other) } else { (other, one) };
        with.push(round_on);
        without.push(round_off);
    }
    report("rate", &with, &without, |round| round.rate);
    report("CPU us", &with, &without, |round| round.cpu);
    on.stop().await?;
    off.stop().await?;
    Ok(median(&ratios(&with, &without, |round| round.rate)))
}

fn ratios(with: &[Round], without: &[Round], figure: fn(&Round) -> f64) -> Vec<f64> {
    with.iter().zip(without).map(|(on, off)| figure(on) / figure(off)).collect()
}

fn report(name: &str, with: &[Round], without: &[Round], figure: fn(&Round) -> f64) {
    let [on, off] = [with, without].map(|rounds| median(&rounds.iter().map(figure).collect::<Vec<_>>()));
    let ratios = ratios(with, without, figure);
    let (middle, [low, high]) = (median(&ratios), quartiles(&ratios));
    println!(
        "  {name}, medians of {PAIRS} pairs: on {on:.1}, off {off:.1}; on/off {middle:.3}, half of them in {low:.3} to {high:.3}"
    );
}

/// Does the work for a while, on new connections.
async fn round(address: SocketAddr, work: Work) -> anyhow::Result<Round> {
    let (start, start_cpu) = (Instant::now(), processor_time());
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
    let (took, cpu) = (start.elapsed(), processor_time().saturating_sub(start_cpu));
    // What a round leaves behind should not fall to the next.
    sleep(Duration::from_millis(100)).await;
    let done = f64::from(done);
    Ok(Round { rate: done / took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / done })
}

/// What this process has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
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
