//! The topics as this host knows them: who reads there, what is kept here, and how much there is in NATS. It does nothing by
//! itself.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

use linger_base::Name;
use linger_config::{Retention, TopicsConfig};

use crate::nats::topic::mirror::{MirrorRead, TopicMirror};
use crate::{Cursor, LimitKind, StoreError, StoreUsage, TopicUsage};

#[derive(Default)]
pub(crate) struct NatsTopicState {
    pub(crate) topics: HashMap<Name, NatsTopic>,
    pub(crate) published: u64,
    number: u64,
}

/// What is known of a topic.
pub(crate) struct NatsTopic {
    pub(crate) retention: Retention,
    pub(crate) readers: usize,
    /// Events in NATS, and their bytes: what was found last, and what this host did since.
    messages: u64,
    bytes: u64,
    /// The stream's epoch and last sequence, as far as they are known.
    pub(crate) epoch: u32,
    pub(crate) last: u64,
    /// When this host last did something, by the count of all such times.
    changed: u64,
    /// What the stream keeps, while it is followed.
    pub(crate) mirror: Option<TopicMirror>,
    /// Whether there is a task that follows it, and whether it was used since that looked.
    pub(crate) followed: bool,
    pub(crate) used: bool,
    /// Why it cannot be followed.
    pub(crate) refused: Option<StoreError>,
    pub(crate) wake: Arc<Notify>,
}

impl NatsTopic {
    fn new(retention: Retention) -> Self {
        Self {
            retention,
            readers: 0,
            messages: 0,
            bytes: 0,
            epoch: 0,
            last: 0,
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
    pub(crate) fn look(&self, after: Option<Cursor>, limit: usize, is_certain: bool) -> Option<MirrorRead> {
        self.mirror.as_ref().filter(|mirror| mirror.next() >= self.last)?.look(after, limit, is_certain)
    }
}

impl NatsTopicState {
    /// A number that was not given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// A topic, made if there is room for one.
    pub(crate) fn topic(&mut self, name: &Name, limits: &TopicsConfig) -> Result<&mut NatsTopic, StoreError> {
        let is_used = self.topics.get(name).is_some_and(NatsTopic::is_used);
        if !is_used
            && self.topics.len() >= limits.max_topics
            && self.topics.values().filter(|topic| topic.is_used()).count() >= limits.max_topics
        {
            return Err(StoreError::OverLimit(LimitKind::Names));
        }
        Ok(self.any(name, limits))
    }

    /// A topic, made whether or not there is room.
    pub(crate) fn any(&mut self, name: &Name, limits: &TopicsConfig) -> &mut NatsTopic {
        self.topics.entry(name.clone()).or_insert_with(|| NatsTopic::new(limits.retention(name)))
    }

    /// A topic is known as long as somebody needs it.
    pub(crate) fn forget_if_unused(&mut self, name: &Name) {
        if self.topics.get(name).is_some_and(|topic| !topic.is_used() && !topic.followed) {
            self.topics.remove(name);
        }
    }

    /// Whether there is room for an event. What goes makes room.
    pub(crate) fn admit(&mut self, name: &Name, size: u64, limits: &TopicsConfig) -> Result<(), StoreError> {
        let all: u64 = self.topics.values().map(|topic| topic.bytes).sum();
        let topic = self.topic(name, limits)?;
        let (_, bytes) = topic.with(size);
        if all - topic.bytes + bytes > limits.max_total_bytes.as_u64() {
            self.forget_if_unused(name);
            return Err(StoreError::OverLimit(LimitKind::TotalBytes));
        }
        Ok(())
    }

    /// Counts an event that has been stored.
    pub(crate) fn record_publish(
        &mut self,
        name: &Name,
        size: u64,
        (epoch, last): (u32, u64),
        limits: &TopicsConfig,
    ) {
        self.published += 1;
        let changed = self.number();
        let topic = self.any(name, limits);
        topic.changed = changed;
        topic.epoch = epoch;
        topic.last = topic.last.max(last);
        (topic.messages, topic.bytes) = topic.with(size);
    }

    /// What NATS says of a topic, as of a time at which this host had done so much.
    pub(crate) fn found(
        &mut self,
        name: &Name,
        (messages, bytes, last, epoch): (u64, u64, u64, u32),
        as_of: u64,
        limits: &TopicsConfig,
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
    pub(crate) fn record_removals(&mut self, is_there: impl Fn(&Name) -> bool, as_of: u64) {
        for (_, topic) in
            self.topics.iter_mut().filter(|(name, topic)| topic.changed <= as_of && !is_there(name))
        {
            (topic.messages, topic.bytes) = (0, 0);
        }
        self.topics.retain(|_, topic| topic.is_used() || topic.followed);
    }

    pub(crate) fn usage(&self, others: StoreUsage) -> StoreUsage {
        let mut usage = others;
        for topic in self.topics.values().filter(|topic| topic.is_used()) {
            usage.topics += 1;
            usage.published += usize::try_from(topic.messages).unwrap_or(usize::MAX);
            usage.published_bytes += topic.bytes;
            usage.readers += topic.readers;
        }
        usage
    }

    pub(crate) fn followed(&self) -> usize {
        self.topics.values().filter(|topic| topic.followed).count()
    }

    pub(crate) fn list(&self) -> Vec<TopicUsage> {
        let usage = |(name, topic): (&Name, &NatsTopic)| TopicUsage {
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
pub(crate) fn cursor(epoch: u32, last: u64) -> Cursor {
    if last == 0 { Cursor::START } else { Cursor { epoch, next: last } }
}
