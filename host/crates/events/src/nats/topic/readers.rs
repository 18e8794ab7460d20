//! Those who read topics here: they look at what the host has of a topic, and wait for more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use linger_base::Name;

use crate::nats::NatsContext;
use crate::nats::topic::mirror::MirrorRead;
use crate::wait::woken;
use crate::{Cursor, LimitKind, StoreError, TopicBatch};

/// The most events that one read gives.
const MAX_BATCH: usize = 1000;

/// Longer than anybody reads.
const FOREVER: Duration = Duration::from_hours(24 * 365);

impl NatsContext {
    pub(crate) async fn read_when_there(
        self: Arc<Self>,
        name: Name,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<TopicBatch, StoreError> {
        let limit = limit.clamp(1, MAX_BATCH);
        let reader = match self.read_now_or_wait(&name, after, limit)? {
            Ok(batch) => return Ok(batch),
            Err(wake) => PendingReader { shared: self, name, wake },
        };
        let mut is_certain = false;
        loop {
            match woken(&reader.wake, || reader.look(after, limit, is_certain).transpose()).await? {
                MirrorRead::Events(batch) => return Ok(batch),
                // Another host may have given the cursor, of an event that is on its way. It may come while NATS is asked.
                MirrorRead::Ahead => tokio::select! {
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
    ) -> Result<Result<TopicBatch, Arc<Notify>>, StoreError> {
        let limits = &self.limits.topics;
        let mut state = self.topics.lock();
        if let Some(topic) = state.topics.get_mut(name) {
            topic.used = true;
            if let Some(MirrorRead::Events(batch)) = topic.look(after, limit, false) {
                return Ok(Ok(batch));
            }
        }
        let topic = state.topic(name, limits)?;
        if topic.readers >= limits.max_waiters {
            return Err(StoreError::OverLimit(LimitKind::Waiters));
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
}

/// One who waits at a topic.
struct PendingReader {
    shared: Arc<NatsContext>,
    name: Name,
    wake: Arc<Notify>,
}

impl PendingReader {
    fn look(
        &self,
        after: Option<Cursor>,
        limit: usize,
        is_certain: bool,
    ) -> Result<Option<MirrorRead>, StoreError> {
        let mut state = self.shared.topics.lock();
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
    async fn comes(&self, after: Option<Cursor>, limit: usize) -> Result<TopicBatch, StoreError> {
        let look = || match self.look(after, limit, false).transpose()? {
            Ok(MirrorRead::Events(batch)) => Some(Ok(batch)),
            Ok(MirrorRead::Ahead) => None,
            Err(error) => Some(Err(error)),
        };
        woken(&self.wake, look).await
    }

    /// What NATS says is the end of the topic. All up to there is waited for.
    fn is_after(&self, end: Cursor) {
        if let Some(topic) = self.shared.topics.lock().topics.get_mut(&self.name)
            && topic.epoch == end.epoch
        {
            topic.last = topic.last.max(end.next);
        }
    }
}

impl Drop for PendingReader {
    fn drop(&mut self) {
        let mut state = self.shared.topics.lock();
        if let Some(topic) = state.topics.get_mut(&self.name) {
            topic.readers -= 1;
            state.forget_if_unused(&self.name);
        }
    }
}
