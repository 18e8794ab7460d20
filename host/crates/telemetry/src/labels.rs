//! The labels of metrics. Each has few values: nothing that a client or a guest chooses becomes one.

use std::sync::Arc;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;

use linger_base::{Outcome, Reason};
use linger_net::Receipt;

/// Of one app.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfApp {
    pub(super) app: Arc<str>,
}

/// Of one app, and one kind of what is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OfKind<K> {
    pub(super) app: Arc<str>,
    pub(super) kind: K,
}

/// What is counted apart, and under which label.
pub(super) trait LabelKind: Copy {
    /// The name of the label.
    const LABEL: &'static str;
    fn value(self) -> &'static str;
}

impl<K: LabelKind + std::fmt::Debug> EncodeLabelSet for OfKind<K> {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        [("app", &*self.app), (K::LABEL, self.kind.value())].encode(encoder)
    }
}

/// An answer, as OpenTelemetry names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResponseLabels {
    pub(super) app: Arc<str>,
    pub(super) http_request_method: &'static str,
    pub(super) http_response_status_code: u16,
}

/// The methods that have names of their own, by the conventions of OpenTelemetry.
pub(super) fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// A status that is registered, or what stands for those of its class.
pub(super) fn status(status: StatusCode) -> u16 {
    if status.canonical_reason().is_some() { status.as_u16() } else { status.as_u16() / 100 * 100 }
}

/// The outcome of a request, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndingLabels {
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
}

impl EndingLabels {
    /// What is counted of an outcome, and of the reason why its guest was told to stop, if it was.
    #[must_use]
    pub fn new(outcome: Outcome, cancelled: Option<Reason>) -> Self {
        let (outcome, reason) = match outcome {
            Outcome::Delivered => ("delivered", cancelled),
            Outcome::Lost { reason, .. } => ("lost", Some(reason)),
            Outcome::Failed { .. } => ("failed", cancelled),
        };
        let reason = reason.filter(|&reason| reason != Reason::Completed);
        Self { outcome, reason: reason.map_or("none", Reason::as_str) }
    }
}

/// How a request ended, of one app.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppEnding {
    pub(super) app: Arc<str>,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
}

impl LabelKind for Reason {
    const LABEL: &'static str = "reason";

    fn value(self) -> &'static str {
        self.as_str()
    }
}

impl LabelKind for Receipt {
    const LABEL: &'static str = "receipt";

    fn value(self) -> &'static str {
        self.as_str()
    }
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident, $label:literal: $($(#[$value_doc:meta])* $value:ident = $text:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value),* }

        impl LabelKind for $name {
            const LABEL: &'static str = $label;

            fn value(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
        }
    };
}

kinds! {
    /// Why the host sent an error response, or cut a response off.
    Failure, "failure":
        /// The guest trapped.
        Trapped = "trapped",
        /// No instance started.
        NotStarted = "not-started",
        /// The guest returned an error, or no response.
        NoAnswer = "no-answer",
        /// Its response was not valid in HTTP.
        Invalid = "invalid-answer",
        /// It did not respond within `grace`.
        GaveUp = "gave-up",
        /// Its response was cut off.
        BrokeOff = "broke-off",
}

kinds! {
    /// A limit that was reached. Each has the name of its key.
    Reached, "limit":
        /// A connection had to wait.
        Connections = "limits.max_connections",
        /// A connection was closed.
        ConnectionsPerClient = "limits.max_connections_per_client",
        /// A request was refused.
        Requests = "limits.max_requests",
        /// A request was refused.
        RequestsPerClient = "limits.max_requests_per_client",
        /// A connection has as many streams as it may.
        Streams = "limits.max_streams_per_connection",
        /// A head was refused.
        HeadSize = "limits.max_head_size",
        /// A head was refused.
        Headers = "limits.max_headers",
        /// A request was refused.
        AppRequests = "apps.max_requests",
        /// A request was refused, because no buffer space is left for its body.
        BodyBuffers = "limits.max_body_buffers",
        /// The same.
        BodyBuffersPerApp = "limits.max_body_buffers_per_app",
        /// The same.
        BodyBuffersPerClient = "limits.max_body_buffers_per_client",
        /// A request body arrived too slowly: `body_timeout`, or `min_body_rate`.
        BodyTimeout = "limits.body_timeout",
        /// `instances.max` and `max_queued`, or `queue_timeout`.
        Instances = "instances",
        /// The data that the host buffers for an instance reached its limit.
        InstanceMemory = "instances.max_memory",
        /// A line of a guest was dropped.
        LogLines = "max_log_lines",
        /// A push was refused.
        QueueEvents = "queues.max_events",
        /// A push was refused.
        QueueBytes = "queues.max_bytes",
        /// A push was refused.
        QueueTotalBytes = "queues.max_total_bytes",
        /// A push was refused.
        QueueEventSize = "queues.max_event_size",
        /// A push or a take was refused.
        QueueNames = "queues.max_queues",
        /// A take was refused.
        QueueWaiters = "queues.max_waiters",
        /// A take was refused.
        Deliveries = "queues.max_deliveries_per_request",
        /// A publish was refused.
        TopicTotalBytes = "topics.max_total_bytes",
        /// A publish was refused.
        TopicEventSize = "topics.max_event_size",
        /// A publish or a read was refused.
        TopicNames = "topics.max_topics",
        /// A read was refused.
        TopicWaiters = "topics.max_waiters",
}

kinds! {
    /// The result of a deploy.
    Deploy, "result":
        /// It serves, all requests or some.
        Served = "served",
        /// It was refused before it served.
        Refused = "refused",
        /// It was rolled back automatically, or discarded as a canary.
        TakenBack = "taken-back",
        /// An operator rolled back to the previous generation.
        RolledBack = "rolled-back",
}

kinds! {
    /// The result of a reload.
    Reload, "result":
        /// The configuration is applied.
        Done = "done",
        /// The old configuration stays.
        Refused = "refused",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_and_guests_choose_has_few_names() {
        assert_eq!(method(&Method::GET), "GET");
        assert_eq!(method(&"BREW".parse().unwrap()), "_OTHER");
        assert_eq!(status(StatusCode::NOT_FOUND), 404);
        assert_eq!(status(StatusCode::from_u16(599).unwrap()), 500);
    }

    #[test]
    fn ending_names_why_the_guest_was_told() {
        let ending = |outcome, cancelled| {
            let EndingLabels { outcome, reason } = EndingLabels::new(outcome, cancelled);
            (outcome, reason)
        };
        let lost = Outcome::Lost { reason: Reason::Reset, maybe_delivered: false };
        assert_eq!(ending(Outcome::Delivered, Some(Reason::Completed)), ("delivered", "none"));
        assert_eq!(ending(Outcome::Delivered, Some(Reason::Replaced)), ("delivered", "replaced"));
        assert_eq!(ending(lost, None), ("lost", "reset"));
    }
}
