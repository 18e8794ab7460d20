//! Metrics that are read when they are scraped.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use linger_base::permits::Permits;
use linger_deploy::Deployments;
use linger_events::EventStore;
use linger_telemetry::{Metrics, process};

/// All metrics, as text for Prometheus.
pub struct MetricsExposition(Registry);

/// What there is to look up. The apps may be gone before the metrics are.
struct LiveSources {
    deployments: Weak<Deployments>,
    events: Arc<dyn EventStore>,
    connections: Arc<Permits>,
}

impl MetricsExposition {
    /// All that is counted, and all that is looked up.
    #[must_use]
    pub fn new(
        metrics: &Metrics,
        deployments: &Arc<Deployments>,
        events: Arc<dyn EventStore>,
        connections: Arc<Permits>,
    ) -> Self {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let deployments = Arc::downgrade(deployments);
        registry.register_collector(Box::new(LiveSources { deployments, events, connections }));
        Self(registry)
    }

    /// The media type of the text.
    pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if prometheus_text::encode(&mut text, &self.0).is_err() {
            // A string takes all, so it is a collector that gave up.
            let _ = text.write_str("# incomplete: the rest is missing\n");
        }
        text
    }
}

impl fmt::Debug for LiveSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

/// Writes metrics one by one.
struct MetricsWriter<'a>(DescriptorEncoder<'a>);

impl MetricsWriter<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, values)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, values)
    }

    /// A metric with a value for each set of labels.
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        mut values: impl Iterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        values.try_for_each(|(labels, value)| value.encode(family.encode_family(&labels)?))
    }
}

impl Collector for LiveSources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = MetricsWriter(encoder);
        writer.gauges(
            "linger_build_info",
            "The running version",
            [([("version", env!("CARGO_PKG_VERSION"))], 1)],
        )?;
        writer.gauge("linger_connections", "Open client connections", count(self.connections.in_use()))?;
        self.encode_apps(&mut writer)?;
        self.encode_events(&mut writer)?;
        self.encode_link(&mut writer)?;
        process::encode(|name, help, value| writer.gauge(name, help, value))
    }
}

impl LiveSources {
    fn encode_apps(&self, writer: &mut MetricsWriter<'_>) -> fmt::Result {
        let Some(deployments) = self.deployments.upgrade() else { return Ok(()) };
        let slots = deployments.slots();
        let running = slots.iter().map(|slot| ([("app", slot.name.clone())], count(slot.requests.in_use())));
        writer.gauges("http_server_active_requests", "In-flight requests, including parked ones", running)?;
        let current =
            slots.iter().map(|slot| ([("app", slot.name.clone())], count(slot.current().generation.number)));
        writer.gauges("linger_generation", "The number of the current generation", current)?;
        let instances = slots.iter().map(|slot| ([("app", slot.name.clone())], count(slot.instances())));
        writer.gauges("linger_instances", "Instances of the serving generations", instances)?;
        if let Some(pool) = deployments.pool() {
            let rows = pool.map(|(kind, value)| ([("kind", kind)], count(value)));
            writer.gauges("linger_pool_in_use", "Units in use of the pooling allocator", rows)?;
        }
        Ok(())
    }

    fn encode_link(&self, writer: &mut MetricsWriter<'_>) -> fmt::Result {
        let Some(linked) = self.events.connection() else { return Ok(()) };
        writer.gauge("linger_nats_ready", "Whether NATS can store events now", i64::from(linked.is_ready))?;
        let connections = [([("to", "nats")], linked.connections)];
        writer.counters("linger_nats_connections", "Connections made to NATS", connections)?;
        writer.gauge(
            "linger_nats_requests",
            "Requests for events pending at NATS",
            count(linked.requests),
        )?;
        writer.gauge(
            "linger_nats_topics_followed",
            "Topics with a subscription in NATS",
            count(linked.followed),
        )
    }

    fn encode_events(&self, writer: &mut MetricsWriter<'_>) -> fmt::Result {
        let usage = self.events.usage();
        let place = |place: &'static str| [("place", place)];
        let events = [(place("queues"), count(usage.events)), (place("topics"), count(usage.published))];
        writer.gauges("linger_events", "Stored events", events)?;
        let bytes = [(place("queues"), count(usage.bytes)), (place("topics"), count(usage.published_bytes))];
        writer.gauges("linger_events_bytes", "Bytes of stored events, with 256 added for each", bytes)?;
        let names = [(place("queues"), count(usage.queues)), (place("topics"), count(usage.topics))];
        writer.gauges("linger_event_places", "Queues and topics", names)?;
        let parked = [(place("queues"), count(usage.waiting)), (place("topics"), count(usage.readers))];
        writer.gauges("linger_parked", "Consumers and readers that wait for an event", parked)?;
        let fates = self.events.totals();
        let fate = |fate: &'static str, value: u64| ([("fate", fate)], value);
        let fates = [
            fate("pushed", fates.pushed),
            fate("taken", fates.taken),
            fate("committed", fates.committed),
            fate("returned", fates.returned),
            fate("overdue", fates.overdue),
            fate("dead", fates.dead),
            fate("expired", fates.expired),
            fate("purged", fates.purged),
            fate("published", fates.published),
        ];
        writer.counters("linger_event_fates", "Events by result", fates)
    }
}

/// As many as the format can say.
fn count(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
