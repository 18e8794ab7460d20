//! Queues and topics in NATS `JetStream`, shared by several hosts.
//!
//! NATS stores the events and their leases. A host has only its own waiters and leases; all that is sent
//! and received goes through a thread of its own.
//!
//! Of both kinds: `access` and `link` connect and ask; `stream` makes streams, `streams` knows which there are, `retire` removes
//! them, `survey` looks at all. Queues: `queue` is what is known, `queues` pushes, `line` has who waits, `fetch` and `pull` ask for
//! what comes, `arrival`, `settle`, `answer` and `tend` are what becomes of an event, and `notes` what hosts tell each other of it. Topics:
//! `topic` is what is known, `topics` publishes, `follow` fetches into a `mirror`, at which `readers` look.

mod access;
mod answer;
mod arrival;
mod fetch;
mod follow;
mod health;
mod line;
mod link;
mod message;
mod mirror;
mod names;
mod notes;
mod pull;
mod queue;
mod queues;
mod readers;
mod retire;
mod settle;
mod stream;
mod streams;
mod survey;
mod tend;
mod topic;
mod topics;

use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use linger_base::Name;
use linger_config::{Nats, Queues, Topics};

use super::clock::Clock;
use super::wait::{Lines, Wait};
use super::{Batch, Cursor, EventId, EventStore, Fates, Lease, LeaseId, Linked, NewEvent, OpenError};
use super::{QueueUsage, Schedule, Settlement, StoreError, StoreFuture, TopicUsage, Usage};
use health::Health;
use link::Link;
use streams::Streams;
use survey::Survey;

/// How long a store that goes waits for what it has begun: events that go back, above all.
const LAST_WORK: Duration = Duration::from_secs(5);

/// An [`EventStore`] in NATS `JetStream`.
pub(crate) struct NatsStore {
    shared: Arc<Shared>,
    runtime: Owned,
}

/// The threads that all is sent and received by. Dropped, they end what they do.
struct Owned(Option<Runtime>);

/// What the tasks of a store know. None of them keeps the store itself.
struct Shared {
    link: Link,
    limits: Limits,
    clock: Clock,
    queues: Mutex<queue::State>,
    topics: Mutex<topic::State>,
    streams: Streams,
    survey: Survey,
    health: Health,
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

struct Limits {
    queues: Queues,
    topics: Topics,
}

impl NatsStore {
    /// Connects. Blocks until that is done.
    pub(crate) fn open(config: &Nats, queues: Queues, topics: Topics) -> Result<Arc<Self>, OpenError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("nats").enable_all().build();
        let runtime = Owned(Some(runtime.map_err(OpenError::Thread)?));
        let handle = runtime.handle();
        let (sender, receiver) = channel();
        let (config, limits) = (config.clone(), Limits { queues, topics });
        drop(handle.spawn(async move { sender.send(start(config, limits).await) }));
        let shared = receiver.recv().unwrap_or_else(|_| Err("cannot start the store".to_owned()));
        Ok(Arc::new(Self { shared: shared.map_err(OpenError::Nats)?, runtime }))
    }
}

/// Connects, and starts what goes on for as long as the store is there.
async fn start(config: Nats, limits: Limits) -> Result<Arc<Shared>, String> {
    let link = Link::connect(config).await?;
    let notes = link.client.subscribe(link.names.notes()).await;
    let mut notes = notes.map_err(|error| format!("NATS: {error}"))?;
    let names = limits.queues.max_queues.saturating_add(limits.topics.max_topics);
    let shared = Arc::new(Shared {
        link,
        streams: Streams::new(names.saturating_mul(2)),
        limits,
        clock: Clock::start(),
        queues: Mutex::default(),
        topics: Mutex::default(),
        survey: Survey::default(),
        health: Health::default(),
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

impl Shared {
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
        boxed(taken.map(|(ticket, receiver)| Wait::new(self, queue.clone(), ticket, receiver)))
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

    fn read(self: Arc<Self>, topic: &Name, after: Option<Cursor>, limit: usize) -> StoreFuture<Batch> {
        Box::pin(self.shared.clone().read_when_there(topic.clone(), after, limit))
    }

    fn end(self: Arc<Self>, topic: &Name) -> StoreFuture<Cursor> {
        Box::pin(self.shared.clone().end_of(topic.clone()))
    }

    /// The store's own thread does that.
    fn keep_time(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(pending())
    }

    fn usage(&self) -> Usage {
        self.shared.look_around_soon();
        let queues = lock(&self.shared.queues).usage();
        lock(&self.shared.topics).usage(queues)
    }

    fn fates(&self) -> Fates {
        let queues = lock(&self.shared.queues).fates;
        Fates { published: lock(&self.shared.topics).published, ..queues }
    }

    fn queues(&self) -> Vec<QueueUsage> {
        self.shared.look_around_soon();
        lock(&self.shared.queues).list()
    }

    fn topics(&self) -> Vec<TopicUsage> {
        self.shared.look_around_soon();
        lock(&self.shared.topics).list()
    }

    fn linked(&self) -> Option<Linked> {
        Some(self.shared.linked())
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    fn purge(self: Arc<Self>, queue: &Name) -> StoreFuture<usize> {
        Box::pin(self.shared.work(self.shared.clone().purge_now(queue.clone())))
    }
}

impl Lines for NatsStore {
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

impl Owned {
    fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl Drop for Owned {
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

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock half-way through a change.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
