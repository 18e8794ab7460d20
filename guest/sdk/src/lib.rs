//! Write HTTP handlers for **Linger**, a server for WebAssembly components that detects client disconnects.
//!
//! A handler is an async function from a [`Request`] to a [`Response`], exported by [`handler!`]. It may wait as long
//! as it likes, because it is cancelled when its client disconnects:
//!
//! ```no_run
//! use linger_guest::{Request, Response, Result, cancellation, handler, queue, select, sleep};
//! use std::time::Duration;
//!
//! handler!(poll);
//!
//! async fn poll(_request: Request) -> Result<Response> {
//!     select! {
//!         _ = cancellation().cancelled() => Ok(Response::empty()),
//!         event = queue("jobs").take() => Ok(Response::event(&event?)),
//!         () = sleep(Duration::from_secs(25)) => Ok(Response::empty()),
//!     }
//! }
//! ```
//!
//! An event from [`Queue::take`] is acknowledged when the client has received the response, with no help from the
//! handler. If the client disconnects before, the event is requeued. So delivery is at-least-once:
//! [`Delivery::maybe_delivered`] flags an event that an earlier client may have received.
//!
//! The crate uses WASI 0.3 and the interfaces of `linger:host`. Every response that is complete at once is made by
//! one of those, so a component built with this crate needs a host that provides them. Build with
//! `cargo build --release --target wasm32-wasip2`, as a `cdylib`.
//!
//! | to | use |
//! |---|---|
//! | export the handler | [`handler!`] |
//! | read the request | [`Request`], [`Body`] |
//! | answer, at once or bit by bit | [`Response`], [`BodyWriter`] |
//! | learn that the client has gone | [`cancellation()`], [`Reason`] |
//! | wait for the first of several things | [`select!`], [`sleep`] |
//! | pass events on, each to one client | [`queue()`], [`Delivery`] |
//! | tell events to all who follow | [`topic()`], [`Event`] |
//! | answer with an event as it is stored | [`Response::event`] |
//! | write an event stream for browsers | [`sse::Message`] |
//! | work beside the handler | [`spawn`] |

#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod bindings;
mod body;
mod cancellation;
mod error;
mod event;
mod handler;
mod look;
mod queue;
mod request;
mod response;
mod select;
pub mod sse;
mod task;
mod time;
mod topic;

pub use body::{Body, BodyError, BodyWriter, Gone, Trailers};
pub use cancellation::{Cancellation, Reason, cancellation};
pub use error::{Error, Result};
pub use event::{EventContents, EventError, EventId, Limit};
pub use handler::IntoResponse;
pub use queue::{Delivery, Push, Queue, queue};
pub use request::Request;
pub use response::Response;
pub use task::spawn;
pub use time::sleep;
pub use topic::{Batch, Event, Publish, Topic, topic};

/// What the macros of this crate refer to. Not for use.
#[doc(hidden)]
pub mod __private {
    pub use crate::handler::run;
    pub use tokio;
    pub use wasip3;
}
