//! Requests a second, beside other servers: all of a measure take turns in one run.

use std::time::Duration;

use tokio::time::sleep;

use crate::load::{self, CONNECTIONS, LoadWork};
use crate::peers;
use crate::process::Process;
use crate::summary::{Goal, median, quartiles};

/// Many short ones: what else the machine does then falls on all of a turn.
const TURNS: usize = 20;
const ROUND: Duration = Duration::from_millis(500);
/// So that what a round leaves behind does not fall to the next.
const REST: Duration = Duration::from_millis(100);

/// The server of the figure that others are compared with, the other one, and what is asked for.
pub(crate) type Comparison = (&'static str, &'static str, Option<Goal>);

/// A server, and what came of its rounds.
pub(crate) struct ThroughputContestant {
    pub(crate) name: &'static str,
    process: Process,
    rates: Vec<f64>,
    /// Microseconds of the server's CPU time for each time that the work was done.
    cpu: Vec<f64>,
}

/// Answers that are there at once, as the SDK gives them and as streams.
pub(crate) async fn hello() -> anyhow::Result<()> {
    println!("throughput: greetings a second, {CONNECTIONS} connections, medians of {TURNS} turns");
    let contestants = [
        ("linger", Some(peers::linger("hello.wasm")?)),
        ("bare hyper", Some(peers::bare()?)),
        ("go", peers::go()?),
        ("linger, streams", Some(peers::linger("plain-p3.wasm")?)),
        ("wasmtime serve, streams", peers::wasmtime("plain-p3.wasm", &[])?),
    ];
    let comparisons = [
        ("linger", "bare hyper", Some(Goal::at_least(0.70, 0.90))),
        ("linger", "go", Some(Goal::at_least(1.1, 1.4))),
        ("linger", "wasmtime serve, streams", Some(Goal::at_least(2.5, 3.5))),
        ("linger, streams", "wasmtime serve, streams", Some(Goal::at_least(1.3, 2.5))),
    ];
    compare(contestants, &comparisons, LoadWork::Hello).await.map(drop)
}

/// What it costs that operators see each request: metrics are counted in any case, and the log has a line for each.
pub(crate) async fn observed() -> anyhow::Result<()> {
    println!("throughput: greetings a second with and without a log of them, {CONNECTIONS} connections");
    let contestants = [
        ("linger", Some(peers::linger("hello.wasm")?)),
        ("linger, logging", Some(peers::logging("hello.wasm")?)),
    ];
    let comparisons = [("linger, logging", "linger", Some(Goal::at_least(0.95, 0.98)))];
    compare(contestants, &comparisons, LoadWork::Hello).await.map(drop)
}

/// A WASI 0.2 component, which both servers run unmodified.
pub(crate) async fn hello_p2() -> anyhow::Result<()> {
    println!("throughput: greetings of a WASI 0.2 component a second, {CONNECTIONS} connections");
    let contestants = [
        ("linger, 0.2", Some(peers::linger("plain-p2.wasm")?)),
        ("wasmtime serve, 0.2", peers::wasmtime("plain-p2.wasm", &[])?),
    ];
    let comparisons = [("linger, 0.2", "wasmtime serve, 0.2", Some(Goal::at_least(1.2, 2.0)))];
    compare(contestants, &comparisons, LoadWork::Hello).await.map(drop)
}

/// Events that wait for their poll.
pub(crate) async fn longpoll() -> anyhow::Result<()> {
    println!("throughput: events a second, pushed and then polled for, {CONNECTIONS} connections");
    let contestants =
        [("linger, events", Some(peers::linger("longpoll.wasm")?)), ("go, events", peers::go()?)];
    let comparisons = [("linger, events", "go, events", Some(Goal::at_least(0.7, 1.2)))];
    compare(contestants, &comparisons, LoadWork::Push).await.map(drop)
}

/// Lets them take turns, and prints what came of it.
pub(crate) async fn compare(
    contestants: impl IntoIterator<Item = (&'static str, Option<Process>)>,
    comparisons: &[Comparison],
    work: LoadWork,
) -> anyhow::Result<Vec<ThroughputContestant>> {
    let mut contestants: Vec<_> = contestants
        .into_iter()
        .filter_map(|(name, process)| {
            Some(ThroughputContestant { name, process: process?, rates: Vec::new(), cpu: Vec::new() })
        })
        .collect();
    for contestant in &contestants {
        // To be warm.
        load::round(contestant.process.address(), work, ROUND).await?;
    }
    let count = contestants.len();
    for turn in 0..TURNS {
        for step in 0..count {
            contestants[(turn + step) % count].round(work).await?;
        }
    }
    for contestant in &contestants {
        let (rate, cpu) = (median(&contestant.rates), median(&contestant.cpu));
        println!("  {:>24} {rate:>8.0} a second, {cpu:>6.1} us of its CPU time each", contestant.name);
    }
    for (name, other, goal) in comparisons {
        let named = |name| contestants.iter().find(|contestant| contestant.name == name);
        if let (Some(own), Some(peer)) = (named(*name), named(*other)) {
            let ratios: Vec<_> = own.rates.iter().zip(&peer.rates).map(|(own, peer)| own / peer).collect();
            let (middle, [low, high]) = (median(&ratios), quartiles(&ratios));
            println!(
                "throughput: {name} / {other} {middle:.2}, half of the turns in {low:.2} to {high:.2}; {}",
                goal.map_or_else(|| "no target".to_owned(), |goal| goal.judge(middle))
            );
        }
    }
    Ok(contestants)
}

impl ThroughputContestant {
    /// The KiB of memory that its process has in use.
    pub(crate) fn resident(&self) -> anyhow::Result<u32> {
        self.process.resident()
    }

    async fn round(&mut self, work: LoadWork) -> anyhow::Result<()> {
        let before = self.process.used()?;
        let done = load::round(self.process.address(), work, ROUND).await?;
        let used = self.process.used()?.since(&before);
        self.rates.push(done.rate());
        self.cpu.push(used.as_secs_f64() * 1e6 / f64::from(done.count));
        sleep(REST).await;
        Ok(())
    }
}
