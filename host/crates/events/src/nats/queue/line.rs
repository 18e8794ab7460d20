//! The line of this host at a queue: who waits there, and what the task that fetches for them is told.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use linger_base::Name;

use crate::nats::NatsContext;
use crate::nats::queue::fetch;
use crate::wait::{LeaseSender, TakenEvent};
use crate::{LimitKind, StoreError};

impl NatsContext {
    pub(crate) fn take_now(
        self: &Arc<Self>,
        name: &Name,
    ) -> Result<(u64, oneshot::Receiver<Result<TakenEvent, StoreError>>), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.queues.lock();
        let ticket = state.number();
        let queue = state.queue(name, (&self.limits.queues, &|name| self.ack_wait(name)))?;
        // Who has left is in the way only until it is dropped.
        if queue.waiters.len() >= self.limits.queues.max_waiters {
            return Err(StoreError::OverLimit(LimitKind::Waiters));
        }
        queue.waiters.insert(ticket, sender);
        if std::mem::replace(&mut queue.fetching, true) {
            if queue.waiters.len() == 1 {
                queue.line.notify_one();
            }
        } else {
            self.fetchers.spawn_on(fetch::fetch(self.clone(), name.clone()), &self.runtime);
        }
        Ok((ticket, receiver))
    }

    /// Who waited does so no longer.
    pub(crate) fn leave(&self, name: &Name, ticket: u64) {
        let mut state = self.queues.lock();
        if let Some(queue) = state.queues.get_mut(name) {
            if queue.waiters.remove(&ticket).is_some() {
                queue.line.notify_one();
            }
            state.forget_if_unused(name);
        }
    }

    /// Tells of who comes to an empty line, and who leaves one.
    pub(crate) fn line(&self, name: &Name) -> Option<Arc<Notify>> {
        self.queues.lock().queues.get(name).map(|queue| queue.line.clone())
    }

    /// NATS may have lost the request for events of a queue.
    pub(crate) fn lost(&self, name: &Name) {
        self.suspect(name);
        if let Some(queue) = self.queues.lock().queues.get_mut(name) {
            queue.lost = true;
            queue.line.notify_one();
        }
    }

    /// Whether NATS may have lost the request since that was asked last.
    pub(crate) fn was_lost(&self, name: &Name) -> bool {
        self.queues.lock().queues.get_mut(name).is_some_and(|queue| std::mem::take(&mut queue.lost))
    }

    /// How many wait at a queue.
    pub(crate) fn wanted(&self, name: &Name) -> usize {
        self.queues.lock().queues.get(name).map_or(0, |queue| queue.waiters.len())
    }

    /// Ends the fetching for a queue, unless somebody waits there.
    pub(crate) fn has_done_fetching(&self, name: &Name) -> bool {
        let mut state = self.queues.lock();
        let Some(queue) = state.queues.get_mut(name) else { return true };
        if !queue.waiters.is_empty() {
            return false;
        }
        queue.fetching = false;
        state.forget_if_unused(name);
        true
    }

    /// Tells all who wait at a queue that it cannot be had.
    pub(crate) fn give_up(&self, name: &Name, error: &StoreError) {
        let waiters: Vec<LeaseSender> = {
            let mut state = self.queues.lock();
            let queue = state.queues.get_mut(name);
            queue.map(|queue| std::mem::take(&mut queue.waiters).into_values().collect()).unwrap_or_default()
        };
        for waiter in waiters {
            // It may have left.
            let _ = waiter.send(Err(error.clone()));
        }
    }
}
