//! Metrics that are counted as events happen.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use linger_base::{ClientAddress, Reason};
use linger_events::StoreError;
use linger_net::Receipt;

use super::WaitPoint;
use super::handles::MetricHandles;
use super::labels::{
    self, AppEnding, Deploy, EndingLabels, Failure, OfApp, OfKind, Reached, Reload, ResponseLabels,
};
use super::reached::LimitNotices;

/// Seconds from the quick answer of a warm instance to the longest poll that clients and proxies wait for.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0];

type TimeHistogram<L> = Family<L, Histogram, fn() -> Histogram>;

/// The counters of all apps. Clones share one state.
#[derive(Clone)]
pub struct Metrics {
    duration: TimeHistogram<ResponseLabels>,
    ended: Family<AppEnding, Counter>,
    failures: Family<OfKind<Failure>, Counter>,
    receipts: Family<OfKind<Receipt>, Counter>,
    cancelled: TimeHistogram<OfKind<Reason>>,
    stopped: TimeHistogram<OfKind<Reason>>,
    traps: Family<OfApp, Counter>,
    retries: Family<OfApp, Counter>,
    started: Family<OfApp, Counter>,
    reached: Family<OfKind<Reached>, Counter>,
    /// Says that limits of the whole server are reached.
    teller: Arc<LimitNotices>,
    refused: Family<[(&'static str, u16); 1], Counter>,
    deploys: Family<OfKind<Deploy>, Counter>,
    reloads: Family<OfKind<Reload>, Counter>,
    /// Connections that were accepted.
    pub connections: Counter,
    /// Spans of traces.
    pub(super) spans: SpanMetrics,
}

/// What is counted of spans.
#[derive(Clone, Debug, Default)]
pub(super) struct SpanMetrics {
    fates: Family<[(&'static str, &'static str); 1], Counter>,
    /// Batches that the collector did not take.
    pub(super) failed_exports: Counter,
}

/// What became of a span.
#[derive(Clone, Copy, Debug)]
pub(super) enum SpanFate {
    /// The collector has it.
    Exported,
    /// The queue was full.
    Dropped,
    /// The collector did not accept it.
    Failed,
}

impl SpanMetrics {
    /// Counts so many.
    pub(super) fn count(&self, fate: SpanFate, spans: usize) {
        let fate = match fate {
            SpanFate::Exported => "exported",
            SpanFate::Dropped => "dropped",
            SpanFate::Failed => "failed",
        };
        self.fates.get_or_create(&[("fate", fate)]).inc_by(spans as u64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            duration: times(),
            ended: Family::default(),
            failures: Family::default(),
            receipts: Family::default(),
            cancelled: times(),
            stopped: times(),
            traps: Family::default(),
            retries: Family::default(),
            started: Family::default(),
            reached: Family::default(),
            teller: Arc::default(),
            refused: Family::default(),
            deploys: Family::default(),
            reloads: Family::default(),
            connections: Counter::default(),
            spans: SpanMetrics::default(),
        }
    }
}

fn times<L: Clone + std::hash::Hash + Eq>() -> TimeHistogram<L> {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

impl Metrics {
    /// The metrics of one app.
    #[must_use]
    pub fn of_app(&self, app: &str) -> Arc<AppMetrics> {
        let app: Arc<str> = app.into();
        let of_app = OfApp { app: app.clone() };
        Arc::new(AppMetrics {
            retries: self.retries.get_or_create_owned(&of_app),
            traps: self.traps.get_or_create_owned(&of_app),
            started: self.started.get_or_create_owned(&of_app),
            endings: MetricHandles::default(),
            answers: MetricHandles::default(),
            teller: LimitNotices::default(),
            all: self.clone(),
            app,
        })
    }

    /// Counts a limit of the whole server that was reached, and says so, once a minute.
    pub fn record_reached(&self, limit: Reached) {
        self.reached_by(limit, None);
    }

    /// The same for a limit that this client has reached.
    pub fn reached_by(&self, limit: Reached, client: Option<ClientAddress>) {
        self.reached.get_or_create(&OfKind { app: "".into(), kind: limit }).inc();
        self.teller.tell(limit, None, client);
    }

    /// The same if a queue or a topic refused something for a limit.
    pub fn record_events_refused(&self, place: WaitPoint, error: &StoreError) {
        if let Some(limit) = Reached::of_events(place, error) {
            self.record_reached(limit);
        }
    }

    /// Counts an answer of the host to a request that went to no app.
    pub fn record_refusal(&self, status: StatusCode) {
        self.refused.get_or_create(&[("status", status.as_u16())]).inc();
    }

    /// Counts a reload of the configuration.
    pub fn record_reload(&self, result: Reload) {
        self.reloads.get_or_create(&OfKind { app: "".into(), kind: result }).inc();
    }

    /// Adds all metrics to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "http_server_request_duration",
            "Time from the request head to the end of the response",
            Unit::Seconds,
            self.duration.clone(),
        );
        let linger = registry.sub_registry_with_prefix("linger");
        linger.register_with_unit(
            "cancellation",
            "Time from the request head to the cancellation of its guest",
            Unit::Seconds,
            self.cancelled.clone(),
        );
        linger.register_with_unit(
            "stop",
            "Time from the cancellation of a guest to the end of its call",
            Unit::Seconds,
            self.stopped.clone(),
        );
        linger.register(
            "requests",
            "Requests by outcome, and by the reason of their cancellation",
            self.ended.clone(),
        );
        linger.register(
            "request_failures",
            "Failed requests: error responses of the host, and responses that were cut off",
            self.failures.clone(),
        );
        linger.register("receipts", "Responses with events, by receipt", self.receipts.clone());
        linger.register("traps", "Guests that trapped or were stopped", self.traps.clone());
        linger.register(
            "request_retries",
            "Requests that were replayed because their instance trapped",
            self.retries.clone(),
        );
        linger.register("instances_started", "Started instances", self.started.clone());
        linger.register("limits_reached", "Times that a limit was reached", self.reached.clone());
        linger.register(
            "requests_refused",
            "Requests that the host rejected before they reached an app, by status",
            self.refused.clone(),
        );
        linger.register("deploys", "Deploys by result", self.deploys.clone());
        linger.register("reloads", "Configuration reloads by result", self.reloads.clone());
        linger.register("connections_accepted", "Accepted connections", self.connections.clone());
        linger.register("spans", "Trace spans by result", self.spans.fates.clone());
        linger.register(
            "span_exports_failed",
            "Batches of spans that the collector did not accept",
            self.spans.failed_exports.clone(),
        );
    }
}

/// The metrics of one app.
pub struct AppMetrics {
    /// Its name.
    pub app: Arc<str>,
    /// Requests that were replayed because their instance trapped.
    pub retries: Counter,
    /// Guests that trapped or were stopped.
    pub traps: Counter,
    /// Instances that were started.
    pub started: Counter,
    endings: MetricHandles<EndingLabels, Counter>,
    answers: MetricHandles<(&'static str, u16), Histogram>,
    teller: LimitNotices,
    all: Metrics,
}

impl std::fmt::Debug for AppMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AppMetrics").field(&self.app).finish()
    }
}

impl AppMetrics {
    /// Counts a request that has ended.
    pub fn record_ending(&self, ending: EndingLabels) {
        let EndingLabels { outcome, reason } = ending;
        let labels = || AppEnding { app: self.app.clone(), outcome, reason };
        let family = &self.all.ended;
        match self.endings.get(ending, || family.get_or_create_owned(&labels())) {
            Some(counter) => counter.inc(),
            None => family.get_or_create(&labels()).inc(),
        };
    }

    /// Counts a response that has ended.
    pub fn record_response(&self, method: &Method, status: StatusCode, took: Duration) {
        let (method, status) = (labels::method(method), labels::status(status));
        let labels = || ResponseLabels {
            app: self.app.clone(),
            http_request_method: method,
            http_response_status_code: status,
        };
        let (family, took) = (&self.all.duration, took.as_secs_f64());
        match self.answers.get((method, status), || family.get_or_create_owned(&labels())) {
            Some(histogram) => histogram.observe(took),
            None => family.get_or_create(&labels()).observe(took),
        }
    }

    /// Counts a request whose guest did not answer, or not to the end.
    pub fn record_failure(&self, failure: Failure) {
        self.all.failures.get_or_create(&self.of(failure)).inc();
    }

    /// Counts what the kernel said of a response with events.
    pub fn record_receipt(&self, receipt: Receipt) {
        let receipt = match receipt {
            Receipt::Undelivered { .. } => Receipt::Undelivered { maybe_delivered: false },
            other => other,
        };
        self.all.receipts.get_or_create(&self.of(receipt)).inc();
    }

    /// Counts a guest that was told to stop, so long after its request had come.
    pub fn record_cancelled(&self, reason: Reason, after: Duration) {
        self.all.cancelled.get_or_create(&self.of(reason)).observe(after.as_secs_f64());
    }

    /// Counts a guest whose call has ended, so long after it was told to stop.
    pub fn record_stopped(&self, reason: Reason, after: Duration) {
        self.all.stopped.get_or_create(&self.of(reason)).observe(after.as_secs_f64());
    }

    /// Counts a limit of the app that was reached, and says so, once a minute.
    pub fn record_reached(&self, limit: Reached) {
        self.reached_by(limit, None);
    }

    /// The same for a limit that this client has reached.
    pub fn reached_by(&self, limit: Reached, client: Option<ClientAddress>) {
        self.all.reached.get_or_create(&self.of(limit)).inc();
        self.teller.tell(limit, Some(&self.app), client);
    }

    /// The same if a queue or a topic refused something for a limit.
    pub fn record_events_refused(&self, place: WaitPoint, error: &StoreError) {
        if let Some(limit) = Reached::of_events(place, error) {
            self.record_reached(limit);
        }
    }

    /// The same for a limit of the whole server.
    pub fn server_reached_by(&self, limit: Reached, client: Option<ClientAddress>) {
        self.all.reached_by(limit, client);
    }

    /// Counts a deploy.
    pub fn record_deploy(&self, result: Deploy) {
        self.all.deploys.get_or_create(&self.of(result)).inc();
    }

    fn of<K>(&self, kind: K) -> OfKind<K> {
        OfKind { app: self.app.clone(), kind }
    }
}
