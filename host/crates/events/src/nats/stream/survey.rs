//! The contents of NATS, of all hosts. Read on demand, and when a limit seems to be reached.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use futures::TryStreamExt as _;
use tokio::time::Instant;

use linger_base::Name;

use crate::StoreError;
use crate::nats::names::StreamKind;
use crate::nats::queue::state::millis;
use crate::nats::{NatsContext, stream};

/// What is told may be as old as that.
const AGE: Duration = Duration::from_secs(1);

/// When all streams were looked at last.
#[derive(Default)]
pub(crate) struct StreamSurvey {
    /// In milliseconds since 1970.
    last: AtomicU64,
    under_way: AtomicBool,
}

impl NatsContext {
    /// Looks at all streams, unless that was done just now.
    pub(crate) fn look_around_soon(self: &Arc<Self>) {
        let survey = &self.survey;
        let is_new = survey.last.load(Ordering::Relaxed) + millis(AGE) > self.clock.now();
        if is_new || survey.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.clone();
        self.fetchers.spawn_on(
            async move {
                if let Err(error) = shared.look_around().await {
                    tracing::debug!("cannot read the number of events in NATS: {error}");
                }
                shared.survey.last.store(shared.clock.now(), Ordering::Relaxed);
                shared.survey.under_way.store(false, Ordering::Release);
            },
            &self.runtime,
        );
    }

    /// Looks at all streams. What this host does meanwhile it knows better.
    pub(crate) async fn look_around(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let (queues_as_of, topics_as_of) = (self.queues.lock().number(), self.topics.lock().number());
        let failed = |error: async_nats::jetstream::context::StreamsError| {
            StoreError::Unavailable(format!("NATS: {error}").into())
        };
        let (mut queues, mut topics) = (HashSet::new(), HashSet::new());
        let mut streams = self.link.js.streams();
        while let Some(info) = streams.try_next().await.map_err(failed)? {
            let Some((kind, name)) = self.ours(&info) else { continue };
            let epoch = stream::epoch(&info);
            self.streams.doubt_other(kind, &name, epoch);
            match kind {
                StreamKind::Queue => {
                    self.found_queue(&name, (info.state.messages, info.state.bytes), queues_as_of);
                    queues.insert(name);
                }
                StreamKind::Topic => {
                    let state = &info.state;
                    let found = (state.messages, state.bytes, state.last_sequence, epoch);
                    self.topics.lock().found(&name, found, topics_as_of, &self.limits.topics);
                    topics.insert(name);
                }
            }
        }
        let is_there = |kind, name: &Name| match kind {
            StreamKind::Queue => queues.contains(name),
            StreamKind::Topic => topics.contains(name),
        };
        self.streams.doubt_missing(is_there, began);
        let mut gone: Vec<_> = self.queues.lock().queues.keys().cloned().collect();
        gone.retain(|name| !queues.contains(name));
        for name in gone {
            self.found_queue(&name, (0, 0), queues_as_of);
        }
        self.topics.lock().record_removals(|name| topics.contains(name), topics_as_of);
        Ok(())
    }

    fn found_queue(&self, name: &Name, found: (u64, u64), as_of: u64) {
        self.queues.lock().found(name, found, as_of, (&self.limits.queues, &|name| self.ack_wait(name)));
    }

    /// What a stream is of, if it is ours: by its name and its subject.
    fn ours(&self, info: &Info) -> Option<(StreamKind, Name)> {
        let (kind, name) = self.link.names.parse(&info.config.name)?;
        let subject = self.link.names.subject(kind, &name);
        (info.config.subjects == [subject]).then_some((kind, name))
    }
}
