//! Waiting for an event of a queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::LocalStore;
use super::queue::Taken;
use crate::events::journal::Journal;
use crate::events::{Lease, LeaseId, Name, StoreError};

/// A place in the line of a queue. Dropping it gives the place up, and puts back what had arrived.
pub(super) struct Wait<J: Journal> {
    store: Arc<LocalStore<J>>,
    queue: Name,
    ticket: u64,
    receiver: oneshot::Receiver<Result<Taken, StoreError>>,
}

impl<J: Journal> Wait<J> {
    pub(super) fn new(
        store: Arc<LocalStore<J>>,
        queue: Name,
        ticket: u64,
        receiver: oneshot::Receiver<Result<Taken, StoreError>>,
    ) -> Self {
        Self { store, queue, ticket, receiver }
    }

    fn lease(&self, taken: Taken) -> Lease {
        let Taken { event, sequence, lease, policy } = taken;
        let id = LeaseId { queue: self.queue.clone(), sequence, lease };
        Lease::new(event, id, policy, self.store.clone())
    }
}

impl<J: Journal> Future for Wait<J> {
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
