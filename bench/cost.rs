//! What the watcher and the receipts cost: two servers that differ in them take turns in one run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

use linger_config::DetectionConfig;
use linger_wasm::Engine;

use crate::load::{self, CONNECTIONS, LoadWork};
use crate::server::BenchServer;
use crate::summary::{median, quartiles, verdict};

/// Many short ones: what else the machine does then falls on both servers of a pair.
const PAIRS: usize = 60;
const ROUND: Duration = Duration::from_millis(400);
const TARGET: f64 = 0.95;

const HELLO: &str = "apps.hello.component = 'hello.wasm'";
const POLL: &str = "apps.longpoll.component = 'longpoll.wasm'";

/// Both on, as by default, against both off.
pub(crate) async fn hello(engine: &Arc<Engine>) -> anyhow::Result<()> {
    println!("hello: {CONNECTIONS} connections, requests a second; watcher and receipts on, and both off");
    let off = |detection: &mut DetectionConfig| {
        detection.watch = false;
        detection.confirm_window = None;
    };
    let ratio = compare(engine, HELLO, off, LoadWork::Hello).await?;
    println!("hello: on/off {ratio:.3}, target at least {TARGET}: {}", verdict(ratio >= TARGET));
    Ok(())
}

/// With the watcher on in both: only answers with events wait for receipts.
pub(crate) async fn poll(engine: &Arc<Engine>) -> anyhow::Result<()> {
    println!("poll: {CONNECTIONS} pollers and pushers, events a second; receipts on, and off");
    let off = |detection: &mut DetectionConfig| detection.confirm_window = None;
    let ratio = compare(engine, POLL, off, LoadWork::Poll).await?;
    println!("poll: on/off {ratio:.3}, no target");
    Ok(())
}

/// What one round came to.
#[derive(Clone, Copy)]
struct CostRound {
    /// How often a second the work was done.
    rate: f64,
    /// Microseconds of CPU time for each, the clients' included. Other jobs of the machine weigh less on it.
    cpu: f64,
}

/// The median of the ratios of both servers' rates, which take turns at going first.
async fn compare(
    engine: &Arc<Engine>,
    config: &str,
    off: impl FnOnce(&mut DetectionConfig),
    work: LoadWork,
) -> anyhow::Result<f64> {
    let on = BenchServer::start(engine, config, |_| ())?;
    let off = BenchServer::start(engine, config, off)?;
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

fn ratios(with: &[CostRound], without: &[CostRound], figure: fn(&CostRound) -> f64) -> Vec<f64> {
    with.iter().zip(without).map(|(on, off)| figure(on) / figure(off)).collect()
}

fn report(name: &str, with: &[CostRound], without: &[CostRound], figure: fn(&CostRound) -> f64) {
    let [on, off] = [with, without].map(|rounds| median(&rounds.iter().map(figure).collect::<Vec<_>>()));
    let ratios = ratios(with, without, figure);
    let (middle, [low, high]) = (median(&ratios), quartiles(&ratios));
    println!(
        "  {name}, medians of {PAIRS} pairs: on {on:.1}, off {off:.1}; on/off {middle:.3}, half of them in {low:.3} to {high:.3}"
    );
}

/// Does the work for a while, on new connections.
async fn round(address: SocketAddr, work: LoadWork) -> anyhow::Result<CostRound> {
    let before = processor_time();
    let done = load::round(address, work, ROUND).await?;
    let cpu = processor_time().saturating_sub(before);
    // What a round leaves behind should not fall to the next.
    sleep(Duration::from_millis(100)).await;
    Ok(CostRound { rate: done.rate(), cpu: cpu.as_secs_f64() * 1e6 / f64::from(done.count) })
}

/// What this process has used so far.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
