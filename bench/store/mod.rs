//! Events a second through each store, beside the engines alone and beside Redis, all in the same run.

pub(crate) mod disk;
mod ours;
pub(crate) mod raw;
mod streams;

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use linger_config::Durability;

use crate::redis;
use crate::summary::{Times, median};
use raw::{Fjall, Raw, Redb};
use streams::{Streams, StreamsLog};

pub(crate) use ours::{Ours, config, open, push};

/// Each pushes, takes and settles one event after the other. A batch can have as many of each.
pub(crate) const CLIENTS: usize = 64;
/// Many short ones, in which all take turns: what else the machine does then falls on all.
const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(250);
const LONELY: u32 = 100;

/// What the clients do.
#[derive(Clone, Copy)]
pub(crate) struct StoreWork {
    pub(crate) queues: usize,
    pub(crate) bytes: usize,
    pub(crate) way: StoreWay,
}

/// What comes first.
#[derive(Clone, Copy)]
pub(crate) enum StoreWay {
    /// The poll, and waits for its event.
    Parked,
    /// The event, and waits for its poll.
    Stored,
}

const WORK: [StoreWork; 4] = [
    StoreWork { queues: 1, bytes: 100, way: StoreWay::Parked },
    StoreWork { queues: 64, bytes: 100, way: StoreWay::Parked },
    StoreWork { queues: 64, bytes: 100, way: StoreWay::Stored },
    StoreWork { queues: 64, bytes: 4096, way: StoreWay::Parked },
];

/// A store with its clients.
pub(crate) trait StoreContestant {
    fn name(&self) -> &'static str;

    /// Each client pushes, takes and settles this many events.
    fn run(&mut self, work: StoreWork, cycles: u32) -> anyhow::Result<()>;

    /// How long each of some pushes takes when there is nothing else to do.
    fn lonely(&mut self, pushes: u32, data: &[u8]) -> anyhow::Result<Vec<Duration>>;
}

/// A folder on the disk that the project is built on: a temporary one may be in memory.
pub(crate) fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// The name of a queue.
pub(crate) fn queue(number: usize) -> String {
    format!("bench-{number:02}")
}

/// All stores, and what they promise.
pub(crate) fn measure() -> anyhow::Result<()> {
    let with_redis = redis::is_installed();
    println!(
        "store: events pushed, taken and settled a second by {CLIENTS} clients, medians of {ROUNDS} rounds;"
    );
    println!("  in brackets the median of linger's rate divided by theirs: above 1 linger is faster");
    println!(
        "  fjall, redb: the engine alone, one thread, {CLIENTS} entries a batch; redis: over a Unix socket"
    );
    if !with_redis {
        println!("  skipped: redis (there is no redis-server)");
    }
    println!("  the disk: {:.0} writes of 4 KiB with fdatasync a second", disk::flushes()?);
    let streams = |log| if with_redis { Streams::start(log).map(Some) } else { Ok(None) };

    println!("  memory; redis: no file");
    let mut all: Vec<Box<dyn StoreContestant>> = vec![Box::new(Ours::memory()?)];
    all.extend(streams(StreamsLog::No)?.map(|redis| Box::new(redis) as _));
    compare(&mut all)?;

    println!("  buffered, safe from a kill; redis: everysec; redb: Durability::None, which a kill loses;");
    println!(
        "    redb-u: Durability::Immediate on a file that is never flushed: a loss of power can damage all of it"
    );
    compare(&mut on_disk(Durability::Buffered, streams(StreamsLog::EverySecond)?)?)?;

    println!("  fsync, safe from a loss of power; redis: always; redb: Durability::Immediate");
    compare(&mut on_disk(Durability::Fsync, streams(StreamsLog::Always)?)?)
}

fn on_disk(durability: Durability, redis: Option<Streams>) -> anyhow::Result<Vec<Box<dyn StoreContestant>>> {
    let mut all: Vec<Box<dyn StoreContestant>> = vec![
        Box::new(Ours::disk(durability)?),
        Box::new(Raw::<Fjall>::new(durability)?),
        Box::new(Raw::<Redb<true>>::new(durability)?),
    ];
    if matches!(durability, Durability::Buffered) {
        all.push(Box::new(Raw::<Redb<false>>::new(durability)?));
    }
    all.extend(redis.map(|redis| Box::new(redis) as _));
    Ok(all)
}

fn compare(all: &mut [Box<dyn StoreContestant>]) -> anyhow::Result<()> {
    for work in WORK {
        let mut cycles = Vec::new();
        for contestant in &mut *all {
            cycles.push(warm_up(contestant.as_mut(), work)?);
        }
        let mut rates = vec![Vec::new(); all.len()];
        for round in 0..ROUNDS {
            for turn in 0..all.len() {
                let number = (round + turn) % all.len();
                let start = Instant::now();
                all[number].run(work, cycles[number])?;
                rates[number].push(events(cycles[number]) / start.elapsed().as_secs_f64());
            }
        }
        let StoreWork { queues, bytes, way } = work;
        let (plural, way) = match (queues, way) {
            (1, StoreWay::Parked) => ("", "polls wait"),
            (_, StoreWay::Parked) => ("s", "polls wait"),
            (_, StoreWay::Stored) => ("s", "events wait"),
        };
        print!("    {:<32}", format!("{queues} queue{plural}, {bytes} bytes, {way}"));
        show(
            all,
            &rates,
            |rates| format!("{:.0}", median(rates)),
            |ours, other| median(&shares(ours, other)),
        );
    }
    lonely(all)
}

/// How often each client is to do it, so that a round takes its time.
fn warm_up(contestant: &mut dyn StoreContestant, work: StoreWork) -> anyhow::Result<u32> {
    let mut cycles = 1;
    loop {
        let start = Instant::now();
        contestant.run(work, cycles)?;
        let took = start.elapsed();
        if took >= ROUND / 4 {
            let wanted = f64::from(cycles) * ROUND.as_secs_f64() / took.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is near `cycles`"
            )]
            return Ok((wanted as u32).max(1));
        }
        cycles *= 2;
    }
}

#[expect(clippy::cast_precision_loss, reason = "they are few")]
fn events(cycles: u32) -> f64 {
    f64::from(cycles) * CLIENTS as f64
}

fn shares(ours: &[f64], other: &[f64]) -> Vec<f64> {
    ours.iter().zip(other).map(|(ours, other)| ours / other).collect()
}

/// How long one client waits that has the store for itself.
fn lonely(all: &mut [Box<dyn StoreContestant>]) -> anyhow::Result<()> {
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..ROUNDS {
        for turn in 0..all.len() {
            let number = (round + turn) % all.len();
            times[number].extend(all[number].lonely(LONELY, &[b'x'; 100])?);
        }
    }
    for permille in [500, 990] {
        print!("    {:<32}", format!("a lonely push, p{}", permille / 10));
        let figures: Vec<_> =
            times.iter().map(|times| Times::new(times.clone()).permille(permille)).collect();
        show(
            all,
            &figures,
            |time| format!("{time:.1?}"),
            |ours, other| other.as_secs_f64() / ours.as_secs_f64(),
        );
    }
    Ok(())
}

/// One line: what each has, and linger's share of it.
fn show<F>(
    all: &[Box<dyn StoreContestant>],
    figures: &[F],
    text: impl Fn(&F) -> String,
    share: impl Fn(&F, &F) -> f64,
) {
    let Some(ours) = figures.first() else { return };
    for (contestant, figure) in all.iter().zip(figures) {
        print!(" {} {:>8}", contestant.name(), text(figure));
        if !std::ptr::eq(ours, figure) {
            print!(" [{:.2}]", share(ours, figure));
        }
    }
    println!();
}
