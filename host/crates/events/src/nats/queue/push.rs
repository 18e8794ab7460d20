//! Queues: each is a stream that keeps an event until it is acknowledged, and a consumer that all hosts share. Here: what is
//! pushed there.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use linger_base::Name;

use crate::nats::client::NatsError;
use crate::nats::message::{EventMetadata, stored_size};
use crate::nats::names::StreamKind;
use crate::nats::queue::pull;
use crate::nats::queue::state::DueAction;
use crate::nats::{NatsContext, stream};
use crate::{EventId, EventTotals, NewEvent, Schedule, StoreError};

/// Events that are purged at a time.
const PURGED_AT_A_TIME: usize = 256;

impl NatsContext {
    /// Makes sure of a queue's stream and consumer, and gives its epoch.
    pub(crate) async fn ensure_queue(&self, name: &Name) -> Result<u32, NatsError> {
        let make = async || {
            let config = stream::queue(&self.link, name, &self.limits.queues);
            let info = stream::make(&self.link, &config, self.clock.now()).await?;
            stream::make_consumer(&self.link, &config.name, self.ack_wait(name)).await?;
            Ok(stream::epoch(&info))
        };
        self.streams.ensure(StreamKind::Queue, name, make).await
    }

    pub(crate) fn ack_wait(&self, name: &Name) -> Duration {
        self.link.config.queue(name).1
    }

    pub(crate) fn push_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
        schedule: Schedule,
    ) -> Result<impl Future<Output = Result<EventId, StoreError>> + Send + use<>, StoreError> {
        crate::nats::check_size(&event.data, self.limits.queues.max_event_size)?;
        let particulars = EventMetadata {
            due: schedule.delay.map(|delay| self.clock.after(delay)),
            expires: schedule.time_to_live.map(|time| self.clock.after(time)),
            ..EventMetadata::of(&event)
        };
        self.send(name, event.data, &particulars, &self.link.message_id(), |fates| &mut fates.pushed)
    }

    /// Sends an event to a queue's stream. The work has begun when this returns.
    pub(crate) fn send(
        self: &Arc<Self>,
        name: &Name,
        data: Bytes,
        particulars: &EventMetadata,
        id: &str,
        fate: fn(&mut EventTotals) -> &mut u64,
    ) -> Result<impl Future<Output = Result<EventId, StoreError>> + Send + use<>, StoreError> {
        let subject = self.link.names.subject(StreamKind::Queue, name);
        let headers = particulars.headers(id);
        let size = stored_size(&subject, Some(&headers), data.len());
        self.queues.lock().arrives(name, size, (&self.limits.queues, &|name| self.ack_wait(name)))?;
        let (shared, name, expires) = (self.clone(), name.clone(), particulars.expires);
        let until = Instant::now() + self.link.config.timeout;
        Ok(self.work(async move {
            let sent = shared.store(StreamKind::Queue, &name, headers, data, until).await;
            let mut state = shared.queues.lock();
            state.record_arrival(&name, size, sent.is_ok());
            let (epoch, sequence) = sent?;
            *fate(&mut state.fates) += 1;
            if let Some(expires) = expires {
                let key = (expires, state.number());
                state.timers.insert(key, DueAction::Expiry { queue: name, sequence, size });
                shared.alarm.notify_one();
            }
            Ok(EventId { epoch, number: sequence })
        }))
    }

    /// Removes what nobody holds: all that NATS would hand out.
    pub(crate) async fn purge_now(self: Arc<Self>, queue: Name) -> Result<usize, StoreError> {
        let stream = self.link.names.stream(StreamKind::Queue, &queue);
        let until = || Instant::now() + self.link.config.timeout;
        if self.link.persist(until(), || stream::info(&self.link, &stream)).await?.is_none() {
            return Ok(0);
        }
        let epoch = self.link.persist(until(), || self.ensure_queue(&queue)).await?;
        let mut purged = 0;
        loop {
            let messages = pull::at_once(&self.link, &queue, PURGED_AT_A_TIME).await?;
            if messages.is_empty() {
                return Ok(purged);
            }
            let read = |message| self.read(&queue, epoch, self.numbered(&queue, message)?);
            let arrivals: Vec<_> = messages.into_iter().filter_map(read).collect();
            purged += arrivals.len();
            futures::future::try_join_all(arrivals.iter().map(|arrival| self.remove(&arrival.held))).await?;
            self.queues.lock().fates.purged += arrivals.len() as u64;
        }
    }
}
