//! Thousands of parked requests: what they cost, and how soon an event reaches one of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::client::{BenchClient, request};
use crate::peers;
use crate::process::Process;
use crate::summary::{Goal, Times, median};

const FEW: usize = 1_000;
pub(crate) const MANY: usize = 16_000;
const TURNS: usize = 3;

/// Connections that may lie before a server: fewer than the 128 that a listener commonly has room for. Beyond, the
/// kernel would drop them, and they would come again a second later.
const AHEAD: usize = 96;
/// Who knocks stands behind them: at one door or another, where a server has several.
const KNOCKS: usize = 2;

/// How long the server is watched while nothing happens. All of a turn has to fit in the wait of a poll.
const IDLE: Duration = Duration::from_secs(5);
/// Polls are parked for tens of seconds: what counts is what they need for most of that.
const SETTLED: Duration = Duration::from_secs(3);
const EVENTS: usize = 300;
/// From one parked poll to that which gets the next event: prime to the number of them.
const STRIDE: usize = 7_919;

/// What a turn came to.
#[derive(Default)]
pub(crate) struct Figures {
    /// Bytes for each request.
    pub(crate) resident: Vec<f64>,
    /// Milliseconds of CPU time while they were left alone after that.
    settling: Vec<f64>,
    /// Seconds until all were parked.
    opening: Vec<f64>,
    /// Milliseconds of CPU time in a second, with few and with many.
    idle: [Vec<f64>; 2],
    events: Vec<Duration>,
}

/// Linger with polls and bare hyper with requests that are never answered take turns, each in a new process.
pub(crate) async fn measure() -> anyhow::Result<()> {
    println!("parked: {MANY} requests, medians of {TURNS} turns");
    let (mut own, mut bare) = (Figures::default(), Figures::default());
    for turn in 0..TURNS {
        for step in 0..2 {
            if (turn + step) % 2 == 0 {
                linger(&mut own).await?;
            } else {
                let process = peers::bare()?;
                park(&process, |_| "/park".to_owned(), &mut bare, false).await?;
            }
        }
    }
    for (name, figures) in [("linger", &own), ("bare hyper", &bare)] {
        let (resident, opening) = (median(&figures.resident), median(&figures.opening));
        let settling = median(&figures.settling);
        println!(
            "  {name:>10} {resident:>8.0} resident bytes each, open after {opening:.2} s, then {settling:.0} ms of CPU time"
        );
    }
    let ratio = median(&own.resident) / median(&bare.resident);
    println!(
        "parked: resident bytes, linger / bare hyper {ratio:.2}; {}",
        Goal::at_most(1.4, 0.9).judge(ratio)
    );
    let ratio = median(&own.opening) / median(&bare.opening);
    println!(
        "parked: time to open, linger / bare hyper {ratio:.2}; {}",
        Goal::at_most(2.0, 1.2).judge(ratio)
    );
    let times = Times::new(own.events);
    let [half, most, all] = [500, 990, 1000].map(|permille| times.permille(permille).as_secs_f64() * 1e3);
    println!(
        "parked: an event to one of them p50 {half:.2} ms, p99 {most:.2} ms, max {all:.2} ms; {}",
        Goal::at_most(5.0, 1.0).judge(most)
    );
    let [few, many] = own.idle.map(|figures| median(&figures));
    println!(
        "parked: idle, CPU time in a second: {few:.2} ms with {FEW}, {many:.2} ms with {MANY}; growth: {}",
        Goal::at_most(1.0, 0.1).judge(many - few)
    );
    Ok(())
}

async fn linger(figures: &mut Figures) -> anyhow::Result<()> {
    let process = peers::linger("longpoll.wasm")?;
    let target = |number| format!("/poll/{number}?wait=60");
    let mut clients = park(&process, target, figures, true).await?;
    let mut pusher = BenchClient::connect(process.address()).await?;
    for event in 0..EVENTS {
        let number = event * STRIDE % MANY;
        let start = Instant::now();
        pusher.send(&request("POST", &format!("/push/{number}"), "an event")).await?;
        let got = clients[number].answer().await?;
        figures.events.push(start.elapsed());
        let stored = pusher.answer().await?;
        ensure!((stored, got) == (202, 200), "push {stored}, poll {got}");
    }
    let parked = clients.iter().filter(|client| client.is_waiting()).count();
    ensure!(parked == MANY, "{} polls have ended", MANY - parked);
    Ok(())
}

/// Opens them all, and notes what they cost; with a look at the idle server in between, if wanted.
pub(crate) async fn park(
    process: &Process,
    target: impl Fn(usize) -> String,
    figures: &mut Figures,
    idle: bool,
) -> anyhow::Result<Vec<BenchClient>> {
    // To be warm.
    knock(process).await?;
    process.idle().await?;
    let before = process.resident()?;
    let mut clients = Vec::with_capacity(MANY);
    let (mut opening, mut settling) = (Duration::ZERO, Duration::ZERO);
    for (place, count) in [FEW, MANY].into_iter().enumerate() {
        let start = Instant::now();
        while clients.len() < count {
            let mut client = BenchClient::connect_from(source(clients.len())?, process.address()).await?;
            client.send(&request("GET", &target(clients.len()), "")).await?;
            clients.push(client);
            if clients.len() % AHEAD == 0 {
                knock(process).await?;
            }
        }
        knock(process).await?;
        opening += process.idle().await? - start;
        // What is not needed while they are parked has time to go.
        let before = process.used()?;
        sleep(SETTLED).await;
        settling += process.used()?.since(&before);
        if idle {
            figures.idle[place].push(use_in_a_second(process).await?);
        }
    }
    figures.opening.push(opening.as_secs_f64());
    figures.settling.push(settling.as_secs_f64() * 1e3);
    let grown = f64::from(process.resident()?.saturating_sub(before));
    figures.resident.push(grown * 1024.0 / f64::from(u32::try_from(MANY)?));
    Ok(clients)
}

/// Where the client with this number is: some thousand share an address.
fn source(number: usize) -> anyhow::Result<SocketAddr> {
    let (address, port) = (2 + u8::try_from(number / 4_000)?, 10_000 + u16::try_from(number % 4_000)?);
    Ok(([127, 0, 0, address], port).into())
}

/// Is answered when what came before has been accepted. It is not said with what.
async fn knock(process: &Process) -> anyhow::Result<()> {
    let mut knocking = Vec::with_capacity(KNOCKS);
    for _ in 0..KNOCKS {
        let mut client = BenchClient::connect(process.address()).await?;
        client.send(&request("GET", "/", "")).await?;
        knocking.push(client);
    }
    for client in &mut knocking {
        client.answer().await?;
    }
    Ok(())
}

/// Milliseconds of CPU time.
async fn use_in_a_second(process: &Process) -> anyhow::Result<f64> {
    let before = process.used()?;
    sleep(IDLE).await;
    let used = process.used()?.since(&before);
    Ok(used.as_secs_f64() * 1e3 / IDLE.as_secs_f64())
}
