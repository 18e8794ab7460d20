//! Topics: every reader can get every event, as long as it is kept.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use linger_base::Name;
use linger_config::TopicsConfig;

use super::timers::TimerTable;
use super::topic::{LocalTopic, RetainedEvent};
use super::{LocalStore, check_size, size, told};
use crate::journal::{Journal, JournalEntry, TopicEpoch, TopicRecord, TopicTrim};
use crate::wait::woken;
use crate::{Cursor, LimitKind, NewEvent, PublishedEvent, StoreError, StoreUsage, TopicBatch, TopicUsage};

/// The most events that one read gives.
const MAX_BATCH: usize = 1000;

#[derive(Default)]
pub(super) struct LocalTopics {
    topics: HashMap<Name, LocalTopic>,
    /// Of all topics.
    bytes: u64,
    next_number: u64,
    /// By the numbers of topics.
    timers: TimerTable,
    published: u64,
}

impl<J: Journal> LocalStore<J> {
    pub(super) fn restore_topics(&self, epochs: Vec<(Name, TopicEpoch)>, records: Vec<TopicRecord>) {
        let now = self.clock.now();
        let mut state = self.topics.lock();
        let state = &mut *state;
        for (topic, epoch) in epochs {
            state.restored(&topic, now, &self.limits.topics).restore_epoch(epoch);
        }
        for record in records {
            state.bytes += size(&record.data);
            let (topic, kept) = RetainedEvent::of(record);
            state.restored(&topic, now, &self.limits.topics).restore(kept);
        }
        let names: Vec<_> = state.topics.keys().cloned().collect();
        for name in &names {
            self.tidy(state, name, now);
        }
    }

    pub(super) fn publish_now(
        self: &Arc<Self>,
        name: &Name,
        event: NewEvent,
    ) -> Result<impl Future<Output = Result<Cursor, StoreError>> + Send + use<J>, StoreError> {
        let (limits, now) = (&self.limits.topics, self.clock.now());
        check_size(&event.data, limits.max_event_size)?;
        let (sender, receiver) = oneshot::channel();
        let mut state = self.topics.lock();
        let state = &mut *state;
        let topic = state.admit(name, size(&event.data), limits, now)?;
        let epoch = self.epoch(name, topic);
        let sequence = topic.next;
        topic.next += 1;
        let NewEvent { data, content_type } = event;
        let record = TopicRecord { topic: name.clone(), sequence, epoch, time: now, data, content_type };
        let (_, kept) = RetainedEvent::of(record.clone());
        let cursor = kept.event.cursor;
        if J::KEEPS {
            let (store, name) = (Arc::downgrade(self), name.clone());
            // Always written, where anything is kept.
            drop(self.journal.record(JournalEntry::Publish(record), move |written| {
                if let Some(store) = store.upgrade() {
                    store.published(&mut store.topics.lock(), &name, kept, written.is_ok());
                }
                // Who published may have gone. The event stays.
                let _ = sender.send(written.map(|()| cursor));
            }));
        } else {
            // Under the lock: numbers come in their order.
            self.published(state, name, kept, true);
            // The receiver is here.
            let _ = sender.send(Ok(cursor));
        }
        Ok(told(receiver))
    }

    /// The topic's epoch in this process.
    fn epoch(&self, name: &Name, topic: &mut LocalTopic) -> u32 {
        match topic.epochs.last() {
            Some(epoch) if topic.has_begun => epoch.id,
            _ => {
                let id = linger_base::random_u32().max(1);
                topic.has_begun = true;
                let (forgotten, begun) = topic.begin_epoch(id);
                let (topic, trimmed, begun) = (name.clone(), 0..0, Some(begun));
                self.journal.note(JournalEntry::Trim(TopicTrim { topic, trimmed, forgotten, begun }));
                id
            }
        }
    }

    /// An event has been written down, or could not be.
    fn published(&self, state: &mut LocalTopics, name: &Name, kept: RetainedEvent, written: bool) {
        let Some(topic) = state.topics.get_mut(name) else { return };
        topic.arriving -= 1;
        if written {
            state.published += 1;
            topic.add(kept);
            topic.wake.notify_waiters();
        } else {
            state.bytes -= size(&kept.event.data);
        }
        self.tidy(state, name, self.clock.now());
    }

    /// Drops what a topic keeps no longer, or the topic itself, and sets its timer.
    fn tidy(&self, state: &mut LocalTopics, name: &Name, now: u64) {
        let LocalTopics { topics, bytes, timers, .. } = state;
        let Some(topic) = topics.get_mut(name) else { return };
        let before = topic.bytes;
        let trimmed = topic.trim(now);
        *bytes -= before - topic.bytes;
        let (mut forgotten, mut begun) = (Vec::new(), None);
        let over = topic.is_blank() || topic.is_over_itself(now);
        if over {
            forgotten.append(&mut topic.epochs);
        } else if let (false, 0, Some(&TopicEpoch { id, .. })) =
            (trimmed.is_empty(), topic.len(), topic.epochs.last())
        {
            // Otherwise nothing would tell the number after a restart.
            let (gone, noted) = topic.begin_epoch(id);
            (forgotten, begun) = (gone, Some(noted));
        }
        if !trimmed.is_empty() || !forgotten.is_empty() || begun.is_some() {
            self.journal.note(JournalEntry::Trim(TopicTrim {
                topic: name.clone(),
                trimmed,
                forgotten,
                begun,
            }));
        }
        if topic.next_time().is_some_and(|time| time <= now) {
            topic.touch(now);
        }
        let next = topic.next_time().filter(|_| !over);
        if timers.set(topic.number, name, &mut topic.timer, next) {
            self.alarm.notify_one();
        }
        if over {
            topics.remove(name);
        }
    }

    /// Does what is due, and tells what is next.
    pub(super) fn act_on_topics(&self, now: u64, limit: usize) -> Option<u64> {
        let mut state = self.topics.lock();
        for _ in 0..limit {
            let Some((_, name)) = state.timers.due(now) else { break };
            self.tidy(&mut state, &name, now);
        }
        state.timers.next()
    }

    pub(super) fn end_of(&self, name: &Name) -> Cursor {
        self.topics.lock().topics.get(name).map_or(Cursor::START, LocalTopic::end)
    }

    pub(super) async fn read_when_there(
        self: Arc<Self>,
        name: Name,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<TopicBatch, StoreError> {
        let limit = limit.clamp(1, MAX_BATCH);
        let reader = match self.read_now_or_wait(&name, after, limit)? {
            Ok(batch) => return Ok(batch),
            Err(wake) => WaitingReader { store: self, name, wake },
        };
        Ok(woken(&reader.wake, || reader.look(after, limit)).await)
    }

    /// What is there already; otherwise the reader is counted, until it leaves, and woken by what it gets.
    fn read_now_or_wait(
        &self,
        name: &Name,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Result<TopicBatch, Arc<Notify>>, StoreError> {
        let (limits, now) = (&self.limits.topics, self.clock.now());
        let mut state = self.topics.lock();
        if let Some(batch) = state.topics.get(name).and_then(|topic| topic.batch(after, limit)) {
            return Ok(Ok(batch));
        }
        let topic = state.topic(name, limits, now)?;
        if topic.readers >= limits.max_waiters {
            return Err(StoreError::OverLimit(LimitKind::Waiters));
        }
        topic.readers += 1;
        Ok(Err(topic.wake.clone()))
    }
}

/// One who waits at a topic.
struct WaitingReader<J: Journal> {
    store: Arc<LocalStore<J>>,
    name: Name,
    wake: Arc<Notify>,
}

impl<J: Journal> WaitingReader<J> {
    fn look(&self, after: Option<Cursor>, limit: usize) -> Option<TopicBatch> {
        self.store.topics.lock().topics.get(&self.name)?.batch(after, limit)
    }
}

impl<J: Journal> Drop for WaitingReader<J> {
    fn drop(&mut self) {
        let mut state = self.store.topics.lock();
        let Some(topic) = state.topics.get_mut(&self.name) else { return };
        topic.readers -= 1;
        if topic.is_blank() {
            self.store.tidy(&mut state, &self.name, self.store.clock.now());
        }
    }
}

impl RetainedEvent {
    fn of(record: TopicRecord) -> (Name, Self) {
        let TopicRecord { topic, sequence, epoch, time, data, content_type } = record;
        let cursor = Cursor { epoch, next: sequence + 1 };
        (topic, Self { sequence, time, event: Arc::new(PublishedEvent { cursor, data, content_type }) })
    }
}

impl LocalTopics {
    /// Makes room for an event. What the topic will keep no longer when it has this one makes room too.
    fn admit(
        &mut self,
        name: &Name,
        size: u64,
        limits: &TopicsConfig,
        now: u64,
    ) -> Result<&mut LocalTopic, StoreError> {
        let total = self.bytes + size;
        let topic = self.topic(name, limits, now)?;
        if total - topic.frees(size) > limits.max_total_bytes.as_u64() {
            // One that is here for this only has nothing to be noted of.
            if topic.is_blank() && topic.epochs.is_empty() {
                self.topics.remove(name);
            }
            return Err(StoreError::OverLimit(LimitKind::TotalBytes));
        }
        self.bytes = total;
        let topic = self.topic(name, limits, now)?;
        topic.arriving += 1;
        Ok(topic)
    }

    fn topic(&mut self, name: &Name, limits: &TopicsConfig, now: u64) -> Result<&mut LocalTopic, StoreError> {
        if self.topics.len() >= limits.max_topics && !self.topics.contains_key(name) {
            return Err(StoreError::OverLimit(LimitKind::Names));
        }
        Ok(self.restored(name, now, limits))
    }

    /// A topic, whatever the limits are.
    fn restored(&mut self, name: &Name, now: u64, limits: &TopicsConfig) -> &mut LocalTopic {
        let Self { topics, next_number, .. } = self;
        topics.entry(name.clone()).or_insert_with(|| {
            *next_number += 1;
            LocalTopic::new(*next_number, limits.retention(name), now)
        })
    }

    pub(super) fn usage(&self, others: StoreUsage) -> StoreUsage {
        StoreUsage {
            topics: self.topics.len(),
            published: self.topics.values().map(LocalTopic::len).sum(),
            published_bytes: self.bytes,
            readers: self.topics.values().map(|topic| topic.readers).sum(),
            ..others
        }
    }
    /// How many were published.
    pub(super) fn ever_published(&self) -> u64 {
        self.published
    }

    pub(super) fn list(&self) -> Vec<TopicUsage> {
        let usage = |(name, topic): (&Name, &LocalTopic)| TopicUsage {
            topic: name.to_string(),
            events: topic.len(),
            end: topic.end().to_string(),
            waiting: topic.readers,
            bytes: topic.bytes,
        };
        let mut all: Vec<_> = self.topics.iter().map(usage).collect();
        all.sort_by(|one, other| one.topic.cmp(&other.topic));
        all
    }
}
