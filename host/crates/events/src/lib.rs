//! Events in queues and topics, their store, and the settlement of taken events.
//!
//! A taken event is not popped from its queue: it is *leased*. The holder of the [`Lease`] settles it, and a lease
//! that is dropped releases its event, so that no path through the host can lose one.
//!
//! - `local` has the queues and topics of this process, over a journal; `disk` is the journal in a directory
//! - `nats` has those that hosts share
//! - `deliveries` is what one request holds, `ack_tokens` what its client has to acknowledge
//!
//! The only crate that names the client of NATS (in `nats`) and the disk store's engine (fjall, in `disk`). Of Linger it names
//! the base and the configuration. It may not name HTTP, sockets of clients, metrics or Wasmtime.
#![forbid(unsafe_code)]

mod ack_tokens;
mod clock;
mod cursor;
mod deliveries;
mod disk;
mod journal;
mod local;
#[cfg(feature = "nats")]
mod nats;
mod usage;
mod wait;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use linger_base::Name;
use linger_config::{AckMode, EventsConfig, QueuesConfig, StoreKind, TopicsConfig};

use disk::DiskStore;
use local::MemoryStore;

pub use ack_tokens::{AckToken, AckTokens};
pub use cursor::{Cursor, InvalidCursor};
pub use deliveries::{Deliveries, Delivery, HoldError, PendingLease, PendingSettlement};
pub use disk::{ContentCount, DirectoryContents, OpenError, check};
pub use usage::{EventTotals, QueueUsage, StoreConnection, StoreUsage, TopicUsage};

/// The reason why a store refused something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A limit is reached.
    #[error("{0}")]
    OverLimit(LimitKind),
    /// The event is larger than `limit` bytes.
    #[error("the event is larger than {limit} bytes")]
    TooLarge {
        /// The largest event that the store takes, in bytes.
        limit: u64,
    },
    /// The lease has already ended.
    #[error("the delivery has already ended")]
    Settled,
    /// The store could not be written or read.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

/// A limit that can be reached. The WIT enum `linger:host/types.limit` mirrors it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitKind {
    /// Events in one queue.
    #[error("the limit of events is reached")]
    Events,
    /// Bytes in one queue.
    #[error("the limit of bytes is reached")]
    Bytes,
    /// Bytes in all queues together, or in all topics.
    #[error("the total limit of bytes is reached")]
    TotalBytes,
    /// Queues, or topics, that exist at a time.
    #[error("the limit of names is reached")]
    Names,
    /// Consumers that wait at one queue, or readers at one topic.
    #[error("the limit of waiting requests is reached")]
    Waiters,
    /// Unsettled deliveries of one request.
    #[error("the limit of deliveries per request is reached")]
    Deliveries,
}

/// An event as it is pushed or published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// The payload.
    pub data: Bytes,
    /// The media type of the payload, if the producer gave one.
    pub content_type: Option<Arc<str>>,
}

/// The longest content type, in bytes: more than any real one, less than a head could hold.
const MAX_CONTENT_TYPE: usize = 256;

/// Whether an event can have this content type: what the header of a response can hold, within bounds.
#[must_use]
pub fn is_content_type(text: &str) -> bool {
    text.len() <= MAX_CONTENT_TYPE && http::HeaderValue::from_str(text).is_ok()
}

/// The delay and time to live of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The event cannot be taken before this time has passed.
    pub delay: Option<Duration>,
    /// The event is dropped after this time.
    pub time_to_live: Option<Duration>,
}

/// Names an event of a queue. It is unique within the queue, and never used again. The WIT record
/// `linger:host/types.event-id` mirrors it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Tells the numbers of one life of the store from those of another.
    pub epoch: u32,
    /// Counts within an epoch.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.number)
    }
}

/// An event as it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub id: EventId,
    /// The payload.
    pub data: Bytes,
    /// The media type of the payload, if the producer gave one.
    pub content_type: Option<Arc<str>>,
    /// The number of attempts, including this one.
    pub attempt: u32,
    /// Whether an earlier client may have received it or a part of it.
    pub maybe_delivered: bool,
}

/// An event of a topic. Readers share it.
#[derive(Debug, PartialEq, Eq)]
pub struct PublishedEvent {
    /// The cursor after it.
    pub cursor: Cursor,
    /// The payload.
    pub data: Bytes,
    /// The media type of the payload, if the producer gave one.
    pub content_type: Option<Arc<str>>,
}

/// The result of one read of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicBatch {
    /// At least one, the oldest first.
    pub events: Vec<Arc<PublishedEvent>>,
    /// The cursor after the last of them.
    pub next: Cursor,
    /// The number of events after the cursor of the read that are no longer stored.
    pub missed: u64,
    /// The cursor of the read is of an earlier life of the topic: the number of missed events is unknown.
    pub restarted: bool,
}

/// What becomes of a taken event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is gone for good.
    Ack,
    /// It returns to its place in the queue, and this attempt counts.
    Requeue {
        /// Whether a client may have got it or a part of it.
        maybe_delivered: bool,
    },
    /// It returns to its place in the queue as if it had not been taken: no handler saw it.
    Release,
}

/// Names a lease within its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    queue: Name,
    sequence: u64,
    /// Tells it from other leases on the same event.
    lease: u64,
}

/// A boxed future of a store.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A store of events.
pub trait EventStore: Send + Sync + 'static {
    /// Stores an event at the end of a queue, and gives its id once it is stored.
    ///
    /// The call itself starts the work: a dropped future does not take the event back.
    fn push(self: Arc<Self>, queue: &Name, event: NewEvent, schedule: Schedule) -> StoreFuture<EventId>;

    /// Takes the event at the head of a queue, waiting for one if there is none.
    ///
    /// Cancel-safe: a dropped future takes nothing. Takers are served in the order of their calls.
    fn take(self: Arc<Self>, queue: &Name) -> StoreFuture<Lease>;

    /// Settles a lease.
    ///
    /// The call itself starts the work and a dropped future does not stop it, so that it can be called
    /// from a destructor. Fails with [`StoreError::Settled`] if the lease is not held any more.
    fn settle(self: Arc<Self>, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()>;

    /// Gives a lease this much time from now on, whatever it had. Fails with [`StoreError::Settled`] if it is not
    /// held any more. The call itself does it.
    fn renew(self: Arc<Self>, lease: &LeaseId, time: Duration) -> StoreFuture<()>;

    /// Stores an event at the end of a topic, and gives the cursor after it once it is stored.
    ///
    /// The call itself starts the work: a dropped future does not take the event back.
    fn publish(self: Arc<Self>, topic: &Name, event: NewEvent) -> StoreFuture<Cursor>;

    /// Reads what comes after a cursor, waiting for it if there is nothing yet, and at most `limit` events.
    /// No cursor stands for the oldest event that is kept.
    ///
    /// Cancel-safe: a dropped future leaves no trace.
    fn read(self: Arc<Self>, topic: &Name, after: Option<Cursor>, limit: usize) -> StoreFuture<TopicBatch>;

    /// The cursor after the last event of a topic.
    fn end(self: Arc<Self>, topic: &Name) -> StoreFuture<Cursor>;

    /// Does what time brings about: delays, times to live, leases, retention. Never resolves. Whoever has the store
    /// keeps polling one such future.
    fn keep_time(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// How much it holds now.
    fn usage(&self) -> StoreUsage;

    /// What became of events since it was opened.
    fn totals(&self) -> EventTotals;

    /// Its queues, by name. Takes as long as there are many.
    fn queues(&self) -> Vec<QueueUsage>;

    /// Its topics, by name. Takes as long as there are many.
    fn topics(&self) -> Vec<TopicUsage>;

    /// How its connection is, if it has one.
    fn connection(&self) -> Option<StoreConnection> {
        None
    }

    /// Why nothing can be stored now, if so. What is asked of it meanwhile waits, within bounds.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Removes the events of a queue that nobody holds, and gives their number.
    fn purge(self: Arc<Self>, queue: &Name) -> StoreFuture<usize>;
}

/// Opens the store that a configuration asks for. Blocks while it reads all events, or connects.
pub fn open(
    events: &EventsConfig,
    queues: QueuesConfig,
    topics: TopicsConfig,
) -> Result<Arc<dyn EventStore>, OpenError> {
    match (events.store, &events.directory) {
        (StoreKind::Disk, Some(directory)) => {
            Ok(DiskStore::open(directory, events.durability, queues, topics)?)
        }
        #[cfg(feature = "nats")]
        (StoreKind::Nats, _) => Ok(nats::NatsStore::open(&events.nats, queues, topics)?),
        #[cfg(not(feature = "nats"))]
        (StoreKind::Nats, _) => Err(OpenError::Nats(
            "Linger was built without the feature `nats`; rebuild it with `--features nats`".to_owned(),
        )),
        // A store on disk has its directory: the configuration was checked.
        _ => Ok(MemoryStore::new(queues, topics)),
    }
}

/// An exclusive, timed hold on an event. Dropping it requeues the event as if it had not been taken.
pub struct Lease {
    event: Event,
    id: LeaseId,
    ack_mode: AckMode,
    time: Duration,
    store: Arc<dyn EventStore>,
    held: bool,
}

impl Lease {
    /// A lease on `event`, which `store` knows as `id`, and as its queue has it.
    #[must_use]
    pub fn new(event: Event, id: LeaseId, policy: (AckMode, Duration), store: Arc<dyn EventStore>) -> Self {
        let (commit, time) = policy;
        Self { event, id, ack_mode: commit, time, store, held: true }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// What acknowledges the event.
    #[must_use]
    pub fn ack_mode(&self) -> AckMode {
        self.ack_mode
    }

    /// How long it may stay unsettled.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Renews it: its time starts again.
    pub fn renew(&self) {
        // If it has run out meanwhile, the event is back in its queue, as it should be.
        drop(self.store.clone().renew(&self.id, self.time));
    }

    /// Settles the event. As with [`EventStore::settle`], the call itself starts the work.
    pub fn settle(mut self, settlement: Settlement) -> StoreFuture<()> {
        self.held = false;
        self.store.clone().settle(&self.id, settlement)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held {
            // Nobody is left to hear how it went, and the call has started the work.
            drop(self.store.clone().settle(&self.id, Settlement::Release));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod contract;
