//! How spans get to the collector: a bounded queue, a thread that empties it, and a client that sends.

mod client;
mod export;

use std::sync::Arc;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanExporter as _};

use linger_net::TlsError;

use super::Metrics;
use super::spans::RequestTracer;
use client::{CollectorError, OtlpCollector};

pub use export::{ExportThread, SpanExport};

/// The reason why traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's address is not valid.
    #[error("traces: {0}")]
    Endpoint(String),
    /// TLS to the collector cannot be set up.
    #[error("traces: {0}")]
    Tls(#[from] TlsError),
    /// A variable of OpenTelemetry is not valid.
    #[error("traces: {0}; correct the OpenTelemetry variable (`OTEL_…`) with this value")]
    Environment(#[from] ExporterBuildError),
}

impl From<CollectorError> for TracesError {
    fn from(unfit: CollectorError) -> Self {
        match unfit {
            CollectorError::Endpoint(why) => Self::Endpoint(why),
            CollectorError::Tls(error) => Self::Tls(error),
        }
    }
}

/// What makes spans, and what sends them once it is started. Blocks while it reads a file.
pub fn open(
    config: &linger_config::TracesConfig,
    metrics: &Metrics,
) -> Result<(Arc<RequestTracer>, SpanExport), TracesError> {
    let endpoint = config.endpoint().map_err(TracesError::Endpoint)?;
    let collector = OtlpCollector::new(&endpoint, config, metrics.spans.clone())?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(endpoint.to_string())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        // The library's own would block the thread: the client tries again.
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource::builder()
        .with_service_name(config.service.clone())
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    exporter.set_resource(&resource);
    let (queue, export) = export::queue(config, exporter, metrics.spans.clone());
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.ratio))))
        .with_resource(resource)
        .with_span_processor(queue)
        .build();
    let scope = InstrumentationScope::builder("linger").with_version(version).build();
    Ok((Arc::new(RequestTracer::new(provider.tracer_with_scope(scope))), export))
}
