//! Queues and topics in this process. Changes are written to the journal before anybody relies on them.

mod queue;
mod queues;
mod timers;
mod topic;
mod topics;

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use linger_base::Name;
use linger_config::{QueuesConfig, TopicsConfig};

use super::clock::Clock;
use super::journal::{Journal, NoJournal, SavedEvents};
use super::{
    Cursor, EventId, EventStore, EventTotals, Lease, LeaseId, NewEvent, QueueUsage, Schedule, Settlement,
    StoreError, StoreFuture, StoreUsage, TopicBatch, TopicUsage,
};

/// What an event costs beside its payload, in bytes: its entry, its id and its content type.
pub(super) const OVERHEAD: u64 = 256;

/// An [`EventStore`] in the memory of this process.
pub(crate) struct LocalStore<J> {
    limits: LocalLimits,
    /// Tells the ids of this store from those of a process before it.
    life: u32,
    clock: Clock,
    /// Wakes who keeps the time, when something comes earlier than that knows.
    alarm: Notify,
    queues: Mutex<queues::LocalQueues>,
    topics: Mutex<topics::LocalTopics>,
    journal: J,
}

struct LocalLimits {
    queues: QueuesConfig,
    topics: TopicsConfig,
}

/// A store that ends with its process.
pub(crate) type MemoryStore = LocalStore<NoJournal>;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub(crate) fn new(queues: QueuesConfig, topics: TopicsConfig) -> Arc<Self> {
        Self::with_journal(queues, topics, NoJournal, SavedEvents::default())
    }
}

impl<J: Journal> LocalStore<J> {
    /// A store with what a journal has kept. An event that may have been handed out counts as taken and put back.
    pub(super) fn with_journal(
        queues: QueuesConfig,
        topics: TopicsConfig,
        journal: J,
        saved: SavedEvents,
    ) -> Arc<Self> {
        let store = Arc::new(Self {
            limits: LocalLimits { queues, topics },
            life: linger_base::random_u32(),
            clock: Clock::start(),
            alarm: Notify::new(),
            queues: Mutex::default(),
            topics: Mutex::default(),
            journal,
        });
        store.restore_queues(saved.events);
        store.restore_topics(saved.epochs, saved.published);
        store
    }

    /// Does what is due, a part at a time, so that no lock is held for long; then tells what is next.
    pub(super) fn act(self: &Arc<Self>) -> Option<u64> {
        const AT_A_TIME: usize = 1000;
        let now = self.clock.now();
        let queues = self.act_on_queues(now, AT_A_TIME);
        let topics = self.act_on_topics(now, AT_A_TIME);
        [queues, topics].into_iter().flatten().min()
    }
}

impl<J: Journal> EventStore for LocalStore<J> {
    fn push(self: Arc<Self>, queue: &Name, event: NewEvent, schedule: Schedule) -> StoreFuture<EventId> {
        boxed(self.push_now(queue, event, schedule))
    }

    fn take(self: Arc<Self>, queue: &Name) -> StoreFuture<Lease> {
        boxed(self.take_now(queue))
    }

    fn settle(self: Arc<Self>, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()> {
        boxed(self.settle_now(lease, settlement))
    }

    fn renew(self: Arc<Self>, lease: &LeaseId, time: Duration) -> StoreFuture<()> {
        boxed(self.renew_now(lease, time).map(|()| ready(Ok(()))))
    }

    fn publish(self: Arc<Self>, topic: &Name, event: NewEvent) -> StoreFuture<Cursor> {
        boxed(self.publish_now(topic, event))
    }

    fn read(self: Arc<Self>, topic: &Name, after: Option<Cursor>, limit: usize) -> StoreFuture<TopicBatch> {
        Box::pin(self.read_when_there(topic.clone(), after, limit))
    }

    fn end(self: Arc<Self>, topic: &Name) -> StoreFuture<Cursor> {
        Box::pin(ready(Ok(self.end_of(topic))))
    }

    fn keep_time(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            loop {
                let next = self.act();
                tokio::select! {
                    () = self.alarm.notified() => {}
                    () = self.clock.wait_for(next) => {}
                }
            }
        })
    }

    fn usage(&self) -> StoreUsage {
        let queues = self.queues.lock().usage();
        self.topics.lock().usage(queues)
    }

    fn totals(&self) -> EventTotals {
        let queues = self.queues.lock().fates();
        EventTotals { published: self.topics.lock().ever_published(), ..queues }
    }

    fn queues(&self) -> Vec<QueueUsage> {
        self.queues.lock().list()
    }

    fn topics(&self) -> Vec<TopicUsage> {
        self.topics.lock().list()
    }

    fn purge(self: Arc<Self>, queue: &Name) -> StoreFuture<usize> {
        Box::pin(self.purge_now(queue))
    }
}

/// A future of what was started, or the reason why it was not.
fn boxed<T: Send + 'static>(
    started: Result<impl Future<Output = Result<T, StoreError>> + Send + 'static, StoreError>,
) -> StoreFuture<T> {
    match started {
        Ok(future) => Box::pin(future),
        Err(error) => Box::pin(ready(Err(error))),
    }
}

fn size(data: &[u8]) -> u64 {
    data.len() as u64 + OVERHEAD
}

fn check_size(data: &[u8], limit: bytesize::ByteSize) -> Result<(), StoreError> {
    let limit = limit.as_u64();
    if data.len() as u64 > limit { Err(StoreError::TooLarge { limit }) } else { Ok(()) }
}

/// What a journal says in the end. One that stops says nothing.
async fn told<T>(receiver: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    receiver.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store has stopped".into())))
}
