//! Which engine: what each has on the disk, and how long a start takes.

use std::collections::VecDeque;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use linger_config::{Durability, EventsConfig};

use crate::store::disk::{copy, taken};
use crate::store::raw::{Fjall, Key, RawEngine, Redb, keys};
use crate::store::{config, folder, open, push};

const BATCH: usize = 64;
const CYCLES: usize = 200_000;
const EVENTS: usize = 100_000;
const DATA: [u8; 100] = [b'x'; 100];
const MIB: f64 = (1 << 20) as f64;

/// The engines alone, and Linger's store, which reads what the engine has to its end.
pub(crate) fn measure() -> anyhow::Result<()> {
    println!("engines: events of {} bytes, fsync, {BATCH} in a batch", DATA.len());
    for (waiting, cycles) in [(0, CYCLES), (EVENTS, CYCLES / 4)] {
        churn::<Fjall>(waiting, cycles)?;
        churn::<Redb<true>>(waiting, cycles)?;
    }
    start::<Fjall>()?;
    start::<Redb<true>>()?;
    start_ours()
}

/// Events come and the oldest go, while this many wait; and what the disk has then.
fn churn<E: RawEngine>(waiting: usize, cycles: usize) -> anyhow::Result<()> {
    let folder = folder()?;
    let mut engine = E::open(folder.path(), Durability::Fsync)?;
    let (mut next, mut most) = (0, 0);
    let mut events = VecDeque::new();
    while events.len() < waiting / BATCH {
        let keys = keys(&mut next, BATCH, BATCH);
        engine.insert(&keys, &DATA)?;
        events.push_back(keys);
    }
    let start = Instant::now();
    for batch in 0..cycles / BATCH {
        let keys = keys(&mut next, BATCH, BATCH);
        engine.insert(&keys, &DATA)?;
        events.push_back(keys);
        if let Some(oldest) = events.pop_front() {
            engine.remove(&oldest, false)?;
        }
        if batch % 64 == 0 {
            most = taken(folder.path())?.max(most);
        }
    }
    let took = start.elapsed();
    let at_once = taken(folder.path())?;
    drop(engine);
    drop(E::open(folder.path(), Durability::Fsync)?);
    println!(
        "  {}: {cycles} events pushed and settled while {waiting} wait in {took:.1?}: {} on the disk, {} at most, {} after a restart",
        E::NAME,
        size(at_once),
        size(most.max(at_once)),
        size(taken(folder.path())?),
    );
    Ok(())
}

/// From the call that opens it until all was read.
fn start<E: RawEngine>() -> anyhow::Result<()> {
    let (folder, killed) = (folder()?, folder()?);
    let mut engine = E::open(folder.path(), Durability::Fsync)?;
    let keys: Vec<Key> = keys(&mut 0, EVENTS, BATCH);
    for keys in keys.chunks(1024) {
        engine.insert(keys, &DATA)?;
    }
    copy(folder.path(), killed.path())?;
    drop(engine);
    let opened = |folder: &TempDir| {
        let start = Instant::now();
        let engine = E::open(folder.path(), Durability::Fsync)?;
        anyhow::ensure!(engine.read()? == EVENTS, "events are missing");
        anyhow::Ok(start.elapsed())
    };
    report(E::NAME, opened(&folder)?, opened(&killed)?, taken(folder.path())?);
    Ok(())
}

fn start_ours() -> anyhow::Result<()> {
    let (folder, killed) = (folder()?, folder()?);
    let directory = |folder: &TempDir| folder.path().join("store");
    let config = |folder: &TempDir| config(EventsConfig::on_disk(directory(folder)));
    let runtime = Runtime::new()?;
    let store = open(&config(&folder))?;
    let queue = "bench".parse()?;
    runtime.block_on(async {
        for _ in 0..EVENTS / 1_000 {
            let pushes: Vec<_> = (0..1_000).map(|_| push(&store, &queue, &DATA)).collect();
            for push in pushes {
                push.await?;
            }
        }
        anyhow::Ok(())
    })?;
    copy(&directory(&folder), &directory(&killed))?;
    drop(store);
    let opened = |folder: &TempDir| {
        let start = Instant::now();
        let store = open(&config(folder))?;
        let took = start.elapsed();
        anyhow::ensure!(store.usage().events == EVENTS, "events are missing");
        anyhow::Ok(took)
    };
    report("linger", opened(&folder)?, opened(&killed)?, taken(&directory(&folder))?);
    Ok(())
}

fn report(name: &str, stopped: Duration, killed: Duration, bytes: u64) {
    println!(
        "  {name}: a start with {EVENTS} events in {stopped:.1?}, after a kill in {killed:.1?}; {} on the disk",
        size(bytes)
    );
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    let mib = bytes as f64 / MIB;
    format!("{mib:.1} MiB")
}
