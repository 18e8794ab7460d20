//! Events in queues: the store behind them, and who settles a taken event.
//!
//! A taken event is never popped: it is *leased*. Whoever holds the [`Lease`] settles it, and a lease
//! that is dropped puts its event back, so that no path through the host can lose one.

mod disk;
mod held;
mod journal;
mod local;
mod name;
mod queue;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::{Events, QueueLimits, Store};

use disk::DiskStore;
pub use disk::{Contents, OpenError, check};
pub use held::{Delivery, HoldError, Holdings, PendingLease, Unsettled};
use local::MemoryStore;
pub use name::QueueName;

/// Why a store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue, or the list of queues, is at its limit.
    #[error("the queue is full")]
    Full,
    /// The event is larger than `limit` bytes.
    #[error("the event is larger than {limit} bytes")]
    TooLarge {
        /// The largest event that the store takes, in bytes.
        limit: u64,
    },
    /// The lease is no longer held: it was settled before.
    #[error("the delivery was settled before")]
    Settled,
    /// It failed to write down what it has to, or to read it.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

/// An event as it is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The payload.
    pub data: Bytes,
    /// The media type of the payload, if the producer gave one.
    pub content_type: Option<Arc<str>>,
}

/// An event as it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique within its queue, and never used again.
    pub id: Arc<str>,
    /// The payload.
    pub data: Bytes,
    /// The media type of the payload, if the producer gave one.
    pub content_type: Option<Arc<str>>,
    /// How often it has been taken, this time included.
    pub attempt: u32,
    /// Whether an earlier taker's client may have got it or a part of it.
    pub maybe_delivered: bool,
}

/// What becomes of a taken event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is gone for good.
    Commit,
    /// It returns to its place in the queue, and this attempt counts.
    PutBack {
        /// Whether a client may have got it or a part of it.
        maybe_delivered: bool,
    },
    /// It returns to its place in the queue as if it had not been taken: no handler saw it.
    Untaken,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Queues with an event or a waiting taker.
    pub queues: usize,
    /// Events, leased ones included.
    pub events: usize,
    /// Bytes, with 256 added for each event.
    pub bytes: u64,
}

/// Names a lease within its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    queue: QueueName,
    sequence: u64,
}

/// A boxed future of a store.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Where events live.
pub trait EventStore: Send + Sync + 'static {
    /// Stores an event at the end of a queue, and gives its id once it is stored.
    ///
    /// The call itself starts the work: a dropped future does not take the event back.
    fn push(self: Arc<Self>, queue: &QueueName, event: NewEvent) -> StoreFuture<Arc<str>>;

    /// Takes the event at the head of a queue, waiting for one if there is none.
    ///
    /// Cancel-safe: a dropped future takes nothing. Takers are served in the order of their calls.
    fn take(self: Arc<Self>, queue: &QueueName) -> StoreFuture<Lease>;

    /// Settles a lease.
    ///
    /// The call itself starts the work and a dropped future does not stop it, so that it can be called
    /// from a destructor. Fails with [`StoreError::Settled`] if the lease is not held any more.
    fn settle(self: Arc<Self>, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()>;

    /// How much it holds now.
    fn usage(&self) -> Usage;
}

/// Opens the store that a configuration asks for. Blocks while it reads all events.
pub fn open(events: &Events, limits: QueueLimits) -> Result<Arc<dyn EventStore>, OpenError> {
    match (events.store, &events.directory) {
        (Store::Disk, Some(directory)) => Ok(DiskStore::open(directory, events.durability, limits)?),
        // A store on disk has its directory: the configuration was checked.
        _ => Ok(MemoryStore::new(limits)),
    }
}

/// An event that one taker holds. Dropping it puts the event back, untaken.
pub struct Lease {
    event: Event,
    id: LeaseId,
    store: Arc<dyn EventStore>,
    held: bool,
}

impl Lease {
    /// A lease on `event`, which `store` knows as `id`.
    #[must_use]
    pub fn new(event: Event, id: LeaseId, store: Arc<dyn EventStore>) -> Self {
        Self { event, id, store, held: true }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
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
            drop(self.store.clone().settle(&self.id, Settlement::Untaken));
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).field("held", &self.held).finish_non_exhaustive()
    }
}
