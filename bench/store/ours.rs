//! Linger's own stores, through the trait that the server uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use linger_base::Name;
use linger_config::{Config, Durability, EventsConfig};
use linger_events::{EventId, EventStore, NewEvent, Schedule, Settlement, StoreFuture};

use super::{CLIENTS, StoreContestant, StoreWay, StoreWork, folder, queue};

/// A store, and a runtime as `linger serve` has it.
pub(crate) struct Ours {
    runtime: Runtime,
    store: Arc<dyn EventStore>,
    _folder: Option<TempDir>,
}

impl Ours {
    pub(crate) fn memory() -> anyhow::Result<Self> {
        Ok(Self { runtime: Runtime::new()?, store: open(&config(EventsConfig::default()))?, _folder: None })
    }

    pub(crate) fn disk(durability: Durability) -> anyhow::Result<Self> {
        let folder = folder()?;
        let events = EventsConfig { durability, ..EventsConfig::on_disk(folder.path().join("store")) };
        let store = open(&config(events))?;
        Ok(Self { runtime: Runtime::new()?, store, _folder: Some(folder) })
    }
}

/// With nothing else in it that matters here.
pub(crate) fn config(events: EventsConfig) -> Config {
    Config { events, ..Config::for_component(Path::new("bench.wasm")) }
}

/// The store of a configuration.
pub(crate) fn open(config: &Config) -> anyhow::Result<Arc<dyn EventStore>> {
    Ok(linger_events::open(&config.events, config.queues.clone(), config.topics.clone())?)
}

/// Pushes bytes as they come from a guest, whose memory they are copied from.
pub(crate) fn push(store: &Arc<dyn EventStore>, queue: &Name, data: &[u8]) -> StoreFuture<EventId> {
    let event = NewEvent { data: Bytes::copy_from_slice(data), content_type: None };
    store.clone().push(queue, event, Schedule::default())
}

impl StoreContestant for Ours {
    fn name(&self) -> &'static str {
        "linger"
    }

    fn run(&mut self, work: StoreWork, cycles: u32) -> anyhow::Result<()> {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let name = queue(number % work.queues).parse()?;
            clients.spawn_on(client(self.store.clone(), name, work, cycles), self.runtime.handle());
        }
        self.runtime.block_on(async {
            while let Some(ended) = clients.join_next().await {
                ended??;
            }
            Ok(())
        })
    }

    fn lonely(&mut self, pushes: u32, data: &[u8]) -> anyhow::Result<Vec<Duration>> {
        let queue = "lonely".parse()?;
        self.runtime.block_on(async {
            let mut times = Vec::new();
            for _ in 0..pushes {
                let start = Instant::now();
                push(&self.store, &queue, data).await?;
                times.push(start.elapsed());
                self.store.clone().take(&queue).await?.settle(Settlement::Ack).await?;
            }
            Ok(times)
        })
    }
}

async fn client(store: Arc<dyn EventStore>, queue: Name, work: StoreWork, cycles: u32) -> anyhow::Result<()> {
    let data = vec![b'x'; work.bytes];
    for _ in 0..cycles {
        let lease = match work.way {
            StoreWay::Parked => {
                let parked = store.clone().take(&queue);
                push(&store, &queue, &data).await?;
                parked.await?
            }
            StoreWay::Stored => {
                push(&store, &queue, &data).await?;
                store.clone().take(&queue).await?
            }
        };
        lease.settle(Settlement::Ack).await?;
    }
    Ok(())
}
