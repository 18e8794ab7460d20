//! Timed work: leases that are renewed or expire, and events whose time to live is over.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use linger_base::Name;

use crate::nats::NatsContext;
use crate::nats::names::StreamKind;
use crate::nats::queue::answer;
use crate::nats::queue::state::{DueAction, HeldEvent, millis};
use crate::{LeaseId, StoreError};

impl NatsContext {
    pub(crate) fn renew_now(&self, lease: &LeaseId, time: Duration) -> Result<(), StoreError> {
        let mut state = self.queues.lock();
        let held = state.leases.get_mut(&lease.lease).ok_or(StoreError::Settled)?;
        held.ends = self.clock.after(time);
        let next = held.ends.min(held.timer.map_or(held.ends, |(time, _)| time));
        state.set_timer(lease.lease, next);
        self.alarm.notify_one();
        Ok(())
    }

    /// Does what is due, and tells what is next.
    pub(crate) fn act(self: &Arc<Self>) -> Option<u64> {
        let now = self.clock.now();
        loop {
            let mut state = self.queues.lock();
            let first = state.timers.first_entry()?;
            if first.key().0 > now {
                return Some(first.key().0);
            }
            let due = first.remove();
            drop(state);
            match due {
                DueAction::Lease(lease) => self.tend(lease, now),
                DueAction::Expiry { queue, sequence, size } => {
                    drop(self.work(self.clone().delete(queue, sequence, size)));
                }
            }
        }
    }

    /// Ends a lease that has run out, or tells NATS that the event is held.
    fn tend(self: &Arc<Self>, lease: u64, now: u64) {
        let mut state = self.queues.lock();
        let Some(held) = state.leases.get(&lease) else { return };
        let (name, id, reply, ends, confirmed) =
            (held.queue.clone(), held.id(), held.reply.clone(), held.ends, held.confirmed);
        let ack_wait = millis(self.ack_wait(&name));
        if now >= confirmed + ack_wait {
            tracing::warn!(
                "queue {name}: the lease on {id} is lost: it could not be renewed in NATS in time"
            );
            state.end_lease(lease);
            state.fates.overdue += 1;
            return;
        }
        if now >= ends {
            let Some(held) = state.end_lease(lease) else { return };
            state.fates.overdue += 1;
            state.fates.returned += 1;
            drop(state);
            tracing::warn!("queue {name}: the lease on {id} has expired; the event is requeued");
            return drop(self.work(self.clone().run_out(held)));
        }
        state.set_timer(lease, ends.min(now + (ack_wait / 3).max(1)).min(confirmed + ack_wait));
        drop(state);
        let shared = self.clone();
        drop(self.work(async move {
            let told = shared.link.acknowledge(&reply, answer::HELD).await;
            if told.is_ok()
                && let Some(held) = shared.queues.lock().leases.get_mut(&lease)
            {
                held.confirmed = held.confirmed.max(now);
            }
            Ok(())
        }));
    }

    async fn run_out(self: Arc<Self>, mut held: HeldEvent) -> Result<(), StoreError> {
        held.note.maybe_delivered = true;
        held.event.maybe_delivered = true;
        match self.bury(held).await {
            Ok(settled) => settled,
            Err(held) => self.requeue(held).await,
        }
    }

    /// Removes an event that is of no use any more. One that is held here ends with its lease.
    async fn delete(self: Arc<Self>, queue: Name, sequence: u64, size: u64) -> Result<(), StoreError> {
        let is_held =
            self.queues.lock().leases.values().any(|held| held.queue == queue && held.sequence == sequence);
        if is_held {
            return Ok(());
        }
        let subject = format!("STREAM.MSG.DELETE.{}", self.link.names.stream(StreamKind::Queue, &queue));
        let request = json!({ "seq": sequence, "no_erase": true });
        let deleted = self.link.api::<serde_json::Value>(&subject, &request).await;
        if deleted.is_ok() {
            let mut state = self.queues.lock();
            state.fates.expired += 1;
            state.record_removal(&queue, size);
        }
        // Otherwise it has gone before, or it goes when it is handed out.
        Ok(())
    }
}
