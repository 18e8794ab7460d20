//! Queues in memory: nothing outlives the process.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready as poll_ready};

use tokio::sync::oneshot;

use super::{Event, EventStore, Lease, LeaseId, NewEvent, QueueName, Settlement, StoreError, StoreFuture};
use crate::config::QueueLimits;

/// What an event costs beside its payload, in bytes: its entry, its id and its content type.
const OVERHEAD: u64 = 256;

/// An [`EventStore`] in memory.
pub struct MemoryStore {
    limits: QueueLimits,
    /// Tells the ids of this store from those of a process before it.
    life: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queues: HashMap<QueueName, Queue>,
    /// Of all queues.
    bytes: u64,
    /// Counts over all queues, so that an id is not used again even when its queue came and went.
    next_sequence: u64,
    next_ticket: u64,
}

/// Whenever the lock is free, `ready` or `waiters` is empty.
#[derive(Default)]
struct Queue {
    /// By sequence, so that an event that returns finds its old place.
    ready: BTreeMap<u64, Stored>,
    leased: HashMap<u64, Stored>,
    /// By ticket, so in the order of their arrival.
    waiters: BTreeMap<u64, oneshot::Sender<Taken>>,
    bytes: u64,
}

struct Stored {
    event: NewEvent,
    id: Arc<str>,
    attempts: u32,
    maybe_delivered: bool,
}

struct Taken {
    event: Event,
    sequence: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: QueueLimits) -> Arc<Self> {
        Arc::new(Self { limits, life: crate::exchange::random_u32(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_now(&self, name: &QueueName, event: NewEvent) -> Result<Arc<str>, StoreError> {
        let size = event.data.len() as u64;
        let limit = self.limits.max_event_size.as_u64();
        if size > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let mut state = self.state();
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let total = state.bytes + size + OVERHEAD;
        let queue = state.queue(name, self.limits.max_queues)?;
        let events = queue.ready.len() + queue.leased.len();
        let bytes = queue.bytes + size + OVERHEAD;
        let within = events < self.limits.max_events
            && bytes <= self.limits.max_bytes.as_u64()
            && total <= self.limits.max_total_bytes.as_u64();
        if !within {
            state.forget_if_unused(name);
            return Err(StoreError::Full);
        }
        let id: Arc<str> = format!("{:08x}-{sequence}", self.life).into();
        let stored = Stored { event, id: id.clone(), attempts: 0, maybe_delivered: false };
        queue.bytes = bytes;
        queue.ready.insert(sequence, stored);
        queue.serve_waiters();
        state.bytes = total;
        Ok(id)
    }

    fn take_now(self: Arc<Self>, name: &QueueName) -> Result<Wait, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let queue = state.queue(name, self.limits.max_queues)?;
        queue.waiters.insert(ticket, sender);
        queue.serve_waiters();
        drop(state);
        Ok(Wait { store: self, queue: name.clone(), ticket, receiver })
    }

    fn settle_now(&self, lease: &LeaseId, settlement: Settlement) -> Result<(), StoreError> {
        let mut state = self.state();
        let state = &mut *state;
        let queue = state.queues.get_mut(&lease.queue).ok_or(StoreError::Settled)?;
        let mut stored = queue.leased.remove(&lease.sequence).ok_or(StoreError::Settled)?;
        match settlement {
            Settlement::Commit => {
                let size = stored.event.data.len() as u64 + OVERHEAD;
                queue.bytes -= size;
                state.bytes -= size;
            }
            Settlement::Untaken => {
                queue.ready.insert(lease.sequence, stored);
            }
            Settlement::PutBack { maybe_delivered } => {
                stored.attempts = stored.attempts.saturating_add(1);
                stored.maybe_delivered |= maybe_delivered;
                queue.ready.insert(lease.sequence, stored);
            }
        }
        queue.serve_waiters();
        state.forget_if_unused(&lease.queue);
        Ok(())
    }

    fn leave(&self, name: &QueueName, ticket: u64) {
        let mut state = self.state();
        if let Some(queue) = state.queues.get_mut(name) {
            queue.waiters.remove(&ticket);
            state.forget_if_unused(name);
        }
    }
}

impl State {
    fn queue(&mut self, name: &QueueName, max_queues: usize) -> Result<&mut Queue, StoreError> {
        if self.queues.len() >= max_queues && !self.queues.contains_key(name) {
            return Err(StoreError::Full);
        }
        Ok(self.queues.entry(name.clone()).or_default())
    }

    /// A queue exists as long as somebody needs it, so that names cost nothing once they are not used.
    fn forget_if_unused(&mut self, name: &QueueName) {
        let unused =
            |queue: &Queue| queue.ready.is_empty() && queue.leased.is_empty() && queue.waiters.is_empty();
        if self.queues.get(name).is_some_and(unused) {
            self.queues.remove(name);
        }
    }
}

impl Queue {
    fn serve_waiters(&mut self) {
        while !self.ready.is_empty() {
            let Some((_, waiter)) = self.waiters.pop_first() else { return };
            let Some((sequence, stored)) = self.ready.pop_first() else { return };
            let sent = waiter.send(Taken { event: stored.taken(), sequence });
            match sent {
                Ok(()) => self.leased.insert(sequence, stored),
                // This waiter left, and has yet to say so: the event stays where it was.
                Err(_) => self.ready.insert(sequence, stored),
            };
        }
    }
}

impl Stored {
    fn taken(&self) -> Event {
        Event {
            id: self.id.clone(),
            data: self.event.data.clone(),
            content_type: self.event.content_type.clone(),
            attempt: self.attempts.saturating_add(1),
            maybe_delivered: self.maybe_delivered,
        }
    }
}

impl EventStore for MemoryStore {
    fn push(self: Arc<Self>, queue: &QueueName, event: NewEvent) -> StoreFuture<Arc<str>> {
        Box::pin(ready(self.push_now(queue, event)))
    }

    fn take(self: Arc<Self>, queue: &QueueName) -> StoreFuture<Lease> {
        match self.take_now(queue) {
            Ok(wait) => Box::pin(wait),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn settle(&self, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()> {
        Box::pin(ready(self.settle_now(lease, settlement)))
    }
}

/// A place in the line of a queue. Dropping it gives the place up, and puts back what had arrived.
struct Wait {
    store: Arc<MemoryStore>,
    queue: QueueName,
    ticket: u64,
    receiver: oneshot::Receiver<Taken>,
}

impl Wait {
    fn lease(&self, taken: Taken) -> Lease {
        let id = LeaseId { queue: self.queue.clone(), sequence: taken.sequence };
        Lease::new(taken.event, id, self.store.clone())
    }
}

impl Future for Wait {
    type Output = Result<Lease, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match poll_ready!(Pin::new(&mut self.receiver).poll(cx)) {
            Ok(taken) => Poll::Ready(Ok(self.lease(taken))),
            // The sender is dropped only by `leave`, which is called when this future is dropped.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.store.leave(&self.queue, self.ticket);
        // Nobody can send from here on.
        if let Ok(taken) = self.receiver.try_recv() {
            drop(self.lease(taken));
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
