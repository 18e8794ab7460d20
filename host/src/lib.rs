//! Linger: an HTTP server for WebAssembly components that knows when the client has gone.
//!
//! This is the binary's own part, above the crates in `host/crates/`: the command line, the listeners and their threads, the
//! reload of a configuration, the admin listener, and the templates of a new project. It may name every crate of Linger; none
//! of them may name it. ARCHITECTURE.md follows a request through all of them.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod project;
pub mod reload;
pub mod server;
