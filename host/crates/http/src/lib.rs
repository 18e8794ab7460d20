//! HTTP: a connection, and the scope of each request on it.
//!
//! It names hyper and h2 (the second in `serving::http2` only), and builds on every crate below it: sockets, exchanges,
//! components and deployments. It names none of Wasmtime, NATS or the disk store, and makes no system call by itself.
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
