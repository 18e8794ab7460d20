//! The spans of a request: one begins with it, and the others are made when it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request, StatusCode, Version};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use linger_base::{ClientAddress, Outcome, Reason};
use linger_net::Receipt;

use super::labels::{self, EndingLabels};

/// Waits of one request that get a span. Of further ones only the number is told.
const MAX_WAITS: usize = 64;

/// Begins the spans of requests.
#[derive(Debug)]
pub struct RequestTracer(SdkTracer);

/// The data of a request for its spans.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: SdkTracer,
    /// Of the request's own span, which its guest is told of.
    context: SpanContext,
    began: Instant,
    /// When that was by the machine's clock, which the spans of others go by.
    since: SystemTime,
    /// None: it is not recorded, so nothing is noted.
    noted: Option<Mutex<TraceNotes>>,
}

#[derive(Debug)]
struct TraceNotes {
    span: Span,
    /// When all of the response was with hyper.
    passed: Option<Instant>,
    /// When the request ended, but for its receipt.
    ended: Option<Instant>,
    waits: Vec<TimedWait>,
    /// Waits that there was no room for.
    further: usize,
}

/// Where a guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitPoint {
    /// A queue.
    Queue,
    /// A topic.
    Topic,
}

#[derive(Debug)]
struct TimedWait {
    place: WaitPoint,
    name: String,
    began: Instant,
    ended: Option<Instant>,
    arrived: bool,
}

/// How a request ended, and what served it.
pub struct TraceEnd<'a> {
    /// The app that served it.
    pub app: &'a Arc<str>,
    /// The number of its generation.
    pub generation: u64,
    /// The name of the request, as the log has it.
    pub request: &'a dyn fmt::Display,
    /// When its head was parsed.
    pub began: Instant,
    /// How long it waited for an instance. None if it had none.
    pub queued: Option<Duration>,
    /// The reason of its cancellation, if there was one.
    pub cancelled: Option<Reason>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The receipt of its response, if there is one.
    pub receipt: Option<Receipt>,
    /// The status of its response, if there was one.
    pub status: Option<StatusCode>,
    /// When the head of its response came.
    pub head: Option<Instant>,
    /// The bytes of its body that were sent.
    pub bytes: u64,
}

impl RequestTracer {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Begins the span of a request, in the trace that its headers name or in a new one. From here on they name the new
    /// span. `route` is the path of the route that it took; its URI is absolute.
    pub fn begin<B>(
        &self,
        request: &mut Request<B>,
        route: &Arc<str>,
        client: Option<ClientAddress>,
    ) -> Box<RequestTrace> {
        let parent =
            TraceContextPropagator::new().extract_with_context(&none(), &HeaderExtractor(request.headers()));
        let (began, since) = (Instant::now(), now());
        let builder = SpanBuilder::from_name("").with_kind(SpanKind::Server).with_start_time(since);
        let mut span = self.0.build_with_context(builder, &parent);
        let context = span.span_context().clone();
        let noted = span.is_recording().then(|| {
            describe(&mut span, request, route, client);
            Mutex::new(TraceNotes { span, passed: None, ended: None, waits: Vec::new(), further: 0 })
        });
        let trace = Box::new(RequestTrace { tracer: self.0.clone(), context, began, since, noted });
        trace.name_in(request.headers_mut());
        trace
    }
}

/// What is known of a request at once, by the conventions of OpenTelemetry. Not its query, which often holds a secret.
fn describe<B>(span: &mut Span, request: &Request<B>, route: &Arc<str>, client: Option<ClientAddress>) {
    let (method, uri) = (labels::method(request.method()), request.uri());
    span.update_name(format!("{} {route}", if method == "_OTHER" { "HTTP" } else { method }));
    let mut set =
        |key: &'static str, value: opentelemetry::Value| span.set_attribute(KeyValue::new(key, value));
    set("http.request.method", method.into());
    if method == "_OTHER" {
        set("http.request.method_original", request.method().to_string().into());
    }
    set("http.route", route.clone().into());
    set("url.path", uri.path().to_owned().into());
    set("url.scheme", if uri.scheme_str() == Some("https") { "https" } else { "http" }.into());
    set("network.protocol.version", version(request.version()).into());
    if let Some(host) = uri.host() {
        set("server.address", host.to_owned().into());
    }
    if let Some(port) = uri.port_u16() {
        set("server.port", i64::from(port).into());
    }
    if let Some(client) = client {
        set("client.address", client.ip.to_string().into());
        client.port.inspect(|&port| set("client.port", i64::from(port).into()));
    }
    let agent = request.headers().get(http::header::USER_AGENT);
    if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
        set("user_agent.original", agent.to_owned().into());
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

impl RequestTrace {
    /// The trace's name.
    pub fn id(&self) -> TraceId {
        self.context.trace_id()
    }

    /// Whether spans are made of it.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.noted.is_some()
    }

    /// Has headers name the request's span, as W3C Trace Context says.
    pub fn name_in(&self, headers: &mut HeaderMap) {
        let context = none().with_remote_span_context(self.context.clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
        if self.context.trace_state().header().is_empty() {
            headers.remove("tracestate");
        }
    }

    /// Notes that all of the response is with hyper.
    pub fn mark_passed_on(&self) {
        if let Some(mut noted) = self.noted() {
            noted.passed.get_or_insert_with(Instant::now);
        }
    }

    /// Notes that the request has ended, but for its receipt.
    pub fn mark_ended(&self) {
        if let Some(mut noted) = self.noted() {
            noted.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Notes that the guest begins to wait, and gives the number of the wait.
    pub fn begin_wait(&self, place: WaitPoint, name: &str) -> usize {
        let Some(mut noted) = self.noted() else { return MAX_WAITS };
        if noted.waits.len() == MAX_WAITS {
            noted.further += 1;
            return MAX_WAITS;
        }
        let wait =
            TimedWait { place, name: name.to_owned(), began: Instant::now(), ended: None, arrived: false };
        noted.waits.push(wait);
        noted.waits.len() - 1
    }

    /// Notes that a wait has ended, and whether with an event.
    pub fn end_wait(&self, number: usize, arrived: bool) {
        if let Some(mut noted) = self.noted()
            && let Some(wait) = noted.waits.get_mut(number)
        {
            (wait.ended, wait.arrived) = (Some(Instant::now()), arrived);
        }
    }

    /// Makes the spans. All is known of the request, its receipt included.
    pub fn finish(&self, how: &TraceEnd<'_>) {
        let Some(mut noted) = self.noted() else { return };
        let now = Instant::now();
        let ended = noted.ended.unwrap_or(now);
        let handed_over = how.queued.map(|queued| how.began + queued);
        self.child("queue", &self.context, (how.began, handed_over.unwrap_or(ended)), Vec::new());
        if let Some(handed_over) = handed_over {
            self.guest(&mut noted, handed_over, ended, how);
        }
        if let Some(receipt) = how.receipt {
            self.child("receipt", &self.context, (ended, now), vec![receipt_of(receipt)]);
        }
        conclude(&mut noted, how);
        noted.span.end_with_timestamp(self.at(ended));
    }

    /// The guest's span, and those of its waits.
    fn guest(&self, noted: &mut TraceNotes, from: Instant, ended: Instant, how: &TraceEnd<'_>) {
        let to = noted.passed.unwrap_or(ended);
        let mut guest = self.begin("guest", &self.context, from, Vec::new());
        if let Some(head) = how.head {
            guest.add_event_with_timestamp("head", self.at(head), Vec::new());
        }
        if matches!(how.outcome, Outcome::Failed { .. }) {
            guest.set_status(Status::error(""));
        }
        for wait in noted.waits.drain(..) {
            let place = match wait.place {
                WaitPoint::Queue => "linger.queue",
                WaitPoint::Topic => "linger.topic",
            };
            let attributes =
                vec![KeyValue::new(place, wait.name), KeyValue::new("linger.arrived", wait.arrived)];
            // A guest that waits on is given nothing any more.
            let times = (wait.began, wait.ended.unwrap_or(ended).min(ended).max(wait.began));
            self.child("wait", guest.span_context(), times, attributes);
        }
        guest.end_with_timestamp(self.at(to));
    }

    fn child(
        &self,
        name: &'static str,
        parent: &SpanContext,
        (from, to): (Instant, Instant),
        attributes: Vec<KeyValue>,
    ) {
        self.begin(name, parent, from, attributes).end_with_timestamp(self.at(to));
    }

    fn begin(
        &self,
        name: &'static str,
        parent: &SpanContext,
        from: Instant,
        attributes: Vec<KeyValue>,
    ) -> Span {
        let builder = SpanBuilder::from_name(name).with_start_time(self.at(from)).with_attributes(attributes);
        self.tracer.build_with_context(builder, &none().with_remote_span_context(parent.clone()))
    }

    fn at(&self, time: Instant) -> SystemTime {
        self.since + time.saturating_duration_since(self.began)
    }

    fn noted(&self) -> Option<MutexGuard<'_, TraceNotes>> {
        Some(self.noted.as_ref()?.lock())
    }
}

/// What is known of a request when it has ended, in the words of the metrics and of the log.
fn conclude(noted: &mut TraceNotes, how: &TraceEnd<'_>) {
    let TraceNotes { span, further, .. } = noted;
    let EndingLabels { outcome, reason } = EndingLabels::new(how.outcome, how.cancelled);
    span.set_attributes([
        KeyValue::new("linger.app", how.app.clone()),
        KeyValue::new("linger.generation", i64::try_from(how.generation).unwrap_or(i64::MAX)),
        KeyValue::new("linger.request", how.request.to_string()),
        KeyValue::new("linger.outcome", outcome),
        KeyValue::new("http.response.body.size", i64::try_from(how.bytes).unwrap_or(i64::MAX)),
    ]);
    if reason != "none" {
        span.set_attribute(KeyValue::new("linger.reason", reason));
    }
    if let Some(receipt) = how.receipt {
        span.set_attribute(receipt_of(receipt));
    }
    if *further > 0 {
        let further = i64::try_from(*further).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("linger.further_waits", further));
    }
    if let Some(status) = how.status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }
    let error = match how.status {
        Some(status) if status.is_server_error() => Some(status.as_str().to_owned()),
        _ if matches!(how.outcome, Outcome::Failed { .. }) => Some(outcome.to_owned()),
        _ => None,
    };
    if let Some(error) = error {
        span.set_attribute(KeyValue::new("error.type", error));
        span.set_status(Status::error(""));
    }
}

fn receipt_of(receipt: Receipt) -> KeyValue {
    KeyValue::new("linger.receipt", receipt.as_str())
}

/// No span is ever that of a thread: many requests share one.
fn none() -> Context {
    Context::new()
}

#[expect(clippy::disallowed_methods, reason = "only where a request begins; all else goes on from there")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
