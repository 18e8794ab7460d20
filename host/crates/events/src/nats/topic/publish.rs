//! Topics: each is a stream that keeps its events for a time. Here: what is published there, and where they end.

use std::future::Future;
use std::sync::Arc;

use async_nats::jetstream::stream::Info;
use tokio::time::Instant;

use linger_base::Name;

use crate::nats::client::NatsError;
use crate::nats::message::{EventMetadata, stored_size};
use crate::nats::names::StreamKind;
use crate::nats::topic::state::cursor;
use crate::nats::{NatsContext, check_size, stream};
use crate::{Cursor, NewEvent, StoreError};

impl NatsContext {
    /// Makes sure of a topic's stream, and gives its epoch.
    pub(crate) async fn ensure_topic(&self, name: &Name) -> Result<u32, NatsError> {
        let make = async || Ok(stream::epoch(&self.make_topic(name).await?));
        self.streams.ensure(StreamKind::Topic, name, make).await
    }

    /// Makes a topic's stream, or finds it.
    pub(crate) async fn make_topic(&self, name: &Name) -> Result<Info, NatsError> {
        let config = stream::topic(&self.link, name, &self.limits.topics.retention(name));
        stream::make(&self.link, &config, self.clock.now()).await
    }

    pub(crate) fn publish_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
    ) -> Result<impl Future<Output = Result<Cursor, StoreError>> + Send + use<>, StoreError> {
        check_size(&event.data, self.limits.topics.max_event_size)?;
        let subject = self.link.names.subject(StreamKind::Topic, name);
        let headers = EventMetadata::of(&event).headers(&self.link.message_id());
        let size = stored_size(&subject, Some(&headers), event.data.len());
        self.topics.lock().admit(name, size, &self.limits.topics)?;
        let (shared, name, data) = (self.clone(), name.clone(), event.data);
        let until = Instant::now() + self.link.config.timeout;
        Ok(self.work(async move {
            let sent = shared.store(StreamKind::Topic, &name, headers, data, until).await;
            let mut state = shared.topics.lock();
            match sent {
                Ok((epoch, last)) => {
                    state.record_publish(&name, size, (epoch, last), &shared.limits.topics);
                    Ok(cursor(epoch, last))
                }
                Err(error) => {
                    state.forget_if_unused(&name);
                    Err(error)
                }
            }
        }))
    }

    pub(crate) async fn end_of(self: Arc<Self>, name: Name) -> Result<Cursor, StoreError> {
        let shared = self.clone();
        let until = Instant::now() + self.link.config.timeout;
        self.work(async move { shared.find_end(&name, until).await }).await
    }

    pub(crate) async fn find_end(&self, name: &Name, until: Instant) -> Result<Cursor, StoreError> {
        let stream = self.link.names.stream(StreamKind::Topic, name);
        let info = self.link.persist(until, || stream::info(&self.link, &stream)).await?;
        Ok(info.map_or(Cursor::START, |info| cursor(stream::epoch(&info), info.state.last_sequence)))
    }
}
