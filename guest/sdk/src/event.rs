//! What queues and topics share: errors, ids, and events as responses.

use crate::Reason;
use crate::bindings::linger::host::types;
use crate::response::Contents;
use std::rc::Rc;
use std::{error, fmt};

/// An event whose contents can be a response, by [`Response::event`](crate::Response::event): a
/// [`Delivery`](crate::Delivery) of a queue, or an [`Event`](crate::Event) of a topic.
///
/// ```no_run
/// use linger_guest::{EventContents, Response};
///
/// fn answer(event: &impl EventContents) -> Response {
///     Response::event(event).header("cache-control", "no-store")
/// }
/// ```
pub trait EventContents: Sealed {}

impl<E: Sealed> EventContents for E {}

/// What an event needs to be a response. Private to this crate.
pub trait Sealed {
    fn kind(&self) -> Option<String>;
    fn contents(&self) -> Rc<dyn Contents>;
}

/// The id of an event of a queue: unique within the queue, and never reused. As text it is `0a1b2c3d-17`.
///
/// ```no_run
/// # use linger_guest::{EventError, EventId, queue};
/// # async fn doc() -> Result<(), EventError> {
/// let id: EventId = queue("jobs").push(b"wash up").await?;
/// println!("stored: {id}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    epoch: u32,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.number)
    }
}

impl From<types::EventId> for EventId {
    fn from(types::EventId { epoch, number }: types::EventId) -> Self {
        Self { epoch, number }
    }
}

/// Why an operation on a queue or a topic failed.
///
/// ```
/// use linger_guest::{EventError, Response};
///
/// fn refusal(error: &EventError) -> Response {
///     let status = match error {
///         EventError::InvalidName => 404,
///         EventError::TooLarge { .. } => 413,
///         EventError::OverLimit(_) => 429,
///         _ => 503,
///     };
///     Response::text(format!("{error}\n")).status(status)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The name is not 1 to 128 letters, digits, `-`, `_` or `.`, starting with a letter or a digit.
    InvalidName,
    /// The content type cannot be the value of an HTTP header, or is longer than 256 bytes.
    InvalidContentType,
    /// This is not a cursor.
    InvalidCursor,
    /// The event is larger than the host allows.
    TooLarge {
        /// What the host allows, in bytes.
        limit: u64,
    },
    /// A limit is reached. Try again later.
    OverLimit(Limit),
    /// The client of this request has disconnected, so nothing is taken or read for it.
    Cancelled(Reason),
    /// The delivery was settled before: by `ack`, by `release`, or because its lease ran out.
    Settled,
    /// The store failed. The host's log says how.
    Unavailable,
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName => f.write_str(
                "a name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit",
            ),
            Self::InvalidContentType => {
                f.write_str("a content type is at most 256 bytes that a header can hold")
            }
            Self::InvalidCursor => f.write_str("a cursor is one that the topic gave"),
            Self::TooLarge { limit } => write!(f, "an event is at most {limit} bytes"),
            Self::OverLimit(limit) => limit.fmt(f),
            Self::Cancelled(reason) => write!(f, "nothing is taken or read any more: {reason}"),
            Self::Settled => f.write_str("the delivery was settled before"),
            Self::Unavailable => f.write_str("the store is unavailable"),
        }
    }
}

impl error::Error for EventError {}

impl From<types::EventError> for EventError {
    fn from(error: types::EventError) -> Self {
        match error {
            types::EventError::InvalidName => Self::InvalidName,
            types::EventError::InvalidContentType => Self::InvalidContentType,
            types::EventError::InvalidCursor => Self::InvalidCursor,
            types::EventError::TooLarge(limit) => Self::TooLarge { limit },
            types::EventError::OverLimit(limit) => Self::OverLimit(limit.into()),
            types::EventError::Cancelled(reason) => Self::Cancelled(reason.into()),
            types::EventError::Settled => Self::Settled,
            types::EventError::Unavailable => Self::Unavailable,
        }
    }
}

/// A limit that the host's configuration sets.
///
/// ```
/// use linger_guest::{EventError, Limit};
///
/// let error = EventError::OverLimit(Limit::Events);
/// assert_eq!(error.to_string(), "the queue holds as many events as the host allows");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Events in this queue.
    Events,
    /// Bytes in this queue.
    Bytes,
    /// Bytes in all queues together, or in all topics.
    TotalBytes,
    /// Queues, or topics, that exist at a time.
    Names,
    /// Takers that wait at this queue, or readers that wait at this topic.
    Waiters,
    /// Unsettled deliveries of this request.
    Deliveries,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "the queue holds as many events as the host allows",
            Self::Bytes => "the queue holds as many bytes as the host allows",
            Self::TotalBytes => "all queues, or all topics, together hold as many bytes as the host allows",
            Self::Names => "there are as many queues, or topics, as the host allows",
            Self::Waiters => "as many wait for an event here as the host allows",
            Self::Deliveries => "the request holds as many deliveries as the host allows",
        })
    }
}

impl From<types::Limit> for Limit {
    fn from(limit: types::Limit) -> Self {
        match limit {
            types::Limit::Events => Self::Events,
            types::Limit::Bytes => Self::Bytes,
            types::Limit::TotalBytes => Self::TotalBytes,
            types::Limit::Names => Self::Names,
            types::Limit::Waiters => Self::Waiters,
            types::Limit::Deliveries => Self::Deliveries,
        }
    }
}
