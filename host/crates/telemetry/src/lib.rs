//! Observability of a running server: metrics, the log, and traces.
//!
//! It names prometheus-client, tracing and OpenTelemetry, and hyper only as the client that sends traces. Of Linger it names
//! the base, the configuration, sockets and events, whose outcomes are labels. It counts what it is told, and looks nothing
//! up in the rest of the host.
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
