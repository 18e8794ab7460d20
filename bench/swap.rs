//! Swaps: how long requests take meanwhile, and how long a deploy does.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use linger::admin::client::{RequestContent, ask};
use linger_config::ListenAddress;

use crate::client::{BenchClient, request};
use crate::peers;
use crate::process::Process;
use crate::summary::{Goal, Times, median};

/// Clients that greet one after the other: enough to be in every moment, too few to fill the cores.
const CLIENTS: usize = 2;
const ROUND: Duration = Duration::from_secs(4);
/// From one deploy to the next.
const BETWEEN: Duration = Duration::from_millis(200);
/// So many come before memory is looked at again.
const SWAPS: usize = 200;

/// What is deployed in a round.
#[derive(Clone, Copy)]
enum Deploys {
    None,
    /// Two components in turn, whose code is in the cache.
    Warm,
    /// One after the other that was never there.
    Cold,
}

/// What came of a round.
struct SwapRound {
    times: Times,
    deploys: Vec<Deployed>,
}

pub(crate) async fn measure() -> anyhow::Result<()> {
    println!("swap: {CLIENTS} connections, a deploy each {BETWEEN:?}");
    let (process, socket) = peers::deployable("hello.wasm")?;
    let component = Bytes::from(std::fs::read(peers::built("hello.wasm")?)?);
    let mut versions = Versions { component, next: 0 };
    let mut round = async |deploys| round(&process, &socket, &mut versions, deploys).await;
    // To be warm, and to have both in the cache.
    round(Deploys::Warm).await?;
    let steady = round(Deploys::None).await?;
    let warm = round(Deploys::Warm).await?;
    let cold = round(Deploys::Cold).await?;
    for (name, round) in [("steady", &steady), ("code in the cache", &warm), ("compiling", &cold)] {
        let [half, most] = [500, 990].map(|permille| round.times.permille(permille).as_secs_f64() * 1e6);
        let deploys = if round.deploys.is_empty() {
            String::new()
        } else {
            let of = |of: fn(&Deployed) -> f64| median(&round.deploys.iter().map(of).collect::<Vec<_>>());
            let (count, all, switch) = (round.deploys.len(), of(|one| one.all), of(|one| one.switch) * 1e3);
            format!(", {count} deploys of {all:.1} ms, {switch:.0} us of them the switch")
        };
        println!("  {name:>18} p50 {half:.0} us, p99 {most:.0} us{deploys}");
    }
    for (name, round, goal) in
        [("code in the cache", &warm, Goal::at_most(2.0, 1.2)), ("compiling", &cold, Goal::at_most(4.0, 2.0))]
    {
        let ratio = round.times.permille(990).as_secs_f64() / steady.times.permille(990).as_secs_f64();
        println!("swap: p99, {name} / steady {ratio:.2}; {}", goal.judge(ratio));
    }
    memory(&process, &socket, &mut versions).await
}

/// What is left of many swaps.
async fn memory(process: &Process, socket: &Path, versions: &mut Versions) -> anyhow::Result<()> {
    process.idle().await?;
    let before = process.resident()?;
    for _ in 0..SWAPS {
        deploy(socket, versions.next(Deploys::Warm)).await?;
    }
    process.idle().await?;
    let (before, after) = (f64::from(before) / 1024.0, f64::from(process.resident()?) / 1024.0);
    println!("swap: resident {before:.1} MiB before, {after:.1} MiB after {SWAPS} swaps");
    Ok(())
}

async fn round(
    process: &Process,
    socket: &Path,
    versions: &mut Versions,
    deploys: Deploys,
) -> anyhow::Result<SwapRound> {
    let end = Instant::now() + ROUND;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(greet(process.address(), end));
    }
    let mut took = Vec::new();
    while !matches!(deploys, Deploys::None) && Instant::now() < end {
        took.push(deploy(socket, versions.next(deploys)).await?);
        sleep(BETWEEN).await;
    }
    let mut times = Vec::new();
    while let Some(ended) = clients.join_next().await {
        times.extend(ended??);
    }
    Ok(SwapRound { times: Times::new(times), deploys: took })
}

async fn greet(address: SocketAddr, end: Instant) -> anyhow::Result<Vec<Duration>> {
    let mut client = BenchClient::connect(address).await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let status = client.ask(&request("GET", "/", "")).await?;
        times.push(start.elapsed());
        ensure!(status == 200, "a greeting with status {status}");
    }
    Ok(times)
}

/// Milliseconds, of the whole and of its last step alone: the switch.
struct Deployed {
    all: f64,
    switch: f64,
}

async fn deploy(socket: &Path, component: Bytes) -> anyhow::Result<Deployed> {
    let start = Instant::now();
    let sent = RequestContent { bytes: component, ..RequestContent::default() };
    let record = ask(&ListenAddress::Unix(socket.to_owned()), None, Method::PUT, "/apps/bench", sent).await?;
    let all = start.elapsed().as_secs_f64() * 1e3;
    let steps = record["steps"].as_array().into_iter().flatten();
    let switch = steps.filter(|step| step["step"] == "switch").find_map(|step| step["took"].as_f64());
    Ok(Deployed { all, switch: switch.context("the record has no switch")? })
}

/// The same component with one note or another at its end: a custom section without a name.
struct Versions {
    component: Bytes,
    next: u64,
}

impl Versions {
    fn next(&mut self, deploys: Deploys) -> Bytes {
        self.next += 1;
        let note = match deploys {
            Deploys::Cold => std::process::id().into(),
            Deploys::None | Deploys::Warm => 0_u64,
        };
        let number = if note == 0 { self.next % 2 } else { self.next };
        let mut bytes = self.component.to_vec();
        bytes.extend([0, 17, 0]);
        bytes.extend(note.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.into()
    }
}
