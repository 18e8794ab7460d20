//! Queues of this process. What has to outlive it is written to a journal before anybody relies on it.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready as poll_ready};

use tokio::sync::oneshot;

use super::journal::{Entry, Journal, Nothing, Record};
use super::queue::{Queue, Stored, Taken, Waiter};
use super::{EventStore, Lease, LeaseId, NewEvent, QueueName, Settlement, StoreError, StoreFuture, Usage};
use crate::config::QueueLimits;

/// What an event costs beside its payload, in bytes: its entry, its id and its content type.
pub(super) const OVERHEAD: u64 = 256;

/// An [`EventStore`] whose queues are in the memory of this process.
pub(crate) struct LocalStore<J> {
    limits: QueueLimits,
    /// Tells the ids of this store from those of a process before it.
    life: u32,
    state: Mutex<State>,
    journal: J,
}

/// A store that ends with its process.
pub(crate) type MemoryStore = LocalStore<Nothing>;

#[derive(Default)]
struct State {
    queues: HashMap<QueueName, Queue>,
    /// Of all queues.
    bytes: u64,
    /// Counts over all queues, so that an id is not used again even when its queue came and went.
    next_sequence: u64,
    next_ticket: u64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub(crate) fn new(limits: QueueLimits) -> Arc<Self> {
        Self::with_journal(limits, Nothing, Vec::new())
    }
}

impl<J: Journal> LocalStore<J> {
    /// A store with what a journal has kept. An event that may have been handed out counts as taken and put back.
    pub(super) fn with_journal(limits: QueueLimits, journal: J, records: Vec<Record>) -> Arc<Self> {
        let mut state = State::default();
        for record in records {
            state.next_sequence = state.next_sequence.max(record.sequence + 1);
            let size = size(&record.data);
            let queue = state.queues.entry(record.queue.clone()).or_default();
            queue.bytes += size;
            state.bytes += size;
            queue.ready.insert(record.sequence, Stored::restored(&record));
        }
        Arc::new(Self { limits, life: crate::exchange::random_u32(), state: Mutex::new(state), journal })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_now(
        self: &Arc<Self>,
        name: &QueueName,
        event: NewEvent,
    ) -> Result<impl Future<Output = Result<Arc<str>, StoreError>> + Send + use<J>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let sequence = state.admit(name, size(&event.data), event.data.len() as u64, &self.limits)?;
        let wanted = state.queues.get(name).is_some_and(Queue::is_waited_for);
        let record = Record {
            queue: name.clone(),
            sequence,
            life: self.life,
            data: event.data,
            content_type: event.content_type,
            attempts: 0,
            maybe_delivered: false,
            handed_out: wanted,
        };
        let stored = Stored::new(&record, !J::KEEPS || wanted);
        let (store, name) = (self.clone(), name.clone());
        let unwritten = self.journal.record(Entry::Insert(record), move |written| {
            let id = stored.id.clone();
            store.arrive(&name, sequence, stored, written.is_ok());
            // Who pushed may have gone. The event stays.
            let _ = sender.send(written.map(|()| id));
        });
        drop(state);
        if let Some(arrived) = unwritten {
            arrived(Ok(()));
        }
        Ok(told(receiver))
    }

    /// An event has been written down, or could not be.
    fn arrive(self: &Arc<Self>, name: &QueueName, sequence: u64, stored: Stored, written: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(queue) = state.queues.get_mut(name) else { return };
        queue.arriving -= 1;
        if written {
            queue.ready.insert(sequence, stored);
            self.serve(queue, name);
        } else {
            let size = size(&stored.event.data);
            queue.bytes -= size;
            state.bytes -= size;
            state.forget_if_unused(name);
        }
    }

    /// Hands events to those who wait. That an event may be handed out is written down before it is.
    fn serve(self: &Arc<Self>, queue: &mut Queue, name: &QueueName) {
        while let Some((waiter, sequence, stored)) = queue.next_pair() {
            if stored.noted {
                queue.hand_out(sequence, stored, waiter);
                continue;
            }
            let (attempts, maybe_delivered) = (stored.attempts, stored.maybe_delivered);
            let entry = Entry::HandOut { queue: name.clone(), sequence, attempts, maybe_delivered };
            queue.leased.insert(sequence, stored);
            let (store, name) = (self.clone(), name.clone());
            let noted = move |written| store.noted(&name, sequence, waiter, written);
            // Where nothing is kept, all is noted.
            drop(self.journal.record(entry, noted));
        }
    }

    fn noted(
        self: &Arc<Self>,
        name: &QueueName,
        sequence: u64,
        waiter: Waiter,
        written: Result<(), StoreError>,
    ) {
        let mut state = self.state();
        let Some(queue) = state.queues.get_mut(name) else { return };
        let Some(mut stored) = queue.leased.remove(&sequence) else { return };
        match written {
            Ok(()) => {
                stored.noted = true;
                queue.hand_out(sequence, stored, waiter);
            }
            Err(error) => {
                queue.ready.insert(sequence, stored);
                // It may have left.
                let _ = waiter.send(Err(error));
            }
        }
        self.serve(queue, name);
    }

    fn take_now(self: Arc<Self>, name: &QueueName) -> Result<Wait<J>, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let queue = state.queue(name, self.limits.max_queues)?;
        queue.waiters.insert(ticket, sender);
        self.serve(queue, name);
        drop(state);
        Ok(Wait { store: self, queue: name.clone(), ticket, receiver })
    }

    fn settle_now(
        self: &Arc<Self>,
        lease: &LeaseId,
        settlement: Settlement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<J>, StoreError> {
        let LeaseId { queue: name, sequence } = lease;
        let (sender, receiver) = oneshot::channel();
        // Nobody may want to know.
        let told_so = move |written| drop(sender.send(written));
        let mut state = self.state();
        let state_now = &mut *state;
        let queue = state_now.queues.get_mut(name).ok_or(StoreError::Settled)?;
        let mut stored = queue.leased.remove(sequence).ok_or(StoreError::Settled)?;
        let unwritten = match settlement {
            Settlement::Commit => {
                let size = size(&stored.event.data);
                queue.bytes -= size;
                state_now.bytes -= size;
                self.journal.record(Entry::Remove { queue: name.clone(), sequence: *sequence }, told_so)
            }
            Settlement::Untaken => {
                queue.ready.insert(*sequence, stored);
                Some(told_so)
            }
            Settlement::PutBack { maybe_delivered } => {
                stored.attempts = stored.attempts.saturating_add(1);
                stored.maybe_delivered |= maybe_delivered;
                stored.noted = !J::KEEPS;
                let (attempts, maybe_delivered) = (stored.attempts, stored.maybe_delivered);
                queue.ready.insert(*sequence, stored);
                let (queue, sequence) = (name.clone(), *sequence);
                self.journal.record(Entry::PutBack { queue, sequence, attempts, maybe_delivered }, told_so)
            }
        };
        self.serve(queue, name);
        state_now.forget_if_unused(name);
        drop(state);
        if let Some(told_so) = unwritten {
            told_so(Ok(()));
        }
        Ok(told(receiver))
    }

    fn leave(&self, name: &QueueName, ticket: u64) {
        let mut state = self.state();
        if let Some(queue) = state.queues.get_mut(name) {
            queue.waiters.remove(&ticket);
            state.forget_if_unused(name);
        }
    }
}

fn size(data: &[u8]) -> u64 {
    data.len() as u64 + OVERHEAD
}

/// What a journal says in the end. One that stops says nothing.
async fn told<T>(receiver: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    receiver.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store has stopped".into())))
}

impl State {
    /// Makes room for an event, and gives its sequence.
    fn admit(
        &mut self,
        name: &QueueName,
        size: u64,
        length: u64,
        limits: &QueueLimits,
    ) -> Result<u64, StoreError> {
        let limit = limits.max_event_size.as_u64();
        if length > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let total = self.bytes + size;
        let queue = self.queue(name, limits.max_queues)?;
        let within = queue.events() < limits.max_events
            && queue.bytes + size <= limits.max_bytes.as_u64()
            && total <= limits.max_total_bytes.as_u64();
        if !within {
            self.forget_if_unused(name);
            return Err(StoreError::Full);
        }
        queue.bytes += size;
        queue.arriving += 1;
        self.bytes = total;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Ok(sequence)
    }

    fn queue(&mut self, name: &QueueName, max_queues: usize) -> Result<&mut Queue, StoreError> {
        if self.queues.len() >= max_queues && !self.queues.contains_key(name) {
            return Err(StoreError::Full);
        }
        Ok(self.queues.entry(name.clone()).or_default())
    }

    /// A queue exists as long as somebody needs it, so that names cost nothing once they are not used.
    fn forget_if_unused(&mut self, name: &QueueName) {
        if self.queues.get(name).is_some_and(Queue::is_unused) {
            self.queues.remove(name);
        }
    }
}

impl<J: Journal> EventStore for LocalStore<J> {
    fn push(self: Arc<Self>, queue: &QueueName, event: NewEvent) -> StoreFuture<Arc<str>> {
        match self.push_now(queue, event) {
            Ok(stored) => Box::pin(stored),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn take(self: Arc<Self>, queue: &QueueName) -> StoreFuture<Lease> {
        match self.take_now(queue) {
            Ok(wait) => Box::pin(wait),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn settle(self: Arc<Self>, lease: &LeaseId, settlement: Settlement) -> StoreFuture<()> {
        match self.settle_now(lease, settlement) {
            Ok(settled) => Box::pin(settled),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn usage(&self) -> Usage {
        let state = self.state();
        let events = state.queues.values().map(Queue::events).sum();
        Usage { queues: state.queues.len(), events, bytes: state.bytes }
    }
}

/// A place in the line of a queue. Dropping it gives the place up, and puts back what had arrived.
struct Wait<J: Journal> {
    store: Arc<LocalStore<J>>,
    queue: QueueName,
    ticket: u64,
    receiver: oneshot::Receiver<Result<Taken, StoreError>>,
}

impl<J: Journal> Wait<J> {
    fn lease(&self, taken: Taken) -> Lease {
        let id = LeaseId { queue: self.queue.clone(), sequence: taken.sequence };
        Lease::new(taken.event, id, self.store.clone())
    }
}

impl<J: Journal> Future for Wait<J> {
    type Output = Result<Lease, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match poll_ready!(Pin::new(&mut self.receiver).poll(cx)) {
            Ok(taken) => Poll::Ready(taken.map(|taken| self.lease(taken))),
            // The sender is dropped by `leave`, which is called when this future is dropped, or with a journal
            // that has stopped.
            Err(_) => Poll::Pending,
        }
    }
}

impl<J: Journal> Drop for Wait<J> {
    fn drop(&mut self) {
        self.store.leave(&self.queue, self.ticket);
        // Nobody can send from here on, but a journal, which then sees that nobody listens.
        self.receiver.close();
        if let Ok(Ok(taken)) = self.receiver.try_recv() {
            drop(self.lease(taken));
        }
    }
}

#[cfg(test)]
#[path = "contract.rs"]
mod contract;
