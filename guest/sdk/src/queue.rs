//! Queues of events: each event goes to one consumer.

use crate::bindings::linger::host::queue as host;
use crate::bindings::linger::host::types::PushOptions;
use crate::bindings::whole::linger::host::whole::ResponseError;
use crate::event::Sealed;
use crate::response::Contents;
use crate::time::nanoseconds;
use crate::{EventError, EventId};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use wasip3::http::types;

/// A queue of events: each event goes to one consumer, at least once.
///
/// ```no_run
/// # use linger_guest::{EventError, queue};
/// # async fn doc() -> Result<(), EventError> {
/// let id = queue("jobs").push(b"wash up").content_type("text/plain").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Queue(Result<Rc<host::Queue>, EventError>);

/// The queue with this name. It is created by its first event. All apps of a host share the same queues. Does not
/// block.
///
/// [`push`](Queue::push) and [`take`](Queue::take) report a name that is not allowed (see
/// [`EventError::InvalidName`]).
///
/// ```no_run
/// use linger_guest::{Queue, queue};
///
/// let jobs: Queue = queue("jobs");
/// ```
pub fn queue(name: &str) -> Queue {
    Queue(host::Queue::open(name).map(Rc::new).map_err(EventError::from))
}

impl Queue {
    /// Stores an event at the end of the queue, and returns its id, unique within the queue, once it is stored.
    ///
    /// The event is sent when the [`Push`] is awaited; before that, set its content type, delay and time to live.
    /// Dropping the awaiting future does not undo the push.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](EventError::InvalidName), [`InvalidContentType`](EventError::InvalidContentType),
    /// [`TooLarge`](EventError::TooLarge), [`OverLimit`](EventError::OverLimit) or
    /// [`Unavailable`](EventError::Unavailable); then nothing is stored.
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, queue};
    /// # async fn doc() -> Result<(), EventError> {
    /// let id = queue("jobs").push(b"{}").content_type("application/json").await?;
    /// println!("stored: {id}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push<'a>(&'a self, data: &'a [u8]) -> Push<'a> {
        let options = PushOptions { content_type: None, delay: None, time_to_live: None };
        Push { queue: self, data, options }
    }

    /// Waits for an event, and takes it from the head of the queue. Waiting consumers are served in the order of
    /// their calls.
    ///
    /// Cancel-safe: waiting takes nothing. An event that had arrived for a dropped future is requeued at its place.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](EventError::InvalidName), [`Cancelled`](EventError::Cancelled),
    /// [`OverLimit`](EventError::OverLimit) or [`Unavailable`](EventError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, queue};
    /// # async fn doc() -> Result<(), EventError> {
    /// let event = queue("jobs").take().await?;
    /// println!("{}: {} bytes", event.id(), event.data().len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn take(&self) -> impl Future<Output = Result<Delivery, EventError>> + use<> {
        let taking = self.open().map(|queue| queue.take());
        async move {
            let delivery = match taking? {
                host::Taking::Ready(delivery) => delivery?,
                host::Taking::Pending(delivery) => delivery.await?,
            };
            Ok(Delivery(Rc::new(delivery)))
        }
    }

    fn open(&self) -> Result<Rc<host::Queue>, EventError> {
        self.0.clone()
    }
}

/// An event that is not stored yet: awaiting it stores it. Made by [`Queue::push`].
///
/// ```no_run
/// # use linger_guest::{EventError, queue};
/// # use std::time::Duration;
/// # async fn doc() -> Result<(), EventError> {
/// let id = queue("jobs")
///     .push(b"water the plants")
///     .content_type("text/plain")
///     .delay(Duration::from_secs(60 * 60))
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is stored before it is awaited"]
pub struct Push<'a> {
    queue: &'a Queue,
    data: &'a [u8],
    options: PushOptions,
}

impl Push<'_> {
    /// Sets the content type, which is stored with the data. The default is `application/octet-stream`.
    pub fn content_type(mut self, kind: impl Into<String>) -> Self {
        self.options.content_type = Some(kind.into());
        self
    }

    /// Delays the event: it cannot be taken for this long. Then its place is by its age, before all events that were
    /// pushed later. Longer than 584 years is 584 years.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(nanoseconds(delay));
        self
    }

    /// Sets a time to live, including the [`delay`](Self::delay): an event that nobody received by then is removed.
    /// Longer than 584 years is 584 years.
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.options.time_to_live = Some(nanoseconds(time));
        self
    }
}

impl IntoFuture for Push<'_> {
    type Output = Result<EventId, EventError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    /// Sends the event. The future borrows nothing, and returns the event's id.
    fn into_future(self) -> Self::IntoFuture {
        let (queue, data, options) = (self.queue.open(), self.data.to_vec(), self.options);
        Box::pin(async move { Ok(queue?.push(data, options).await?.into()) })
    }
}

impl fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("bytes", &self.data.len()).field("options", &self.options).finish()
    }
}

/// An event that this request holds under a lease: no other consumer gets it meanwhile.
///
/// The end of the response settles it. If the client received the whole response, the event is acknowledged, and
/// removed. Otherwise (the client disconnected, the handler failed, or responded with a status of 500 or above) it is
/// requeued at its place. [`ack`](Self::ack) and [`release`](Self::release) settle it earlier.
///
/// A response without a body delivers nothing: with a status of 204, 205 or 304, and to `HEAD`, the event is requeued
/// as soon as there is a response.
///
/// Dropping a delivery whose contents were not used, by [`data`](Self::data) or by
/// [`Response::event`](crate::Response::event), requeues the event at once. Dropping any other delivery settles
/// nothing.
///
/// ```no_run
/// use linger_guest::{EventError, Response, queue};
///
/// async fn next() -> Result<Response, EventError> {
///     let event = queue("jobs").take().await?;
///     Ok(Response::event(&event).header("x-attempt", event.attempt().to_string()))
/// }
/// ```
#[derive(Debug)]
pub struct Delivery(Rc<host::Delivery>);

impl Delivery {
    /// The id that [`Queue::push`] returned. Does not block.
    pub fn id(&self) -> EventId {
        self.0.id().into()
    }

    /// The bytes of the event, which count as used from now on. Does not block. Each call copies them.
    pub fn data(&self) -> Vec<u8> {
        self.0.data()
    }

    /// The content type that the event was [pushed](Push::content_type) with, if any. Does not block.
    pub fn content_type(&self) -> Option<String> {
        self.0.content_type()
    }

    /// The number of deliveries of this event, including this one: 1 the first time. Does not block.
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// Whether an earlier client may have received this event, or a part of it. Does not block.
    pub fn maybe_delivered(&self) -> bool {
        self.0.maybe_delivered()
    }

    /// Acknowledges the event now: it is removed, whatever becomes of the response. Waits until the store has
    /// recorded that.
    ///
    /// # Errors
    ///
    /// [`Settled`](EventError::Settled) or [`Unavailable`](EventError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, queue};
    /// # async fn doc() -> Result<(), EventError> {
    /// let event = queue("jobs").take().await?;
    /// println!("done: {}", event.id());
    /// event.ack().await
    /// # }
    /// ```
    pub async fn ack(self) -> Result<(), EventError> {
        Ok(self.0.ack().await?)
    }

    /// Releases the event now: it is requeued at its place, for the next consumer. Waits until the store has recorded
    /// that.
    ///
    /// # Errors
    ///
    /// [`Settled`](EventError::Settled) or [`Unavailable`](EventError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, queue};
    /// # async fn doc() -> Result<(), EventError> {
    /// let event = queue("jobs").take().await?;
    /// if event.content_type().as_deref() != Some("application/json") {
    ///     event.release().await?; // for somebody else
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release(self) -> Result<(), EventError> {
        Ok(self.0.release().await?)
    }
}

impl Sealed for Delivery {
    fn kind(&self) -> Option<String> {
        self.content_type()
    }

    fn contents(&self) -> Rc<dyn Contents> {
        self.0.clone()
    }
}

impl Contents for host::Delivery {
    fn respond(&self, status: u16, headers: &[(String, Vec<u8>)]) -> Result<types::Response, ResponseError> {
        self.respond(status, headers)
    }
}
