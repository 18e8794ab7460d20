//! The streams of queues and topics: made as they are wanted, or adopted if they fit.

pub(crate) mod retire;
pub(crate) mod survey;
pub(crate) mod table;

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{Error, ErrorCode};
use serde_json::json;

use linger_base::Name;
use linger_config::{NatsStorage, QueuesConfig, Retention, StreamRetention};

use crate::StoreError;
use crate::nats::client::{NatsClient, NatsError};
use crate::nats::names::StreamKind;

/// The consumer of each queue.
pub(crate) const CONSUMER: &str = "linger";

/// How long NATS knows a message again that was sent before. Longer than a push is tried.
const DUPLICATES: Duration = Duration::from_mins(1);

/// What NATS takes for the age of events at least.
const MIN_AGE: Duration = Duration::from_millis(100);

/// Hosts that wait at one queue, each with one request.
const MAX_HOSTS: i64 = 4096;

/// The stream of a queue: what is acknowledged is gone, and what has no room is refused.
pub(crate) fn queue(link: &NatsClient, name: &Name, limits: &QueuesConfig) -> Config {
    let (keeping, _) = link.config.queue(name);
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: bound(limits.max_events as u64),
        max_bytes: bound(limits.max_bytes.as_u64()),
        ..common(link, StreamKind::Queue, name, keeping)
    }
}

/// The stream of a topic: what has no room makes room.
pub(crate) fn topic(link: &NatsClient, name: &Name, retention: &Retention) -> Config {
    let age = retention.time.map_or(Duration::ZERO, |time| time.max(MIN_AGE));
    let duplicates = if age.is_zero() { DUPLICATES } else { DUPLICATES.min(age) };
    Config {
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages: bound(retention.events as u64),
        max_bytes: bound(retention.bytes),
        max_age: age,
        duplicate_window: duplicates,
        ..common(link, StreamKind::Topic, name, link.config.topic(name))
    }
}

fn common(link: &NatsClient, kind: StreamKind, name: &Name, keeping: StreamRetention) -> Config {
    Config {
        name: link.names.stream(kind, name),
        subjects: vec![link.names.subject(kind, name)],
        storage: match keeping.storage {
            NatsStorage::File => StorageType::File,
            NatsStorage::Memory => StorageType::Memory,
        },
        num_replicas: keeping.replicas,
        max_consumers: -1,
        max_messages_per_subject: -1,
        duplicate_window: DUPLICATES,
        ..Config::default()
    }
}

/// NATS writes no bound as -1.
fn bound(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}

/// Makes a stream, or finds it as it should be.
pub(crate) async fn make(link: &NatsClient, wanted: &Config, now: u64) -> Result<Info, NatsError> {
    match link.api(&format!("STREAM.CREATE.{}", wanted.name), wanted).await {
        Err(NatsError::Refused(error)) if is_there(&error) => {
            let Some(info) = info(link, &wanted.name).await? else {
                return Err(match error.error_code() {
                    ErrorCode::STREAM_NAME_EXIST => NatsError::Passing("the stream was deleted".to_owned()),
                    _ => NatsError::Refused(error),
                });
            };
            if retire::bring_back(link, wanted, &info, now).await? {
                return Ok(info);
            }
            match difference(wanted, &info.config) {
                None => Ok(info),
                Some(difference) => Err(misfit(&wanted.name, &difference)),
            }
        }
        made => made,
    }
}

/// Whether a stream may be there that was to be made. Of two hosts that make it at the same time, NATS tells one that its
/// subjects overlap.
fn is_there(error: &Error) -> bool {
    [ErrorCode::STREAM_NAME_EXIST, ErrorCode::STREAM_SUBJECT_OVERLAP].contains(&error.error_code())
}

fn misfit(stream: &str, difference: &str) -> NatsError {
    let remedy = "change it (`nats stream edit`), or the configuration";
    let said = format!("the stream {stream} in NATS does not match: {difference}; {remedy}");
    NatsError::Lasting(StoreError::Unavailable(said.into()))
}

/// What NATS says of a stream, if there is one.
pub(crate) async fn info(link: &NatsClient, stream: &str) -> Result<Option<Info>, NatsError> {
    match link.ask(&format!("STREAM.INFO.{stream}")).await {
        Ok(info) => Ok(Some(info)),
        Err(NatsError::Refused(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Makes the consumer that all hosts share, or finds it.
pub(crate) async fn make_consumer(
    link: &NatsClient,
    stream: &str,
    ack_wait: Duration,
) -> Result<(), NatsError> {
    let config = consumer::Config {
        durable_name: Some(CONSUMER.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait,
        // How often an event is handed out is for the hosts to judge.
        max_deliver: -1,
        // Every event can be held at the same time.
        max_ack_pending: -1,
        max_waiting: MAX_HOSTS,
        ..consumer::Config::default()
    };
    let request = json!({ "stream_name": stream, "config": config });
    let made: Result<consumer::Info, _> =
        link.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{CONSUMER}"), &request).await;
    made.map(|_| ())
}

/// Tells one life of a stream from another. Never 0.
pub(crate) fn epoch(info: &Info) -> u32 {
    let nanos = info.created.unix_timestamp_nanos().to_le_bytes();
    // FNV-1a: the same on every host.
    let hash =
        nanos.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// The first difference that matters.
fn difference(wanted: &Config, found: &Config) -> Option<String> {
    let differs = |key: &str, wanted: String, found: String| {
        (wanted != found).then(|| format!("`{key}` is {found}, not {wanted}"))
    };
    differs("subjects", wanted.subjects.join(" "), found.subjects.join(" "))
        .or_else(|| differs("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention)))
        .or_else(|| differs("discard", format!("{:?}", wanted.discard), format!("{:?}", found.discard)))
        .or_else(|| differs("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage)))
        .or_else(|| differs("num_replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string()))
        .or_else(|| differs("max_msgs", wanted.max_messages.to_string(), found.max_messages.to_string()))
        .or_else(|| differs("max_bytes", wanted.max_bytes.to_string(), found.max_bytes.to_string()))
        .or_else(|| differs("max_age", format!("{:?}", wanted.max_age), format!("{:?}", found.max_age)))
        .or_else(|| differs("sealed", wanted.sealed.to_string(), found.sealed.to_string()))
}
