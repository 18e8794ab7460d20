//! Linger: an HTTP server for WebAssembly components that knows when the client has gone.
//!
//! The code map, along the way of a request:
//!
//! - [`cli`] parses the command line, [`config`] the configuration
//! - [`server`] composes: accepts connections, drains; [`reload`] puts a changed configuration in force; [`limit`] bounds
//!   what all have and [`clients`] what each client has, [`pace`] tells who is slow from who has stopped
//! - [`net`] is a connection's socket, and what the kernel knows about the client
//! - [`http`] is hyper, and the scope of one request; [`route`] finds its app
//! - [`exchange`] is the request as all see it, [`client`] where it is from; [`cancel`] tells its guest to stop
//! - [`deploy`] keeps the [`generation`]s of each app, and puts a new one in the place of the old
//! - [`guest`] runs components; [`wit`] is what they can import, as text
//! - [`events`] holds queues; what a request took is settled by how its response ended
//! - [`respond`] maps errors to responses
//! - [`telemetry`] is what operators see: metrics, the log, traces
//! - [`admin`] is the listener for operators
//! - [`project`] is what a new project of a handler holds
//! - [`conformance`] tests a server, this or another, from outside
#![deny(unsafe_code)]

pub mod admin;
pub mod cancel;
pub mod cli;
pub mod client;
pub mod clients;
pub mod config;
pub mod conformance;
pub mod deploy;
pub mod events;
pub mod exchange;
pub mod generation;
pub mod guest;
pub mod http;
pub mod limit;
pub mod net;
pub mod pace;
pub mod project;
pub mod reload;
pub mod respond;
pub mod route;
pub mod server;
mod stamp;
pub mod telemetry;
pub mod wit;
