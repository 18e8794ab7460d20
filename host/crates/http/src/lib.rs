//! HTTP: a connection, and the scope of each request on it.
//!
//! It names hyper and h2 (the second in `connection::http2` only), and builds on every crate below it: sockets, exchanges,
//! components and deployments. It names none of Wasmtime, NATS or the disk store, and makes no system call by itself.
#![forbid(unsafe_code)]

mod connection;
mod context;
mod error_response;
#[doc(hidden)]
pub mod fuzzing;
mod request;
mod router;
mod settings;

pub use connection::clients::{ClientShare, Clients, Kind, Places};
pub use connection::listing::{Connections, Shown};
pub use connection::origin::Proxies;
pub use connection::spare::Spares;
pub use connection::{Entrance, serve_connection};
pub use context::Context;
pub use request::buffers::Buffers;
pub use request::pump::ReadAhead;
pub use settings::{Settings, Target};
