//! Waiting for an event of a queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::NatsStore;
use super::queue::Taken;
use crate::events::{Lease, LeaseId, Name, StoreError};

/// A place in this host's line for a queue. Dropping it gives the place up, and puts back what had arrived.
pub(super) struct Wait {
    store: Arc<NatsStore>,
    queue: Name,
    ticket: u64,
    receiver: oneshot::Receiver<Result<Taken, StoreError>>,
}

impl Wait {
    pub(super) fn new(
        store: Arc<NatsStore>,
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

impl Future for Wait {
    type Output = Result<Lease, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.receiver).poll(cx)) {
            Ok(taken) => Poll::Ready(taken.map(|taken| self.lease(taken))),
            // The sender is dropped by `leave` only, which is called when this future is dropped.
            Err(_) => Poll::Ready(Err(StoreError::Unavailable("the store has stopped".into()))),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.store.shared.leave(&self.queue, self.ticket);
        // Nobody can send from here on.
        self.receiver.close();
        if let Ok(Ok(taken)) = self.receiver.try_recv() {
            drop(self.lease(taken));
        }
    }
}
