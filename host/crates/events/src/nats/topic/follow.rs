//! Following topics: a host that has readers of one has all that it keeps.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::message::Message;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::sleep;

use linger_base::Name;

use crate::StoreError;
use crate::nats::client::{NatsError, pause};
use crate::nats::message::{EventMetadata, stored_size};
use crate::nats::names::StreamKind;
use crate::nats::topic::mirror::TopicMirror;
use crate::nats::{NatsContext, stream};

/// How long a topic that nobody reads any more is followed: those who poll come again soon.
const LINGER: Duration = Duration::from_mins(1);

/// How often in succession NATS refuses a topic before its readers are told.
const REFUSALS: u32 = 3;

impl NatsContext {
    /// Has what a topic keeps here, for as long as somebody reads it.
    pub(crate) async fn follow(self: Arc<Self>, name: Name) {
        let (mut tries, mut refusals, mut told) = (0, 0, false);
        loop {
            let connections = self.link.connections();
            let started = self.start_to_follow(&name).await;
            refusals = if matches!(started, Err(NatsError::Refused(_))) { refusals + 1 } else { 0 };
            match started {
                Ok(messages) => {
                    (tries, told) = (0, false);
                    if self.follow_on(&name, messages, connections).await {
                        return;
                    }
                }
                Err(NatsError::Lasting(error)) => return self.refuse(&name, error),
                Err(NatsError::Refused(error)) if refusals >= REFUSALS => {
                    return self.refuse(&name, NatsError::refused(&error));
                }
                Err(trouble) => match trouble.warning(tries) {
                    Some(warning) if !std::mem::replace(&mut told, true) => {
                        tracing::warn!("topic {name}: cannot subscribe: {warning}");
                    }
                    _ => tracing::debug!("topic {name}: cannot subscribe: {trouble:?}"),
                },
            }
            sleep(pause(tries)).await;
            tries += 1;
            if self.has_done_following(&name) {
                return;
            }
        }
    }

    async fn start_to_follow(&self, name: &Name) -> Result<Ordered, NatsError> {
        let passing = |error: &dyn std::fmt::Display| NatsError::Passing(error.to_string());
        let info = self.make_topic(name).await?;
        let (epoch, first) = (stream::epoch(&info), info.state.first_sequence.saturating_sub(1));
        self.streams.doubt_other(StreamKind::Topic, name, epoch);
        let first = if info.state.messages == 0 { info.state.last_sequence } else { first };
        let start = {
            let mut state = self.topics.lock();
            let topic = state.any(name, &self.limits.topics);
            (topic.epoch, topic.last) = (epoch, topic.last.max(info.state.last_sequence));
            if topic.mirror.as_ref().is_none_or(|mirror| mirror.epoch() != epoch) {
                topic.last = info.state.last_sequence;
                topic.mirror = Some(TopicMirror::new(epoch, first));
            }
            topic.wake.notify_waiters();
            topic.mirror.as_ref().map_or(first, TopicMirror::next)
        };
        let config = OrderedConfig {
            deliver_subject: self.link.client.new_inbox(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start + 1 },
            ..OrderedConfig::default()
        };
        let consumer = self.link.js.create_consumer_on_stream(config, &info.config.name).await;
        consumer.map_err(|error| passing(&error))?.messages().await.map_err(|error| passing(&error))
    }

    /// Whether it is followed no longer, because nobody reads it; otherwise it is to be started again.
    async fn follow_on(
        &self,
        name: &Name,
        mut messages: Ordered,
        mut connections: watch::Receiver<u64>,
    ) -> bool {
        loop {
            tokio::select! {
                biased;
                // NATS may give a new consumer to a server that was lost just now, and never answer. The client asks for the
                // same one again then, for as long as that server is away: so another one is asked for here.
                _ = connections.changed() => {
                    sleep(pause(6)).await;
                    return false;
                }
                message = messages.next() => match message {
                    Some(Ok(message)) => self.mirror(name, &message),
                    Some(Err(error)) => {
                        tracing::debug!("topic {name}: {error}");
                        return false;
                    }
                    None => return false,
                },
                () = sleep(LINGER) => if self.has_done_following(name) {
                    return true;
                },
            }
        }
    }

    fn mirror(&self, name: &Name, message: &Message) {
        let Ok(info) = message.info() else { return };
        let time = u64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let size = stored_size(&message.subject, message.headers.as_ref(), message.payload.len());
        let particulars = EventMetadata::read(message.headers.as_ref());
        let mut state = self.topics.lock();
        let Some(topic) = state.topics.get_mut(name) else { return };
        let Some(mirror) = &mut topic.mirror else { return };
        mirror.add((info.stream_sequence, time, size), message.payload.clone(), particulars.content_type);
        mirror.trim(&topic.retention, self.clock.now());
        topic.last = topic.last.max(info.stream_sequence);
        topic.wake.notify_waiters();
    }

    /// Ends the following, unless somebody reads or did a short time ago.
    fn has_done_following(&self, name: &Name) -> bool {
        let mut state = self.topics.lock();
        let Some(topic) = state.topics.get_mut(name) else { return true };
        if topic.readers > 0 || std::mem::take(&mut topic.used) {
            return false;
        }
        topic.mirror = None;
        topic.followed = false;
        state.forget_if_unused(name);
        true
    }

    /// Tells all readers of a topic that it cannot be had.
    fn refuse(&self, name: &Name, error: StoreError) {
        let mut state = self.topics.lock();
        let Some(topic) = state.topics.get_mut(name) else { return };
        topic.mirror = None;
        topic.followed = false;
        topic.refused = Some(error);
        topic.wake.notify_waiters();
        state.forget_if_unused(name);
    }
}
