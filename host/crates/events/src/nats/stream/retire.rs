//! Streams that nobody uses any more go, so that names cost nothing once they are not used.
//!
//! NATS deletes a stream whatever is in it, and what was pushed a moment before would be lost. So the stream is first taken
//! off its subject: nothing can come any more. After a while it is looked at: if it is empty still it is deleted, otherwise
//! it gets its subject back. Who wants it meanwhile waits.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info};
use async_nats::jetstream::{ErrorCode, consumer};
use futures::TryStreamExt as _;
use serde::de::IgnoredAny;
use tokio::time::sleep;

use linger_base::{Name, random_u32};

use crate::nats::NatsContext;
use crate::nats::client::{NatsClient, NatsError};
use crate::nats::names::StreamKind;
use crate::nats::queue::state::millis;
use crate::nats::stream::{self, CONSUMER};

/// How long what was sent before may still arrive at a stream that was taken off its subject.
const LAST_ARRIVALS: Duration = Duration::from_secs(1);

/// After this time whoever took a stream off its subject is taken for dead, and it gets the subject back.
const ABANDONED: Duration = Duration::from_secs(30);

/// How often unused streams are looked for, at most.
const LONGEST_ROUND: Duration = Duration::from_mins(10);

impl NatsContext {
    /// Removes unused streams, for as long as it is polled. Hosts take their turns at random.
    pub(crate) async fn retire_unused(self: Arc<Self>) {
        let idle = self.link.config.idle;
        loop {
            let round = idle.min(LONGEST_ROUND);
            sleep(round.mul_f64(0.5 + f64::from(random_u32()) / f64::from(u32::MAX))).await;
            match self.unused(idle).await {
                Ok(unused) => {
                    for (kind, name) in unused {
                        if let Err(trouble) = self.retire(kind, &name).await {
                            tracing::debug!("{name}: cannot remove the unused stream: {trouble:?}");
                        }
                    }
                }
                Err(trouble) => tracing::debug!("cannot list the streams in NATS: {trouble:?}"),
            }
        }
    }

    async fn unused(&self, idle: Duration) -> Result<Vec<(StreamKind, Name)>, NatsError> {
        let now = self.clock.now();
        let mut streams = self.link.js.streams();
        let mut unused = Vec::new();
        while let Some(info) =
            streams.try_next().await.map_err(|error| NatsError::Passing(error.to_string()))?
        {
            let Some((kind, name)) = self.link.names.parse(&info.config.name) else { continue };
            let is_ours = info.config.subjects == [self.link.names.subject(kind, &name)]
                || retired(&self.link, &info.config).is_some_and(|since| since + millis(ABANDONED) <= now);
            if is_ours && info.state.messages == 0 && last_use(&info) + millis(idle) <= now {
                unused.push((kind, name));
            }
        }
        Ok(unused)
    }

    /// Removes a stream, unless it is used.
    pub(crate) async fn retire(&self, kind: StreamKind, name: &Name) -> Result<(), NatsError> {
        let stream = self.link.names.stream(kind, name);
        if self.is_used(kind, name, &stream).await? {
            return Ok(());
        }
        let Some(info) = stream::info(&self.link, &stream).await? else { return Ok(()) };
        let away = Config {
            subjects: vec![format!("{}.{}", retired_subject(&self.link, &stream), self.clock.now())],
            ..info.config.clone()
        };
        update(&self.link, &away).await?;
        sleep(LAST_ARRIVALS).await;
        let is_mine = |info: &Info| info.config.subjects == away.subjects;
        let Some(info) = stream::info(&self.link, &stream).await?.filter(is_mine) else { return Ok(()) };
        if info.state.messages > 0 || self.is_used(kind, name, &stream).await? {
            let subjects = vec![self.link.names.subject(kind, name)];
            return update(&self.link, &Config { subjects, ..info.config }).await;
        }
        self.link.ask::<IgnoredAny>(&format!("STREAM.DELETE.{stream}")).await?;
        self.streams.doubt(kind, name);
        tracing::debug!("{stream}: the unused stream is removed");
        Ok(())
    }

    /// Whether somebody waits for its events, at any host.
    async fn is_used(&self, kind: StreamKind, name: &Name, stream: &str) -> Result<bool, NatsError> {
        match kind {
            StreamKind::Queue if self.queues.lock().queues.contains_key(name) => Ok(true),
            StreamKind::Queue => {
                match self.link.ask::<consumer::Info>(&format!("CONSUMER.INFO.{stream}.{CONSUMER}")).await {
                    Ok(consumer) => Ok(consumer.num_waiting > 0),
                    Err(NatsError::Refused(error)) if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => {
                        Ok(false)
                    }
                    Err(trouble) => Err(trouble),
                }
            }
            StreamKind::Topic => {
                Ok(stream::info(&self.link, stream).await?.is_some_and(|info| info.state.consumer_count > 0))
            }
        }
    }
}

/// For a stream that is off its subject, since when, in milliseconds since 1970.
fn retired(link: &NatsClient, config: &Config) -> Option<u64> {
    let subject = retired_subject(link, &config.name);
    let [only] = &config.subjects[..] else { return None };
    only.strip_prefix(&subject)?.strip_prefix('.')?.parse().ok()
}

fn retired_subject(link: &NatsClient, stream: &str) -> String {
    format!("{}.retired.{stream}", link.config.prefix)
}

/// A stream that somebody wants, and that is off its subject. Gives it back if it was left so.
pub(crate) async fn bring_back(
    link: &NatsClient,
    wanted: &Config,
    found: &Info,
    now: u64,
) -> Result<bool, NatsError> {
    match retired(link, &found.config) {
        None => Ok(false),
        Some(since) if since + millis(ABANDONED) > now => {
            Err(NatsError::Passing("the stream is unused and being removed".to_owned()))
        }
        Some(_) => {
            let subjects = wanted.subjects.clone();
            update(link, &Config { subjects, ..found.config.clone() }).await?;
            Ok(true)
        }
    }
}

async fn update(link: &NatsClient, config: &Config) -> Result<(), NatsError> {
    link.api::<IgnoredAny>(&format!("STREAM.UPDATE.{}", config.name), config).await.map(drop)
}

/// When an event came last, or it was made, in milliseconds since 1970.
fn last_use(info: &Info) -> u64 {
    let last = info.state.last_timestamp.max(info.created);
    u64::try_from(last.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}
