//! Queues and topics in NATS `JetStream`, shared by several hosts.
//!
//! NATS stores the events and their leases. A host has only its own waiters and leases; all that is sent
//! and received goes through a thread of its own.
//!
//! `client` connects and asks; `stream` makes, finds and removes the streams of both kinds; `queue` and `topic` are what becomes of
//! events in each; `names` and `message` are what is in NATS by the name of ours, `health` whether it answers.

mod client;
mod health;
mod message;
mod names;
mod queue;
mod stream;
mod topic;

use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use linger_base::Name;
use linger_config::{NatsConfig, QueuesConfig, TopicsConfig};

use super::clock::Clock;
use super::wait::{QueueWait, WaitingLines};
use super::{
    Cursor, EventId, EventStore, EventTotals, Lease, LeaseId, NewEvent, OpenError, QueueUsage, Schedule,
    Settlement, StoreConnection, StoreError, StoreFuture, StoreUsage, TopicBatch, TopicUsage,
};
use client::NatsClient;
use health::NatsHealth;
use stream::survey::StreamSurvey;
use stream::table::StreamTable;

/// How long a store that goes waits for what it has begun: events that go back, above all.
const LAST_WORK: Duration = Duration::from_secs(5);

/// An [`EventStore`] in NATS `JetStream`.
pub(crate) struct NatsStore {
    shared: Arc<NatsContext>,
    runtime: NatsThreads,
}

/// The threads that all is sent and received by. Dropped, they end what they do.
struct NatsThreads(Option<Runtime>);

/// What the tasks of a store know. None of them keeps the store itself.
struct NatsContext {
    link: NatsClient,
    limits: NatsLimits,
    clock: Clock,
    queues: Mutex<queue::state::NatsQueueState>,
    topics: Mutex<topic::state::NatsTopicState>,
    streams: StreamTable,
    survey: StreamSurvey,
    health: NatsHealth,
    /// Wakes who keeps the time, when something may come earlier than that knows.
    alarm: Notify,
    /// Wakes who waits for a note of an event.
    told: Notify,
    runtime: Handle,
    /// What has been begun and has to be done.
    work: TaskTracker,
    /// Those who fetch events. They end with the store.
    fetchers: TaskTracker,
}

struct NatsLimits {
    queues: QueuesConfig,
    topics: TopicsConfig,
}

impl NatsStore {
    /// Connects. Blocks until that is done.
    pub(crate) fn open(
        config: &NatsConfig,
        queues: QueuesConfig,
        topics: TopicsConfig,
    ) -> Result<Arc<Self>, OpenError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build();
        let runtime = NatsThreads(Some(runtime.map_err(OpenError::Thread)?));
        let handle = runtime.handle();
        let (sender, receiver) = channel();
        let (config, limits) = (config.clone(), NatsLimits { queues, topics });
        drop(handle.spawn(async move { sender.send(start(config, limits).await) }));
        let shared = receiver.recv().unwrap_or_else(|_| Err("cannot start the store".to_owned()));
        Ok(Arc::new(Self { shared: shared.map_err(OpenError::Nats)?, runtime }))
    }
}

/// Connects, and starts what goes on for as long as the store is there.
async fn start(config: NatsConfig, limits: NatsLimits) -> Result<Arc<NatsContext>, String> {
    let link = NatsClient::connect(config).await?;
    let notes = link.client.subscribe(link.names.notes()).await;
    let mut notes = notes.map_err(|error| format!("NATS: {error}"))?;
    let names = limits.queues.max_queues.saturating_add(limits.topics.max_topics);
    let shared = Arc::new(NatsContext {
        link,
        streams: StreamTable::new(names.saturating_mul(2)),
        limits,
        clock: Clock::start(),
        queues: Mutex::default(),
        topics: Mutex::default(),
        survey: StreamSurvey::default(),
        health: NatsHealth::default(),
        alarm: Notify::new(),
        told: Notify::new(),
        runtime: Handle::current(),
        work: TaskTracker::new(),
        fetchers: TaskTracker::new(),
    });
    shared.look_around().await.map_err(|error| error.to_string())?;
    let (listening, keeping) = (shared.clone(), shared.clone());
    shared.fetchers.spawn(async move {
        while let Some(note) = notes.next().await {
            listening.heard(&note.payload);
        }
    });
    shared.fetchers.spawn(async move {
        loop {
            let next = keeping.act();
            tokio::select! {
                () = keeping.alarm.notified() => {}
                () = keeping.clock.wait_for(next) => {}
            }
        }
    });
    shared.fetchers.spawn(shared.clone().retire_unused());
    shared.fetchers.spawn(shared.clone().watch_health());
    shared.fetchers.spawn(shared.clone().watch_leaders());
    shared.fetchers.spawn(shared.clone().watch_connections());
    Ok(shared)
}

impl NatsContext {
    /// Begins something that is done to its end whether or not anybody waits for it.
    fn work<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = async move {
            // Nobody may want to know.
            drop(sender.send(work.await));
        };
        drop(self.work.spawn_on(task, &self.runtime));
        async {
            receiver.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store has stopped".into())))
        }
    }
}

impl EventStore for NatsStore {
    fn push(self: Arc<Self>, queue: &Name, event: NewEvent, schedule: Schedule) -> StoreFuture<EventId> {
        boxed(self.shared.push_now(queue, event, schedule))
    }

    fn take(self: Arc<Self>, queue: &Name) -> StoreFuture<Lease> {
        let taken = self.shared.take_now(queue);
        boxed(taken.map(|(ticket, receiver)| QueueWait::new(self, queue.clone(), ticket, receiver)))
    }

    fn settle(self: Arc<Self>, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()> {
        boxed(self.shared.settle_now(lease, settlement))
    }

    fn renew(self: Arc<Self>, lease: &LeaseId, time: Duration) -> StoreFuture<()> {
        boxed(self.shared.renew_now(lease, time).map(|()| ready(Ok(()))))
    }

    fn publish(self: Arc<Self>, topic: &Name, event: NewEvent) -> StoreFuture<Cursor> {
        boxed(self.shared.publish_now(topic, event))
    }

    fn read(self: Arc<Self>, topic: &Name, after: Option<Cursor>, limit: usize) -> StoreFuture<TopicBatch> {
        Box::pin(self.shared.clone().read_when_there(topic.clone(), after, limit))
    }

    fn end(self: Arc<Self>, topic: &Name) -> StoreFuture<Cursor> {
        Box::pin(self.shared.clone().end_of(topic.clone()))
    }

    /// The store's own thread does that.
    fn keep_time(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }

    fn usage(&self) -> StoreUsage {
        self.shared.look_around_soon();
        let queues = self.shared.queues.lock().usage();
        self.shared.topics.lock().usage(queues)
    }

    fn totals(&self) -> EventTotals {
        let queues = self.shared.queues.lock().fates;
        EventTotals { published: self.shared.topics.lock().published, ..queues }
    }

    fn queues(&self) -> Vec<QueueUsage> {
        self.shared.look_around_soon();
        self.shared.queues.lock().list()
    }

    fn topics(&self) -> Vec<TopicUsage> {
        self.shared.look_around_soon();
        self.shared.topics.lock().list()
    }

    fn connection(&self) -> Option<StoreConnection> {
        Some(self.shared.linked())
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    fn purge(self: Arc<Self>, queue: &Name) -> StoreFuture<usize> {
        Box::pin(self.shared.work(self.shared.clone().purge_now(queue.clone())))
    }
}

impl WaitingLines for NatsStore {
    fn leave(&self, queue: &Name, ticket: u64) {
        self.shared.leave(queue, ticket);
    }
}

impl Drop for NatsStore {
    fn drop(&mut self) {
        let (shared, (sender, done)) = (self.shared.clone(), channel());
        shared.work.close();
        let client = shared.link.client.clone();
        drop(self.runtime.handle().spawn(async move {
            shared.work.wait().await;
            // What was sent without waiting for an answer has left too.
            let _ = client.flush().await;
            sender.send(())
        }));
        // What NATS does not hear of now comes back to others after the ack wait.
        let _ = done.recv_timeout(LAST_WORK);
    }
}

impl NatsThreads {
    fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl Drop for NatsThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
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

fn check_size(data: &[u8], limit: bytesize::ByteSize) -> Result<(), StoreError> {
    let limit = limit.as_u64();
    if data.len() as u64 > limit { Err(StoreError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
