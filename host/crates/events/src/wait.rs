//! Waiting: for an event of a queue, or for what is looked for each time that something may have changed.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use linger_base::Name;
use linger_config::AckMode;

use super::{Event, EventStore, Lease, LeaseId, StoreError};

/// Who waits for an event.
pub(super) type LeaseSender = oneshot::Sender<Result<TakenEvent, StoreError>>;

/// What a store gives to who waits.
pub(super) struct TakenEvent {
    pub(super) event: Event,
    pub(super) sequence: u64,
    pub(super) lease: u64,
    pub(super) policy: (AckMode, Duration),
}

/// A store with lines at its queues.
pub(super) trait WaitingLines: EventStore {
    /// Who waited with this ticket does so no longer.
    fn leave(&self, queue: &Name, ticket: u64);
}

/// A place in the line of a queue. Dropping it gives the place up, and puts back what had arrived.
pub(super) struct QueueWait<S: WaitingLines> {
    store: Arc<S>,
    queue: Name,
    ticket: u64,
    receiver: oneshot::Receiver<Result<TakenEvent, StoreError>>,
}

impl<S: WaitingLines> QueueWait<S> {
    pub(super) fn new(
        store: Arc<S>,
        queue: Name,
        ticket: u64,
        receiver: oneshot::Receiver<Result<TakenEvent, StoreError>>,
    ) -> Self {
        Self { store, queue, ticket, receiver }
    }

    fn lease(&self, taken: TakenEvent) -> Lease {
        let TakenEvent { event, sequence, lease, policy } = taken;
        let id = LeaseId { queue: self.queue.clone(), sequence, lease };
        Lease::new(event, id, policy, self.store.clone())
    }
}

impl<S: WaitingLines> Future for QueueWait<S> {
    type Output = Result<Lease, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.receiver).poll(cx)) {
            Ok(taken) => Poll::Ready(taken.map(|taken| self.lease(taken))),
            // The sender is dropped by `leave`, which is called when this future is dropped, or with a journal
            // that has stopped.
            Err(_) => Poll::Ready(Err(StoreError::Unavailable("the store has stopped".into()))),
        }
    }
}

impl<S: WaitingLines> Drop for QueueWait<S> {
    fn drop(&mut self) {
        self.store.leave(&self.queue, self.ticket);
        // Nobody can send from here on, but a journal, which then sees that nobody listens.
        self.receiver.close();
        if let Ok(Ok(taken)) = self.receiver.try_recv() {
            drop(self.lease(taken));
        }
    }
}

/// Looks now, and each time that all who wait there are woken, until there is something.
pub(super) async fn woken<T>(wake: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut woken = pin!(wake.notified());
        // What comes between the look and the wait wakes too.
        woken.as_mut().enable();
        if let Some(found) = look() {
            return found;
        }
        woken.await;
    }
}
