//! From a client's close to the guest that is told of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use linger_wasm::Engine;

use crate::client::{BenchClient, request};
use crate::reference::Reference;
use crate::server::BenchServer;
use crate::summary::{Times, verdict};

const CLOSES: usize = 2_000;
const OTHERS: usize = 8_000;
const TARGET: Duration = Duration::from_millis(2);

/// Clients that are parked ahead of their close, and what they get to arrive.
const BATCH: usize = 50;
const ARRIVAL: Duration = Duration::from_millis(100);

/// For the server to rest between two closes.
const REST: Duration = Duration::from_millis(2);

const CONFIG: &str = "
    [apps.witness]
    component = 'witness.wasm'
    [apps.longpoll]
    component = 'longpoll.wasm'
    [[routes]]
    app = 'witness'
    deadline = 'none'
    [[routes]]
    app = 'longpoll'
    path = '/poll'
    deadline = 'none'
";

/// The guest pushes a note when it is told, and a poll that is parked gets it: the times are from before the
/// close to the end of that answer, with nothing subtracted. A server that does nothing else takes turns with it.
pub(crate) async fn measure(engine: &Arc<Engine>) -> anyhow::Result<()> {
    println!(
        "departure: from close() to the note of the guest that was told, {CLOSES} closes; and without Linger"
    );
    println!(
        "  {:>14} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "others parked", "", "p50", "p99", "p99.9", "max"
    );
    let server = BenchServer::start(engine, CONFIG, |_| ())?;
    let reference = Reference::start()?;
    let idle = closes(&server, &reference, 0).await?;
    let mut others = Vec::with_capacity(OTHERS);
    for number in 0..OTHERS {
        let mut client = BenchClient::connect(server.address()).await?;
        client.send(&request("GET", &format!("/poll/other-{number}?wait=60"), "")).await?;
        others.push(client);
    }
    sleep(Duration::from_secs(1)).await;
    let busy = closes(&server, &reference, OTHERS).await?;
    let parked = others.iter().filter(|other| other.is_waiting()).count();
    ensure!(parked == OTHERS, "only {parked} of {OTHERS} others are still parked");
    let worst = idle.max(busy);
    println!("departure: worst p99 {worst:.2?}, target below {TARGET:?}: {}", verdict(worst < TARGET));
    drop(others);
    server.stop().await
}

/// The 99th percentile.
async fn closes(server: &BenchServer, reference: &Reference, others: usize) -> anyhow::Result<Duration> {
    let (mut own, mut without) = (Vec::with_capacity(CLOSES), Vec::with_capacity(CLOSES));
    let mut told = BenchClient::connect(server.address()).await?;
    let mut told_without = BenchClient::connect(reference.address()).await?;
    while own.len() < CLOSES {
        batch(server.address(), &mut told, &mut own).await?;
        batch(reference.address(), &mut told_without, &mut without).await?;
    }
    let (own, without) = (Times::new(own), Times::new(without));
    for (name, times) in [("Linger", &own), ("without", &without)] {
        let [half, most, nearly_all, all] = [500, 990, 999, 1000].map(|permille| times.permille(permille));
        println!("  {others:>14} {name:>10} {half:>10.2?} {most:>10.2?} {nearly_all:>10.2?} {all:>10.2?}");
    }
    Ok(own.permille(990))
}

async fn batch(address: SocketAddr, told: &mut BenchClient, times: &mut Vec<Duration>) -> anyhow::Result<()> {
    let mut parked = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        let mut client = BenchClient::connect(address).await?;
        client.send(&request("GET", "/park/me", "")).await?;
        parked.push(client);
    }
    sleep(ARRIVAL).await;
    for client in parked {
        told.send(&request("GET", "/told", "")).await?;
        sleep(REST).await;
        let start = Instant::now();
        drop(client);
        let status = told.answer().await?;
        ensure!(status == 200, "nobody was told: {status}");
        times.push(start.elapsed());
    }
    Ok(())
}
