//! Topics: each is a stream that keeps its events for a time. A host that has readers of one has all that it keeps.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::message::Message;
use futures::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::link::{Trouble, pause};
use super::message::{Particulars, stored_size};
use super::mirror::{Look, Mirror};
use super::names::Kind;
use super::stream::SURE;
use super::{Shared, check_size, lock, stream};
use crate::config::{Retention, Topics};
use crate::events::wait::woken;
use crate::events::{Batch, Cursor, Limit, Name, NewEvent, StoreError, TopicUsage, Usage};

/// The most events that one read gives.
const MAX_BATCH: usize = 1000;

/// How long a topic that nobody reads any more is followed: those who poll come again soon.
const LINGER: Duration = Duration::from_mins(1);

/// How often in succession NATS refuses a topic before its readers are told.
const REFUSALS: u32 = 3;

/// Longer than anybody reads.
const FOREVER: Duration = Duration::from_hours(24 * 365);

#[derive(Default)]
pub(super) struct State {
    topics: HashMap<Name, Topic>,
    pub(super) published: u64,
    number: u64,
}

struct Topic {
    retention: Retention,
    readers: usize,
    /// Events in NATS, and their bytes: what was found last, and what this host did since.
    messages: u64,
    bytes: u64,
    /// The stream's epoch and last sequence, as far as they are known.
    epoch: u32,
    last: u64,
    /// When the stream was made or found.
    found: Instant,
    /// When this host last did something, by the count of all such times.
    changed: u64,
    /// What the stream keeps, while it is followed.
    mirror: Option<Mirror>,
    /// Whether there is a task that follows it, and whether it was used since that looked.
    followed: bool,
    used: bool,
    /// Why it cannot be followed.
    refused: Option<StoreError>,
    wake: Arc<Notify>,
}

impl Topic {
    fn new(retention: Retention) -> Self {
        Self {
            retention,
            readers: 0,
            messages: 0,
            bytes: 0,
            epoch: 0,
            last: 0,
            found: Instant::now(),
            changed: 0,
            mirror: None,
            followed: false,
            used: false,
            refused: None,
            wake: Arc::default(),
        }
    }

    /// Whether it counts: with an event or a reader.
    fn is_used(&self) -> bool {
        self.messages > 0 || self.readers > 0
    }

    /// Its events and bytes with one more event.
    fn with(&self, size: u64) -> (u64, u64) {
        let (messages, bytes) = (self.messages + 1, self.bytes + size);
        let kept = messages.min(self.retention.events as u64);
        // Those that go are as large as others.
        (kept, (bytes * kept / messages).min(self.retention.bytes.max(size)))
    }

    /// What comes after a cursor, once all is here of which this host knows.
    fn look(&self, after: Option<Cursor>, limit: usize, is_certain: bool) -> Option<Look> {
        self.mirror.as_ref().filter(|mirror| mirror.next() >= self.last)?.look(after, limit, is_certain)
    }
}

impl State {
    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn topic(&mut self, name: &Name, limits: &Topics) -> Result<&mut Topic, StoreError> {
        let is_used = self.topics.get(name).is_some_and(Topic::is_used);
        if !is_used
            && self.topics.len() >= limits.max_topics
            && self.topics.values().filter(|topic| topic.is_used()).count() >= limits.max_topics
        {
            return Err(StoreError::OverLimit(Limit::Names));
        }
        Ok(self.any(name, limits))
    }

    fn any(&mut self, name: &Name, limits: &Topics) -> &mut Topic {
        self.topics.entry(name.clone()).or_insert_with(|| Topic::new(limits.retention(name)))
    }

    /// Its stream may be another one now.
    pub(super) fn doubt(&mut self, name: &Name) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.epoch = 0;
        }
    }

    /// The same after silence. That says little, and all who publish find it at the same time.
    fn doubt_if_old(&mut self, name: &Name) {
        if self.topics.get(name).is_some_and(|topic| topic.found.elapsed() >= SURE) {
            self.doubt(name);
        }
    }

    fn forget_if_unused(&mut self, name: &Name) {
        if self.topics.get(name).is_some_and(|topic| !topic.is_used() && !topic.followed) {
            self.topics.remove(name);
        }
    }

    /// Whether there is room for an event. What goes makes room.
    fn admit(&mut self, name: &Name, size: u64, limits: &Topics) -> Result<(), StoreError> {
        let all: u64 = self.topics.values().map(|topic| topic.bytes).sum();
        let topic = self.topic(name, limits)?;
        let (_, bytes) = topic.with(size);
        if all - topic.bytes + bytes > limits.max_total_bytes.as_u64() {
            self.forget_if_unused(name);
            return Err(StoreError::OverLimit(Limit::TotalBytes));
        }
        Ok(())
    }

    fn published(&mut self, name: &Name, size: u64, (epoch, last): (u32, u64), limits: &Topics) {
        self.published += 1;
        let changed = self.number();
        let topic = self.any(name, limits);
        topic.changed = changed;
        topic.epoch = epoch;
        topic.last = topic.last.max(last);
        (topic.messages, topic.bytes) = topic.with(size);
    }

    /// What NATS says of a topic, as of a time at which this host had done so much.
    pub(super) fn found(
        &mut self,
        name: &Name,
        (messages, bytes, last, epoch): (u64, u64, u64, u32),
        as_of: u64,
        limits: &Topics,
    ) {
        if messages == 0 && !self.topics.contains_key(name) {
            return;
        }
        let topic = self.any(name, limits);
        if topic.changed <= as_of {
            (topic.messages, topic.bytes, topic.epoch) = (messages, bytes, epoch);
            topic.last = last;
        }
        self.forget_if_unused(name);
    }

    /// Other topics are not there.
    pub(super) fn gone(&mut self, is_there: impl Fn(&Name) -> bool, as_of: u64) {
        for (_, topic) in
            self.topics.iter_mut().filter(|(name, topic)| topic.changed <= as_of && !is_there(name))
        {
            (topic.messages, topic.bytes) = (0, 0);
        }
        self.topics.retain(|_, topic| topic.is_used() || topic.followed);
    }

    pub(super) fn usage(&self, others: Usage) -> Usage {
        let mut usage = others;
        for topic in self.topics.values().filter(|topic| topic.is_used()) {
            usage.topics += 1;
            usage.published += usize::try_from(topic.messages).unwrap_or(usize::MAX);
            usage.published_bytes += topic.bytes;
            usage.readers += topic.readers;
        }
        usage
    }

    pub(super) fn followed(&self) -> usize {
        self.topics.values().filter(|topic| topic.followed).count()
    }

    pub(super) fn list(&self) -> Vec<TopicUsage> {
        let usage = |(name, topic): (&Name, &Topic)| TopicUsage {
            topic: name.to_string(),
            events: usize::try_from(topic.messages).unwrap_or(usize::MAX),
            end: cursor(topic.epoch, topic.last).to_string(),
            waiting: topic.readers,
            bytes: topic.bytes,
        };
        let mut all: Vec<_> = self.topics.iter().filter(|(_, topic)| topic.is_used()).map(usage).collect();
        all.sort_by(|one, other| one.topic.cmp(&other.topic));
        all
    }
}

/// The cursor after an event, by its sequence in a stream.
fn cursor(epoch: u32, last: u64) -> Cursor {
    if last == 0 { Cursor::START } else { Cursor { epoch, next: last } }
}

impl Shared {
    async fn ensure_topic(&self, name: &Name) -> Result<async_nats::jetstream::stream::Info, Trouble> {
        let retention = self.limits.topics.retention(name);
        stream::make(&self.link, &stream::topic(&self.link, name, &retention), self.clock.now()).await
    }

    /// The stream's epoch.
    async fn topic_epoch(&self, name: &Name) -> Result<u32, Trouble> {
        let known =
            || lock(&self.topics).topics.get(name).map(|topic| topic.epoch).filter(|&epoch| epoch != 0);
        if let Some(epoch) = known() {
            return Ok(epoch);
        }
        let stream = self.link.names.stream(Kind::Topic, name);
        let _turn = self.turns.wait(&stream).await;
        if let Some(epoch) = known() {
            return Ok(epoch);
        }
        let epoch = stream::epoch(&self.ensure_topic(name).await?);
        if let Some(topic) = lock(&self.topics).topics.get_mut(name) {
            (topic.epoch, topic.found) = (epoch, Instant::now());
        }
        Ok(epoch)
    }

    pub(super) fn publish_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
    ) -> Result<impl Future<Output = Result<Cursor, StoreError>> + Send + use<>, StoreError> {
        check_size(&event.data, self.limits.topics.max_event_size)?;
        let subject = self.link.names.subject(Kind::Topic, name);
        let headers = Particulars::of(&event).headers(&self.link.message_id());
        let size = stored_size(&subject, Some(&headers), event.data.len());
        lock(&self.topics).admit(name, size, &self.limits.topics)?;
        let (shared, name, data) = (self.clone(), name.clone(), event.data);
        let until = Instant::now() + self.link.config.timeout;
        Ok(self.work(async move {
            let sent = shared.link.persist(until, || async {
                let epoch = shared.topic_epoch(&name).await?;
                let sent = shared.link.publish(&subject, headers.clone(), data.clone()).await;
                match sent {
                    Err(Trouble::Unheard) => lock(&shared.topics).doubt(&name),
                    Err(Trouble::Silent) => lock(&shared.topics).doubt_if_old(&name),
                    _ => {}
                }
                Ok((epoch, sent?))
            });
            let sent = sent.await;
            let mut state = lock(&shared.topics);
            match sent {
                Ok((epoch, last)) => {
                    state.published(&name, size, (epoch, last), &shared.limits.topics);
                    Ok(cursor(epoch, last))
                }
                Err(error) => {
                    if matches!(error, StoreError::Unavailable(_)) {
                        state.doubt_if_old(&name);
                    }
                    state.forget_if_unused(&name);
                    Err(error)
                }
            }
        }))
    }

    pub(super) async fn end_of(self: Arc<Self>, name: Name) -> Result<Cursor, StoreError> {
        let shared = self.clone();
        let until = Instant::now() + self.link.config.timeout;
        self.work(async move { shared.find_end(&name, until).await }).await
    }

    async fn find_end(&self, name: &Name, until: Instant) -> Result<Cursor, StoreError> {
        let stream = self.link.names.stream(Kind::Topic, name);
        let info = self.link.persist(until, || stream::info(&self.link, &stream)).await?;
        Ok(info.map_or(Cursor::START, |info| cursor(stream::epoch(&info), info.state.last_sequence)))
    }

    pub(super) async fn read_when_there(
        self: Arc<Self>,
        name: Name,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Batch, StoreError> {
        let limit = limit.clamp(1, MAX_BATCH);
        let reader = match self.read_now_or_wait(&name, after, limit)? {
            Ok(batch) => return Ok(batch),
            Err(wake) => Reader { shared: self, name, wake },
        };
        let mut is_certain = false;
        loop {
            match woken(&reader.wake, || reader.look(after, limit, is_certain).transpose()).await? {
                Look::Events(batch) => return Ok(batch),
                // Another host may have given the cursor, of an event that is on its way. It may come while NATS is asked.
                Look::Ahead => tokio::select! {
                    end = reader.shared.find_end(&reader.name, Instant::now() + FOREVER) => {
                        reader.is_after(end?);
                        is_certain = true;
                    }
                    batch = reader.comes(after, limit) => return batch,
                },
            }
        }
    }

    /// What is there already; otherwise the reader is counted, until it leaves, and woken by what it gets.
    fn read_now_or_wait(
        self: &Arc<Self>,
        name: &Name,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Result<Batch, Arc<Notify>>, StoreError> {
        let limits = &self.limits.topics;
        let mut state = lock(&self.topics);
        if let Some(topic) = state.topics.get_mut(name) {
            topic.used = true;
            if let Some(Look::Events(batch)) = topic.look(after, limit, false) {
                return Ok(Ok(batch));
            }
        }
        let topic = state.topic(name, limits)?;
        if topic.readers >= limits.max_waiters {
            return Err(StoreError::OverLimit(Limit::Waiters));
        }
        topic.readers += 1;
        topic.used = true;
        topic.refused = None;
        let wake = topic.wake.clone();
        if !std::mem::replace(&mut topic.followed, true) {
            self.fetchers.spawn_on(self.clone().follow(name.clone()), &self.runtime);
        }
        Ok(Err(wake))
    }

    /// Has what a topic keeps here, for as long as somebody reads it.
    async fn follow(self: Arc<Self>, name: Name) {
        let (mut tries, mut refusals, mut told) = (0, 0, false);
        loop {
            let connections = self.link.connections();
            let started = self.start_to_follow(&name).await;
            refusals = if matches!(started, Err(Trouble::Refused(_))) { refusals + 1 } else { 0 };
            match started {
                Ok(messages) => {
                    (tries, told) = (0, false);
                    if self.follow_on(&name, messages, connections).await {
                        return;
                    }
                }
                Err(Trouble::Lasting(error)) => return self.refuse(&name, error),
                Err(Trouble::Refused(error)) if refusals >= REFUSALS => {
                    return self.refuse(&name, Trouble::refused(&error));
                }
                Err(trouble) => match trouble.warning(tries) {
                    Some(warning) if !std::mem::replace(&mut told, true) => {
                        tracing::warn!("topic {name} cannot be followed: NATS says: {warning}");
                    }
                    _ => tracing::debug!("topic {name} cannot be followed: {trouble:?}"),
                },
            }
            sleep(pause(tries)).await;
            tries += 1;
            if self.has_done_following(&name) {
                return;
            }
        }
    }

    async fn start_to_follow(&self, name: &Name) -> Result<Ordered, Trouble> {
        let passing = |error: &dyn std::fmt::Display| Trouble::Passing(error.to_string());
        let info = self.ensure_topic(name).await?;
        let (epoch, first) = (stream::epoch(&info), info.state.first_sequence.saturating_sub(1));
        let first = if info.state.messages == 0 { info.state.last_sequence } else { first };
        let start = {
            let mut state = lock(&self.topics);
            let topic = state.any(name, &self.limits.topics);
            (topic.epoch, topic.last) = (epoch, topic.last.max(info.state.last_sequence));
            if topic.mirror.as_ref().is_none_or(|mirror| mirror.epoch() != epoch) {
                topic.last = info.state.last_sequence;
                topic.mirror = Some(Mirror::new(epoch, first));
            }
            topic.wake.notify_waiters();
            topic.mirror.as_ref().map_or(first, Mirror::next)
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
        let particulars = Particulars::read(message.headers.as_ref());
        let mut state = lock(&self.topics);
        let Some(topic) = state.topics.get_mut(name) else { return };
        let Some(mirror) = &mut topic.mirror else { return };
        mirror.add((info.stream_sequence, time, size), message.payload.clone(), particulars.content_type);
        mirror.trim(&topic.retention, self.clock.now());
        topic.last = topic.last.max(info.stream_sequence);
        topic.wake.notify_waiters();
    }

    /// Ends the following, unless somebody reads or did a short time ago.
    fn has_done_following(&self, name: &Name) -> bool {
        let mut state = lock(&self.topics);
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
        let mut state = lock(&self.topics);
        let Some(topic) = state.topics.get_mut(name) else { return };
        topic.mirror = None;
        topic.followed = false;
        topic.refused = Some(error);
        topic.wake.notify_waiters();
        state.forget_if_unused(name);
    }
}

/// One who waits at a topic.
struct Reader {
    shared: Arc<Shared>,
    name: Name,
    wake: Arc<Notify>,
}

impl Reader {
    fn look(
        &self,
        after: Option<Cursor>,
        limit: usize,
        is_certain: bool,
    ) -> Result<Option<Look>, StoreError> {
        let mut state = lock(&self.shared.topics);
        let Some(topic) = state.topics.get_mut(&self.name) else { return Ok(None) };
        if let Some(error) = &topic.refused {
            return Err(error.clone());
        }
        if let Some(mirror) = &mut topic.mirror {
            mirror.trim(&topic.retention, self.shared.clock.now());
        }
        Ok(topic.look(after, limit, is_certain))
    }

    /// Waits for what comes after a cursor.
    async fn comes(&self, after: Option<Cursor>, limit: usize) -> Result<Batch, StoreError> {
        let look = || match self.look(after, limit, false).transpose()? {
            Ok(Look::Events(batch)) => Some(Ok(batch)),
            Ok(Look::Ahead) => None,
            Err(error) => Some(Err(error)),
        };
        woken(&self.wake, look).await
    }

    /// What NATS says is the end of the topic. All up to there is waited for.
    fn is_after(&self, end: Cursor) {
        if let Some(topic) = lock(&self.shared.topics).topics.get_mut(&self.name)
            && topic.epoch == end.epoch
        {
            topic.last = topic.last.max(end.next);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.topics);
        if let Some(topic) = state.topics.get_mut(&self.name) {
            topic.readers -= 1;
            state.forget_if_unused(&self.name);
        }
    }
}
