//! Observability of a running server: metrics, the log, and traces.
//!
//! - `metrics` has the counters and histograms, `labels` what tells them apart, `reached` warns of limits, `process` reads `/proc`
//! - `log` writes the log (`json`, `lines`), `wanted` filters it, `follow` sends it to followers
//! - `spans` is the trace of one request, `traces` how spans are sent
//!
//! It names prometheus-client, tracing and OpenTelemetry, and hyper and rustls only as the client that sends traces. Of Linger it
//! names the base, the configuration, sockets and events, whose outcomes are labels. It may not name requests, Wasmtime, NATS or the
//! disk store: it counts what it is told, and looks nothing up.
#![forbid(unsafe_code)]

mod follow;
mod handles;
mod json;
mod labels;
mod lines;
mod log;
mod metrics;
pub mod process;
mod reached;
mod spans;
pub mod traces;
mod wanted;

pub use follow::{FollowStep, LogFollower};
pub use labels::{Deploy, EndingLabels, Failure, Reached, Reload};
pub use lines::SinkGuard;
pub use log::{LogFilter, LogFormat};
pub use metrics::{AppMetrics, Metrics};
pub use spans::{RequestTrace, RequestTracer, TraceEnd, WaitPoint};
