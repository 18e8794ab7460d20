//! One request, as shared by all code that works for it, and the generation of an app that serves it.
//!
//! - `exchange` is a request from its head to its outcome: its cancellation, its deliveries, its deadline
//! - `generation` counts the requests of one version of an app, and says whether it is to be rolled back (`Probation`)
//! - `request_id` names a request in responses, log and traces
//!
//! Of Linger it names the base, the configuration, events and telemetry. It does no IO, and may not name Wasmtime, hyper, sockets or
//! NATS.
#![forbid(unsafe_code)]

mod exchange;
mod generation;
mod request_id;

pub use exchange::{Exchange, GuestCall, RequestInfo, RoutePolicy, StopCause, UnreadCause};
pub use generation::{Generation, RequestCounts, RollbackCause};
pub use request_id::RequestId;
