//! Guests: components, their instances, and what they import. The only place that names wasmtime.

mod app;
mod bindings;
mod engine;
mod imports;
mod inspect;
mod log;
mod p2;
mod p3;
mod state;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use app::App;
pub use engine::{Engine, LoadError};
pub use inspect::{Report, inspect};

use crate::cancel::Reason;

/// The error of a body that crosses the boundary.
pub type BodyError = wasmtime_wasi_http::Error;

/// A body that crosses the boundary.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What a failure to make an instance means.
fn not_started(error: &wasmtime::Error) -> CallError {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        CallError::Busy
    } else {
        CallError::NotStarted(engine::one_line(error))
    }
}

/// Why a guest gave no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped, or its instance did while this request was in it. It was logged.
    #[error("the guest trapped")]
    Trapped,
    /// An instance could not be made.
    #[error("the guest could not be started: {0}")]
    NotStarted(String),
    /// The guest answered with an error instead of a response.
    #[error("the guest answered with an error: {0}")]
    Refused(String),
    /// The guest returned without a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// All instances are full, or there is no room for another one.
    #[error("all instances are busy")]
    Busy,
    /// The request was cancelled, and the guest did not answer within the grace.
    #[error("the guest did not answer within the grace after `{0}`")]
    GaveUp(Reason),
}
