//! Settling a leased event: it is acknowledged, requeued, or moved to the dead letters.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::nats::message::{DeadLetterOrigin, EventMetadata};
use crate::nats::names::StreamKind;
use crate::nats::queue::answer;
use crate::nats::queue::arrival::UnclaimedEvent;
use crate::nats::queue::state::{HeldEvent, millis};
use crate::nats::{NatsContext, stream};
use crate::{Event, LeaseId, Settlement, StoreError};

impl NatsContext {
    pub(crate) fn settle_now(
        self: &Arc<Self>,
        lease: &LeaseId,
        settlement: Settlement,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + Send + use<>, StoreError> {
        let mut state = self.queues.lock();
        let mut held = state.end_lease(lease.lease).ok_or(StoreError::Settled)?;
        if self.is_lost(&held) {
            state.fates.overdue += 1;
            return Err(StoreError::Settled);
        }
        if matches!(settlement, Settlement::Requeue { .. }) {
            state.fates.returned += 1;
        }
        drop(state);
        let shared = self.clone();
        Ok(self.work(async move {
            match settlement {
                Settlement::Ack => shared.ack(held).await,
                Settlement::Release => {
                    held.note.untaken += 1;
                    shared.requeue(held).await
                }
                Settlement::Requeue { maybe_delivered } => {
                    held.note.maybe_delivered |= maybe_delivered;
                    held.event.maybe_delivered |= maybe_delivered;
                    match shared.bury(held).await {
                        Ok(settled) => settled,
                        Err(held) => shared.requeue(held).await,
                    }
                }
            }
        }))
    }

    /// Whether NATS may have handed the event to another host meanwhile.
    fn is_lost(&self, held: &HeldEvent) -> bool {
        self.clock.now() >= held.confirmed + millis(self.ack_wait(&held.queue))
    }

    /// Until when NATS surely has not handed the event to another host.
    fn surely_held(&self, held: &HeldEvent) -> Instant {
        let left = (held.confirmed + millis(self.ack_wait(&held.queue))).saturating_sub(self.clock.now());
        Instant::now() + Duration::from_millis(left)
    }

    async fn acknowledge(&self, held: &HeldEvent, answer: Bytes) -> Result<(), StoreError> {
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
    pub(crate) async fn remove(&self, held: &HeldEvent) -> Result<(), StoreError> {
        self.acknowledge(held, answer::DONE).await?;
        let mut state = self.queues.lock();
        state.notes.forget(&held.key());
        state.record_removal(&held.queue, held.size);
        Ok(())
    }

    async fn ack(&self, held: HeldEvent) -> Result<(), StoreError> {
        self.remove(&held).await?;
        self.queues.lock().fates.committed += 1;
        Ok(())
    }

    pub(crate) async fn expire(self: Arc<Self>, arrival: UnclaimedEvent) -> Result<(), StoreError> {
        self.remove(&arrival.held).await?;
        self.queues.lock().fates.expired += 1;
        Ok(())
    }

    /// Returns an event, if it is of use still.
    pub(crate) async fn requeue(self: Arc<Self>, held: HeldEvent) -> Result<(), StoreError> {
        let arrival = UnclaimedEvent { held, due: None };
        if arrival.is_over(self.clock.now()) {
            return self.expire(arrival).await;
        }
        self.requeue_with(arrival.held, answer::BACK).await
    }

    /// Tells all hosts what is to be known of an event, and gives it back.
    pub(crate) async fn requeue_with(
        self: Arc<Self>,
        held: HeldEvent,
        answer: Bytes,
    ) -> Result<(), StoreError> {
        let key = held.key();
        let told = self.link.client.publish(self.link.names.notes(), held.note.tell(&key)).await;
        if let Err(error) = told {
            tracing::debug!("cannot notify the other hosts of {}: {error}", held.id());
        }
        self.queues.lock().notes.keep(key, held.note);
        // NATS 2.9 must not find requests only of hosts that have gone when an event returns (see `pull`): it looks when it
        // is asked how the consumer is. If it does not respond, neither does it below.
        let consumer = self.link.names.stream(StreamKind::Queue, &held.queue);
        let _ = self.link.ask::<IgnoredAny>(&format!("CONSUMER.INFO.{consumer}.{}", stream::CONSUMER)).await;
        self.acknowledge(&held, answer).await
    }

    /// Moves an event to the dead letters, if it was handed out too often and there is room. Otherwise gives it back.
    pub(crate) async fn bury(self: &Arc<Self>, held: HeldEvent) -> Result<Result<(), StoreError>, HeldEvent> {
        let policy = self.limits.queues.policy(&held.queue);
        let Some((attempts, dead)) = policy.dead.filter(|(attempts, _)| held.event.attempt >= *attempts)
        else {
            return Err(held);
        };
        let Event { id, data, content_type, attempt, maybe_delivered } = held.event.clone();
        let origin = Some(DeadLetterOrigin { id, attempts: attempt, maybe_delivered });
        let particulars = EventMetadata { content_type, origin, ..EventMetadata::default() };
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
    pub(crate) async fn bury_or_hand_out(self: Arc<Self>, mut held: HeldEvent) -> Result<(), StoreError> {
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
