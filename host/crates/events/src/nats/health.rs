//! The health of NATS, and the requests that it has lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Message;
use futures::StreamExt as _;
use serde::de::IgnoredAny;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::StoreConnection;
use crate::nats::NatsContext;
use crate::nats::client::NatsError;
use crate::nats::names::StreamKind;
use crate::nats::queue::notes::HandoutMark;
use crate::nats::stream::CONSUMER;

/// How often NATS is asked how it is.
const ROUND: Duration = Duration::from_secs(2);

/// What is known of how NATS is.
pub(crate) struct NatsHealth {
    trouble: watch::Sender<Option<String>>,
    /// Requests for events that NATS has of this host.
    pub(crate) requests: AtomicUsize,
}

impl Default for NatsHealth {
    fn default() -> Self {
        Self { trouble: watch::Sender::new(None), requests: AtomicUsize::new(0) }
    }
}

impl NatsContext {
    /// Why nothing can be stored now, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.link.is_up() {
            self.health.trouble.borrow().clone()
        } else {
            Some("NATS is not connected".to_owned())
        }
    }

    pub(crate) fn linked(&self) -> StoreConnection {
        StoreConnection {
            is_ready: self.trouble().is_none(),
            connections: *self.link.connections().borrow(),
            requests: self.health.requests.load(Ordering::Relaxed),
            followed: self.topics.lock().followed(),
        }
    }

    /// Asks NATS how it is, for as long as it is polled.
    pub(crate) async fn watch_health(self: Arc<Self>) {
        loop {
            sleep(ROUND).await;
            let trouble = match self.link.ask::<IgnoredAny>("INFO").await {
                Ok(_) => None,
                Err(NatsError::Unheard | NatsError::Silent) => Some("NATS does not respond".to_owned()),
                Err(NatsError::Passing(error)) => Some(format!("NATS does not respond: {error}")),
                Err(NatsError::Refused(error)) => Some(format!("NATS: {error}")),
                Err(NatsError::Lasting(error)) => Some(error.to_string()),
            };
            let changed = self.health.trouble.send_replace(trouble.clone());
            match (&changed, &trouble) {
                (None, Some(trouble)) => tracing::warn!("{trouble}"),
                (Some(_), None) => tracing::info!("NATS responds again"),
                _ => {}
            }
        }
    }

    /// A server that was lost may have been one that had not told others, or its disk, all that it had handed out.
    pub(crate) async fn watch_connections(self: Arc<Self>) {
        let mut connections = self.link.connections();
        while connections.changed().await.is_ok() {
            self.queues.lock().marks.values_mut().for_each(HandoutMark::suspect);
        }
    }

    /// Asks for events again where the leader of a consumer has changed: the new one knows of no request.
    pub(crate) async fn watch_leaders(self: Arc<Self>) {
        let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.*.{CONSUMER}");
        let mut elections = match self.link.client.subscribe(subject).await {
            Ok(elections) => elections,
            // Without them a request that was lost is found by its silence.
            Err(error) => return tracing::debug!("cannot subscribe to NATS leader elections: {error}"),
        };
        while let Some(Message { subject, .. }) = elections.next().await {
            let stream = subject.split('.').nth(5).unwrap_or_default();
            if let Some((StreamKind::Queue, queue)) = self.link.names.parse(stream) {
                self.lost(&queue);
            }
        }
    }
}
