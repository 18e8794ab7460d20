//! The connection to NATS, and requests to it.

pub(crate) mod access;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{Request, RequestError, RequestErrorKind};
use async_nats::connection::State;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, Context, ErrorCode, context};
use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use linger_base::random_u32;
use linger_config::NatsConfig;

use crate::nats::names::NatsNames;
use crate::{LimitKind, StoreError};

/// How long the first connection is tried for: servers that start together with the host come up meanwhile.
const FIRST: Duration = Duration::from_secs(10);

/// The longest that is waited before something is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// So many tries take about two seconds.
const PATIENT: u32 = 9;

/// What to do about a NATS without room.
const ROOM: &str = "each stream reserves `queues.max_bytes` or `topics.keep_bytes` of its store";

/// A connection that makes itself anew.
pub(crate) struct NatsClient {
    pub(crate) client: Client,
    pub(crate) js: Context,
    pub(crate) names: NatsNames,
    pub(crate) config: NatsConfig,
    /// Counts the connections that were made.
    connections: watch::Receiver<u64>,
}

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum NatsError {
    /// It may be done when it is tried again.
    Passing(String),
    /// Nobody at NATS listens to that: there is no such stream, or it has no leader.
    Unheard,
    /// It was not answered in time: NATS is slow, or only somebody else listens to that.
    Silent,
    /// NATS does not want it.
    Refused(jetstream::Error),
    /// It cannot be.
    Lasting(StoreError),
}

impl NatsClient {
    /// Connects, and fails with a sentence.
    pub(crate) async fn connect(config: NatsConfig) -> Result<Self, String> {
        let (made, connections) = watch::channel(0);
        let client = access::connect(&config, Instant::now() + FIRST, Arc::new(made)).await?;
        let (js, names) = (jetstream::new(client.clone()), NatsNames::new(&config.prefix));
        let servers = config.servers.join(", ");
        let link = Self { client, js, names, config, connections };
        let asked = link.persist(Instant::now() + FIRST, || link.ask::<IgnoredAny>("INFO")).await;
        asked.map_err(|error| {
            format!("{error}; NATS at {servers} needs JetStream (`nats-server -js`), and this user needs permission to use it")
        })?;
        Ok(link)
    }

    /// Whether there is a connection now.
    pub(crate) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Tells of each new connection from now on.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        let mut connections = self.connections.clone();
        connections.mark_unchanged();
        connections
    }

    /// Tries until it is done, or until then.
    pub(crate) async fn persist<T, F>(&self, until: Instant, attempt: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, NatsError>>,
    {
        let (mut count, mut last) = (0, "it is not connected".to_owned());
        loop {
            let done = async {
                self.wait_until_up().await;
                attempt().await
            };
            let done = tokio::select! {
                done = done => done,
                () = sleep_until(until) => return Err(late(&last)),
            };
            match done {
                Ok(done) => return Ok(done),
                Err(trouble) => last = trouble.passing()?,
            }
            let again = Instant::now() + pause(count);
            if again >= until {
                return Err(late(&last));
            }
            sleep_until(again).await;
            count += 1;
        }
    }

    async fn wait_until_up(&self) {
        let mut connections = self.connections();
        while !self.is_up() {
            // What comes between the look and the wait is not missed: the wait is bounded.
            let _ = tokio::time::timeout(LONGEST_PAUSE, connections.changed()).await;
        }
    }

    /// Asks the interface of `JetStream` for something.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, subject: &str) -> Result<T, NatsError> {
        self.api(subject, &serde_json::Map::new()).await
    }

    /// Asks the interface of `JetStream`.
    pub(crate) async fn api<T: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &(impl Serialize + ?Sized + Sync),
    ) -> Result<T, NatsError> {
        let asked: Result<Response<T>, _> = self.js.request(subject.to_owned(), payload).await;
        match asked {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(NatsError::of(error)),
            Err(error) if error.kind() == context::RequestErrorKind::TimedOut => Err(NatsError::Silent),
            Err(error) => Err(NatsError::Passing(error.to_string())),
        }
    }

    /// A name that no other message has.
    pub(crate) fn message_id(&self) -> String {
        let inbox = self.client.new_inbox();
        inbox.rsplit('.').next().unwrap_or_default().to_owned()
    }

    /// Sends an event to its stream, once, and gives its number there.
    pub(crate) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        data: Bytes,
    ) -> Result<u64, NatsError> {
        let size = data.len();
        let request = Request::new().headers(headers).payload(data);
        let answer = self
            .client
            .send_request(subject.to_owned(), request)
            .await
            .map_err(|error| self.unsent(&error, size))?;
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::Ok(PublishAck { sequence, .. })) => Ok(sequence),
            // Here, and only here, that is for want of room.
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::INSUFFICIENT_RESOURCES => {
                Err(NatsError::no_room(&error))
            }
            Ok(Response::Err { error }) => Err(NatsError::of(error)),
            Err(error) => Err(NatsError::Passing(format!("NATS sent a malformed response: {error}"))),
        }
    }

    fn unsent(&self, error: &RequestError, size: usize) -> NatsError {
        if error.kind() == RequestErrorKind::MaxPayloadExceeded {
            // What it says counts headers in.
            let limit = self.client.max_payload().min(size.saturating_sub(1)) as u64;
            return NatsError::Lasting(StoreError::TooLarge { limit });
        }
        match error.kind() {
            RequestErrorKind::NoResponders => NatsError::Unheard,
            RequestErrorKind::TimedOut => NatsError::Silent,
            _ => NatsError::Passing(error.to_string()),
        }
    }

    /// Answers a message that was handed out, once, and waits until NATS has heard that.
    pub(crate) async fn acknowledge(&self, reply: &Subject, answer: Bytes) -> Result<(), NatsError> {
        match self.client.request(reply.clone(), answer).await {
            Ok(_) => Ok(()),
            Err(error) => Err(NatsError::Passing(error.to_string())),
        }
    }
}

impl NatsError {
    /// What NATS says is a limit, a matter of time, or its last word.
    fn of(error: jetstream::Error) -> Self {
        let text = error.to_string();
        let reached = [("maximum messages", LimitKind::Events), ("maximum bytes", LimitKind::Bytes)];
        if let Some((_, limit)) = reached.into_iter().find(|(part, _)| text.contains(part)) {
            return Self::Lasting(StoreError::OverLimit(limit));
        }
        let full = [
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
            ErrorCode::MEMORY_RESOURCES_EXCEEDED,
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ];
        if full.contains(&error.error_code()) || text.contains("no space left") {
            return Self::no_room(&error);
        }
        // Too few servers of a cluster are there, or they are asked for too much at once.
        let later = [ErrorCode::CLUSTER_NO_PEERS, ErrorCode::CLUSTER_NOT_LEADER, ErrorCode::STREAM_OFFLINE];
        match error.code() == 503 || later.contains(&error.error_code()) {
            // Those that are there have no room. Others may come.
            true if text.contains("insufficient") => Self::Passing(format!("{text}; {ROOM}")),
            true => Self::Passing(text),
            false => Self::Refused(error),
        }
    }

    /// What is to be said of it, if it may be done when it is tried again; otherwise the error.
    pub(crate) fn passing(self) -> Result<String, StoreError> {
        match self {
            Self::Passing(text) => Ok(text),
            Self::Unheard => Ok("the stream does not exist, or has no leader".to_owned()),
            Self::Silent => Ok("it does not respond".to_owned()),
            Self::Refused(error) => Err(Self::refused(&error)),
            Self::Lasting(error) => Err(error),
        }
    }

    pub(crate) fn refused(error: &jetstream::Error) -> StoreError {
        StoreError::Unavailable(format!("NATS: {error}").into())
    }

    /// What who waits should be warned of, after so many tries. A cluster may take a moment, and silence is told elsewhere.
    pub(crate) fn warning(&self, tries: u32) -> Option<String> {
        match self {
            Self::Refused(error) => Some(error.to_string()),
            Self::Passing(text) if tries >= PATIENT => Some(text.clone()),
            _ => None,
        }
    }

    fn no_room(error: &jetstream::Error) -> Self {
        Self::Lasting(StoreError::Unavailable(format!("NATS is out of storage: {error}; {ROOM}").into()))
    }
}

fn late(last: &str) -> StoreError {
    StoreError::Unavailable(format!("NATS did not respond in time: {last}").into())
}

/// How long to wait before the next try: longer each time, and not at the same time as others.
pub(crate) fn pause(tries: u32) -> Duration {
    let longest = Duration::from_millis(10).saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + f64::from(random_u32()) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_may_do_later_is_tried_again() {
        for (code, number, text, passes) in [
            (503, 10008, "JetStream system temporarily unavailable", true),
            (503, 10023, "insufficient resources", true),
            (400, 10005, "no suitable peers for placement", true),
            (400, 10005, "no suitable peers for placement, insufficient storage", true),
            (500, 10047, "insufficient storage resources available", false),
            (500, 10074, "replicas > 1 not supported in non-clustered mode", false),
        ] {
            let said = serde_json::json!({ "code": code, "err_code": number, "description": text });
            let trouble = NatsError::of(serde_json::from_value(said).unwrap());
            assert_eq!(matches!(trouble, NatsError::Passing(_)), passes, "{trouble:?}");
            // Want of room is told with the remedy.
            let said = trouble.passing().unwrap_or_else(|error| error.to_string());
            assert_eq!(said.contains("`queues.max_bytes`"), text.contains("insufficient"), "{said}");
        }
    }
}
