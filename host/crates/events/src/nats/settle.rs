//! Settling a leased event: it is acknowledged, requeued, or moved to the dead letters.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::arrival::Arrival;
use super::message::{Origin, Particulars};
use super::names::Kind;
use super::queue::{Held, millis};
use super::{Shared, answer, lock, stream};
use crate::{Event, LeaseId, Settlement, StoreError};

impl Shared {
    pub(super) fn settle_now(
        self: &Arc<Self>,
        lease: &LeaseId,
        settlement: Settlement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<>, StoreError> {
        let mut state = lock(&self.queues);
        let mut held = state.end_lease(lease.lease).ok_or(StoreError::Settled)?;
        if self.is_lost(&held) {
            state.fates.overdue += 1;
            return Err(StoreError::Settled);
        }
        if matches!(settlement, Settlement::PutBack { .. }) {
            state.fates.returned += 1;
        }
        drop(state);
        let shared = self.clone();
        Ok(self.work(async move {
            match settlement {
                Settlement::Commit => shared.commit(held).await,
                Settlement::Untaken => {
                    held.note.untaken += 1;
                    shared.put_back(held).await
                }
                Settlement::PutBack { maybe_delivered } => {
                    held.note.maybe_delivered |= maybe_delivered;
                    held.event.maybe_delivered |= maybe_delivered;
                    match shared.bury(held).await {
                        Ok(settled) => settled,
                        Err(held) => shared.put_back(held).await,
                    }
                }
            }
        }))
    }

    /// Whether NATS may have handed the event to another host meanwhile.
    fn is_lost(&self, held: &Held) -> bool {
        self.clock.now() >= held.confirmed + millis(self.ack_wait(&held.queue))
    }

    /// Until when NATS surely has not handed the event to another host.
    fn surely_held(&self, held: &Held) -> Instant {
        let left = (held.confirmed + millis(self.ack_wait(&held.queue))).saturating_sub(self.clock.now());
        Instant::now() + Duration::from_millis(left)
    }

    async fn acknowledge(&self, held: &Held, answer: Bytes) -> Result<(), StoreError> {
        let acknowledged = self
            .link
            .persist(self.surely_held(held), || self.link.acknowledge(&held.reply, answer.clone()))
            .await;
        if let Err(error) = &acknowledged {
            tracing::warn!("queue {}: {} will be redelivered, flagged: {error}", held.queue, held.id());
        }
        acknowledged
    }

    /// The event is gone for good.
    pub(super) async fn remove(&self, held: &Held) -> Result<(), StoreError> {
        self.acknowledge(held, answer::DONE).await?;
        let mut state = lock(&self.queues);
        state.notes.forget(&held.key());
        state.gone(&held.queue, held.size);
        Ok(())
    }

    async fn commit(&self, held: Held) -> Result<(), StoreError> {
        self.remove(&held).await?;
        lock(&self.queues).fates.committed += 1;
        Ok(())
    }

    pub(super) async fn expire(self: Arc<Self>, arrival: Arrival) -> Result<(), StoreError> {
        self.remove(&arrival.held).await?;
        lock(&self.queues).fates.expired += 1;
        Ok(())
    }

    /// Returns an event, if it is of use still.
    pub(super) async fn put_back(self: Arc<Self>, held: Held) -> Result<(), StoreError> {
        let arrival = Arrival { held, due: None };
        if arrival.is_over(self.clock.now()) {
            return self.expire(arrival).await;
        }
        self.return_with(arrival.held, answer::BACK).await
    }

    /// Tells all hosts what is to be known of an event, and gives it back.
    pub(super) async fn return_with(self: Arc<Self>, held: Held, answer: Bytes) -> Result<(), StoreError> {
        let key = held.key();
        let told = self.link.client.publish(self.link.names.notes(), held.note.tell(&key)).await;
        if let Err(error) = told {
            tracing::debug!("cannot notify the other hosts of {}: {error}", held.id());
        }
        lock(&self.queues).notes.keep(key, held.note);
        // NATS 2.9 must not find requests only of hosts that have gone when an event returns (see `pull`): it looks when it
        // is asked how the consumer is. If it does not respond, neither does it below.
        let consumer = self.link.names.stream(Kind::Queue, &held.queue);
        let _ = self.link.ask::<IgnoredAny>(&format!("CONSUMER.INFO.{consumer}.{}", stream::CONSUMER)).await;
        self.acknowledge(&held, answer).await
    }

    /// Moves an event to the dead letters, if it was handed out too often and there is room. Otherwise gives it back.
    pub(super) async fn bury(self: &Arc<Self>, held: Held) -> Result<Result<(), StoreError>, Held> {
        let policy = self.limits.queues.policy(&held.queue);
        let Some((attempts, dead)) = policy.dead.filter(|(attempts, _)| held.event.attempt >= *attempts)
        else {
            return Err(held);
        };
        let Event { id, data, content_type, attempt, maybe_delivered } = held.event.clone();
        let origin = Some(Origin { id, attempts: attempt, maybe_delivered });
        let particulars = Particulars { content_type, origin, ..Particulars::default() };
        // It may have been moved before, and not been removed then.
        let message = format!("{}-{}-{}", held.queue, held.epoch, held.sequence);
        let moved = match self.send(&dead, data, &particulars, &message, |fates| &mut fates.dead) {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        if let Err(error) = moved {
            tracing::warn!("queue {}: {id} stays, because {dead} does not accept it: {error}", held.queue);
            return Err(held);
        }
        tracing::warn!(
            "queue {}: {id} is moved to the dead letters in {dead} after {attempts} attempts",
            held.queue
        );
        Ok(self.remove(&held).await)
    }

    /// For an event that returned from a host that could not bury it.
    pub(super) async fn bury_or_hand_out(self: Arc<Self>, mut held: Held) -> Result<(), StoreError> {
        held.event.attempt -= 1;
        match self.bury(held).await {
            Ok(removed) => removed,
            Err(mut held) => {
                held.event.attempt += 1;
                self.hand_out(held);
                Ok(())
            }
        }
    }
}
