//! Queues of events, each of which exactly one taker gets.

use crate::Reason;
use crate::bindings::linger::host::{queue as host, types};
use std::{error, fmt};

/// A queue of events: each event is for exactly one taker.
///
/// ```no_run
/// # use linger_guest::{QueueError, queue};
/// # async fn doc() -> Result<(), QueueError> {
/// let id = queue("jobs").push(b"wash up", Some("text/plain")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Queue(Result<host::Queue, QueueError>);

/// The queue of this name, which comes into being with its first event. All apps of a host see the same
/// queues. Does not block.
///
/// A name that is not allowed (see [`QueueError::InvalidName`]) is reported by [`push`](Queue::push) and
/// [`take`](Queue::take), so that a queue can be named where it is used.
///
/// ```no_run
/// use linger_guest::{Queue, queue};
///
/// let jobs: Queue = queue("jobs");
/// ```
pub fn queue(name: &str) -> Queue {
    Queue(host::Queue::open(name).map_err(QueueError::from))
}

impl Queue {
    /// Stores an event at the end of the queue, waits until it is stored, and gives its id, unique within the
    /// queue.
    ///
    /// The content type travels with the data; none means `application/octet-stream`. The event is on its way
    /// with this call: dropping the future does not take it back.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](QueueError::InvalidName), [`InvalidContentType`](QueueError::InvalidContentType),
    /// [`TooLarge`](QueueError::TooLarge), [`Full`](QueueError::Full) or
    /// [`Unavailable`](QueueError::Unavailable); then nothing is stored.
    ///
    /// ```no_run
    /// # use linger_guest::{QueueError, queue};
    /// # async fn doc() -> Result<(), QueueError> {
    /// let id = queue("jobs").push(b"{}", Some("application/json")).await?;
    /// println!("stored: {id}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push(
        &self,
        data: &[u8],
        content_type: Option<&str>,
    ) -> impl Future<Output = Result<String, QueueError>> + use<> {
        let stored = self.open().map(|queue| queue.push(data, content_type));
        async move { Ok(stored?.await?) }
    }

    /// Waits for an event, and takes it from the head of the queue. Takers are served in the order in which
    /// they called this.
    ///
    /// Cancel-safe: waiting takes nothing, and an event that had arrived for a future that is dropped goes back
    /// to its place.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](QueueError::InvalidName), [`Cancelled`](QueueError::Cancelled),
    /// [`TooManyDeliveries`](QueueError::TooManyDeliveries) or [`Unavailable`](QueueError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{QueueError, queue};
    /// # async fn doc() -> Result<(), QueueError> {
    /// let event = queue("jobs").take().await?;
    /// println!("{}: {} bytes", event.id(), event.data().len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn take(&self) -> impl Future<Output = Result<Delivery, QueueError>> + use<> {
        let taken = self.open().map(host::Queue::take);
        async move { Ok(Delivery(taken?.await?)) }
    }

    fn open(&self) -> Result<&host::Queue, QueueError> {
        self.0.as_ref().map_err(QueueError::clone)
    }
}

/// An event that this request holds: nobody else gets it meanwhile.
///
/// It is settled by the end of the response: written to its end, the event is gone for good; otherwise (the
/// client left, the handler failed, or answered with a status of 500 or above) it returns to its place in the
/// queue. [`ack`](Self::ack) and
/// [`release`](Self::release) settle it before that.
///
/// Dropping a delivery whose [`data`](Self::data) was never called returns the event to its queue at once, and
/// dropping any other settles nothing.
///
/// ```no_run
/// use linger_guest::{QueueError, Response, queue};
///
/// async fn next() -> Result<Response, QueueError> {
///     let event = queue("jobs").take().await?;
///     Ok(Response::bytes(event.data()).header("x-attempt", event.attempt().to_string()))
/// }
/// ```
#[derive(Debug)]
pub struct Delivery(host::Delivery);

impl Delivery {
    /// The id that [`Queue::push`] gave. Does not block.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The bytes of the event, which count as handed out from now on. Does not block. Each call copies them.
    pub fn data(&self) -> Vec<u8> {
        self.0.data()
    }

    /// The content type that [`Queue::push`] was given, if any. Does not block.
    pub fn content_type(&self) -> Option<String> {
        self.0.content_type()
    }

    /// How often this event has been taken, this time included: 1 the first time. Does not block.
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// Whether an earlier taker's client may have got this event, or a part of it. Does not block.
    pub fn maybe_delivered(&self) -> bool {
        self.0.maybe_delivered()
    }

    /// Settles now: the event is gone for good, whatever becomes of the response. Waits until the store has it.
    ///
    /// # Errors
    ///
    /// [`Settled`](QueueError::Settled) or [`Unavailable`](QueueError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{QueueError, queue};
    /// # async fn doc() -> Result<(), QueueError> {
    /// let event = queue("jobs").take().await?;
    /// println!("done: {}", event.id());
    /// event.ack().await
    /// # }
    /// ```
    pub async fn ack(self) -> Result<(), QueueError> {
        Ok(self.0.ack().await?)
    }

    /// Settles now: the event returns to its place in the queue, for the next taker. Waits until the store has
    /// it.
    ///
    /// # Errors
    ///
    /// [`Settled`](QueueError::Settled) or [`Unavailable`](QueueError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{QueueError, queue};
    /// # async fn doc() -> Result<(), QueueError> {
    /// let event = queue("jobs").take().await?;
    /// if event.content_type().as_deref() != Some("application/json") {
    ///     event.release().await?; // for somebody else
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release(self) -> Result<(), QueueError> {
        Ok(self.0.release().await?)
    }
}

/// Why a queue refused.
///
/// ```
/// use linger_guest::{QueueError, Response};
///
/// fn refusal(error: &QueueError) -> Response {
///     let status = match error {
///         QueueError::InvalidName => 404,
///         QueueError::TooLarge { .. } => 413,
///         _ => 503,
///     };
///     Response::text(format!("{error}\n")).status(status)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// The name is not 1 to 128 letters, digits, `-`, `_` or `.`, starting with a letter or a digit.
    InvalidName,
    /// The content type cannot be the value of an HTTP header, or is longer than 256 bytes.
    InvalidContentType,
    /// The queue, or the host's list of queues, has reached its limit. Try again later.
    Full,
    /// The event is larger than the host allows.
    TooLarge {
        /// What the host allows, in bytes.
        limit: u64,
    },
    /// This request holds as many deliveries as the host allows. Settle some first.
    TooManyDeliveries,
    /// The client of this request is gone, so no event is taken for it.
    Cancelled(Reason),
    /// The delivery was settled before: by `ack`, by `release`, or because its lease ran out.
    Settled,
    /// The store behind the queue failed. The text says how, for the log.
    Unavailable(String),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName => f.write_str(
                "a queue's name is 1 to 128 letters, digits, '-', '_' or '.', starting with a letter or a digit",
            ),
            Self::InvalidContentType => {
                f.write_str("a content type is at most 256 bytes that a header can hold")
            }
            Self::Full => f.write_str("the queue is full"),
            Self::TooLarge { limit } => write!(f, "an event is at most {limit} bytes"),
            Self::TooManyDeliveries => f.write_str("the request holds too many deliveries"),
            Self::Cancelled(reason) => write!(f, "no event is taken any more: {reason}"),
            Self::Settled => f.write_str("the delivery was settled before"),
            Self::Unavailable(how) => write!(f, "the queue is unavailable: {how}"),
        }
    }
}

impl error::Error for QueueError {}

impl From<types::QueueError> for QueueError {
    fn from(error: types::QueueError) -> Self {
        match error {
            types::QueueError::InvalidName => Self::InvalidName,
            types::QueueError::InvalidContentType => Self::InvalidContentType,
            types::QueueError::Full => Self::Full,
            types::QueueError::TooLarge(limit) => Self::TooLarge { limit },
            types::QueueError::TooManyDeliveries => Self::TooManyDeliveries,
            types::QueueError::Cancelled(reason) => Self::Cancelled(reason.into()),
            types::QueueError::Settled => Self::Settled,
            types::QueueError::Unavailable(how) => Self::Unavailable(how),
        }
    }
}
