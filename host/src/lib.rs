//! Linger: an HTTP server for WebAssembly components that knows when the client has gone.
#![forbid(unsafe_code)]

pub mod cancel;
pub mod config;
pub mod events;
pub mod exchange;
pub mod guest;
pub mod route;
pub mod wit;
