//! HTTP: a connection, and the scope of each request on it.
//!
//! - `connection` is one connection as its requests see it: its peer, its client's permits, its supervisor
//! - `request` is one request: its head and body, the guard of its exchange, acks and refusals
//! - `serving` drives a connection with hyper or h2, and calls `request`
//! - `router` finds the app; `error_response` is the only place where an error becomes a status
//! - `buffers` and `read_ahead` limit request bodies; `context` is what a shard's connections share, `settings` what can change
//!
//! It names hyper, and h2 in `serving::http2` and for the bodies of its requests. Of Linger it names every crate but
//! `linger-conformance`. It may not name Wasmtime, NATS or the disk store, and makes no system call by itself.
#![forbid(unsafe_code)]

mod buffers;
mod connection;
mod context;
mod error_response;
#[doc(hidden)]
pub mod fuzzing;
mod read_ahead;
mod request;
mod router;
mod serving;
mod settings;

pub use buffers::BodyBuffers;
pub use connection::ListenerPolicy;
pub use connection::clients::{ClientPermit, ClientQuota, ClientTable, ConnectionPermits};
pub use connection::idle_buffers::IdleBuffers;
pub use connection::listing::{ConnectionList, InFlightRequest};
pub use connection::origin::TrustedProxies;
pub use context::ShardContext;
pub use read_ahead::ReadAhead;
pub use serving::serve_connection;
pub use settings::{HttpSettings, RouteTarget};
