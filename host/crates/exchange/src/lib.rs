//! One request, as shared by all code that works for it, and the generation of an app that serves it.
//!
//! It may name the crates for cancellations, configuration, events and telemetry. It does no IO, and names none of Wasmtime,
//! hyper, sockets or NATS.
#![forbid(unsafe_code)]

mod exchange;
mod generation;
mod request_id;

pub use exchange::{Exchange, GuestCall, RequestInfo, RoutePolicy, StopCause, UnreadCause};
pub use generation::{Generation, RequestCounts, RollbackCause};
pub use request_id::RequestId;
