//! Guests: components, their instances, and what they import.
//!
//! - `engine` compiles components, `inspect` reports on them, `compose` puts middleware in front
//! - `app` runs a request in an instance: `p3` of WASI 0.3, with many requests each, or `p2` of WASI 0.2; `factory` makes their stores
//! - `imports` is the WIT package for guests, `outgoing` their requests, `state` what a store has
//! - `meter`, `limits`, `budget`, `instance_queue` and `log` are what a guest may use; `runtime` and `cancels` what is known of it
//!
//! The only crate that names Wasmtime, its WASI, and the tools for components. It names hyper only for requests that guests send. Of
//! Linger it names the base, the configuration, events, telemetry and exchanges. It may not name a client's socket, deployments, NATS
//! or the disk store.
#![forbid(unsafe_code)]

mod app;
mod budget;
mod cache;
mod cancels;
mod compose;
mod engine;
mod factory;
mod imports;
mod inspect;
mod instance_queue;
mod limits;
mod log;
mod meter;
mod middleware;
mod outgoing;
mod p2;
mod p3;
mod replay;
mod runtime;
mod shard;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};

use linger_base::Reason;
use linger_exchange::UnreadCause;

pub use app::{App, InstanceKinds};
pub use engine::{ComponentSource, Engine, LoadError};
pub use inspect::{ComponentReport, inspect};
pub use middleware::behind;
pub use runtime::LanguageRuntime;
pub use shard::ShardHandle;

/// The error of a body that crosses the boundary.
pub type BodyError = wasmtime_wasi_http::Error;

/// A body that crosses the boundary.
pub type BoundaryBody = UnsyncBoxBody<Bytes, BodyError>;

/// A body without anything in it.
pub fn empty() -> BoundaryBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What has to be kept until a response has gone: its place in an instance.
pub struct ResponseGuard {
    _place: Option<Arc<dyn Send + Sync>>,
}

impl ResponseGuard {
    fn new(place: Arc<dyn Send + Sync>) -> Self {
        Self { _place: Some(place) }
    }

    /// For a response whose instance looks after itself.
    fn nothing() -> Self {
        Self { _place: None }
    }
}

/// What a failure to make an instance means.
fn not_started(error: &wasmtime::Error) -> CallError {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        CallError::Busy
    } else {
        // Where in the guest it was says little to whoever waits for the answer.
        tracing::debug!("cannot start an instance: {error:#}");
        CallError::NotStarted(error.root_cause().to_string())
    }
}

/// The reason why a guest gave no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped, or its instance did while this request was in it. It was logged.
    #[error("the guest trapped")]
    Trapped,
    /// An instance could not be made.
    #[error("cannot start the guest: {0}")]
    NotStarted(String),
    /// The guest returned an error instead of a response.
    #[error("the guest returned an error: {0}")]
    Refused(String),
    /// The guest's response is not valid. The reason may be shown to clients.
    #[error("the guest's response is not valid: {0}")]
    Invalid(String),
    /// The guest returned without a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// All instances are busy, and no other one may be started.
    #[error("all instances are busy")]
    Busy,
    /// The instance reached its limit of buffered data, so the guest could not respond.
    #[error("the instance has reached its limit of buffered data")]
    OverLimit,
    /// The body of the request is not read to its end, so that no guest can answer.
    #[error("{}", match .0 { UnreadCause::NoRoom => "the host has no room left for request bodies", UnreadCause::TooSlow => "its body arrived too slowly", UnreadCause::Malformed => "its body is malformed" })]
    Unread(UnreadCause),
    /// The request was cancelled, and the guest did not answer within the grace.
    #[error("the guest did not respond within `grace` after the cancellation `{0}`")]
    GaveUp(Reason),
}
