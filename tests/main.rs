//! The host and its guests together, over real sockets: what `make guests` built, served by the real binary.
//!
//! A test is named by an event and its effect, and grouped with others by module. [`harness`] is what
//! they share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "a test says what is wrong by panicking, and its name is its documentation"
)]

mod harness;

mod answers;
mod architecture;
mod behind;
mod bodies;
mod bodiless;
mod browser;
mod budget;
mod caches;
mod canary;
mod cancellation;
mod chaos;
mod cli;
mod client_limits;
mod clients;
mod closing;
mod config;
mod conformance;
mod dashboard;
mod deploy;
mod disconnect;
mod docs;
mod early;
mod faults;
mod follow;
mod forged;
mod half_close;
mod hostile;
mod http;
mod http2;
mod idle;
mod isolation;
mod languages;
mod listeners;
mod longpoll;
mod messages;
mod metrics;
mod middleware;
mod nats;
mod nats_access;
mod nats_faults;
mod nats_soak;
mod new;
mod offline;
mod on_disconnect;
mod operate;
mod origin;
mod packaging;
mod proxies;
mod pseudo;
mod queues;
mod readers;
mod receipts;
mod reload;
mod reuse;
mod routing;
mod sandbox;
mod shutdown;
mod silent;
mod soak;
mod sse;
mod start;
mod store;
mod streaming;
mod swap;
mod tls;
mod together;
mod tools;
mod topics;
mod traces;
mod watch;
mod whole;
