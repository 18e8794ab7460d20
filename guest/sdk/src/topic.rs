//! Topics: each event goes to every reader, by cursor, for as long as it is kept.

use crate::EventError;
use crate::bindings::topics::linger::host::topic as host;
use crate::bindings::whole::linger::host::whole::ResponseError;
use crate::event::Sealed;
use crate::response::Contents;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use wasip3::http::types;

/// A topic: each event goes to every reader, now or later, for as long as it is kept.
///
/// ```no_run
/// # use linger_guest::{EventError, topic};
/// # async fn doc() -> Result<(), EventError> {
/// topic("weather").publish(b"rain").content_type("text/plain").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Topic(Result<host::Topic, EventError>);

/// The topic with this name. It is created by its first event. All apps of a host share the same topics. Does not
/// block.
///
/// [`publish`](Topic::publish), [`read`](Topic::read) and [`end`](Topic::end) report a name that is not allowed (see
/// [`EventError::InvalidName`]).
///
/// ```no_run
/// use linger_guest::{Topic, topic};
///
/// let weather: Topic = topic("weather");
/// ```
pub fn topic(name: &str) -> Topic {
    Topic(host::Topic::open(name).map_err(EventError::from))
}

impl Topic {
    /// Stores an event at the end of the topic, and returns the cursor after it, once it is stored.
    ///
    /// The event is sent when the [`Publish`] is awaited. Dropping the awaiting future does not undo it.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](EventError::InvalidName), [`InvalidContentType`](EventError::InvalidContentType),
    /// [`TooLarge`](EventError::TooLarge), [`OverLimit`](EventError::OverLimit) or
    /// [`Unavailable`](EventError::Unavailable); then nothing is stored.
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, topic};
    /// # async fn doc() -> Result<(), EventError> {
    /// let cursor = topic("weather").publish(b"sun").await?;
    /// println!("go on after {cursor}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish<'a>(&'a self, data: &'a [u8]) -> Publish<'a> {
        Publish { topic: self, data, content_type: None }
    }

    /// Waits for events after a cursor, and returns them, oldest first: at least one, and at most `limit`, which is
    /// from 1 to 1000. Without a cursor it begins with the oldest event that is kept.
    ///
    /// Cancel-safe: a future that is dropped leaves no trace.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](EventError::InvalidName), [`InvalidCursor`](EventError::InvalidCursor),
    /// [`Cancelled`](EventError::Cancelled), [`OverLimit`](EventError::OverLimit) or
    /// [`Unavailable`](EventError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, topic};
    /// # async fn doc() -> Result<(), EventError> {
    /// let weather = topic("weather");
    /// let mut after = None;
    /// loop {
    ///     let batch = weather.read(after.as_deref(), 100).await?;
    ///     for event in &batch.events {
    ///         println!("{}", String::from_utf8_lossy(&event.data()));
    ///     }
    ///     after = Some(batch.next);
    /// }
    /// # }
    /// ```
    pub fn read(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Batch, EventError>> + use<> {
        let read = self.open().map(|topic| topic.read(after, limit));
        async move { Ok(read?.await?.into()) }
    }

    /// The cursor after the last event: a read after it gets only events that are published from now on.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](EventError::InvalidName), [`OverLimit`](EventError::OverLimit) or
    /// [`Unavailable`](EventError::Unavailable).
    ///
    /// ```no_run
    /// # use linger_guest::{EventError, topic};
    /// # async fn doc() -> Result<(), EventError> {
    /// let weather = topic("weather");
    /// let now = weather.end().await?;
    /// let news = weather.read(Some(&now), 1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn end(&self) -> impl Future<Output = Result<String, EventError>> + use<> {
        let end = self.open().map(host::Topic::end);
        async move { Ok(end?.await?) }
    }

    fn open(&self) -> Result<&host::Topic, EventError> {
        self.0.as_ref().map_err(EventError::clone)
    }
}

/// An event that is not published yet: awaiting it publishes it. Made by [`Topic::publish`].
///
/// ```no_run
/// # use linger_guest::{EventError, topic};
/// # async fn doc() -> Result<(), EventError> {
/// let cursor = topic("weather").publish(b"{}").content_type("application/json").await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is published before it is awaited"]
pub struct Publish<'a> {
    topic: &'a Topic,
    data: &'a [u8],
    content_type: Option<String>,
}

impl Publish<'_> {
    /// Sets the content type, which is stored with the data. The default is `application/octet-stream`.
    pub fn content_type(mut self, kind: impl Into<String>) -> Self {
        self.content_type = Some(kind.into());
        self
    }
}

impl IntoFuture for Publish<'_> {
    type Output = Result<String, EventError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    /// Sends the event. The future borrows nothing, and returns the cursor after the event.
    fn into_future(self) -> Self::IntoFuture {
        let kind = self.content_type.as_deref();
        let stored = self.topic.open().map(|topic| topic.publish(self.data, kind));
        Box::pin(async move { Ok(stored?.await?) })
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Publish");
        debug.field("bytes", &self.data.len()).field("content_type", &self.content_type).finish()
    }
}

/// The result of a [`Topic::read`].
///
/// ```
/// use linger_guest::Batch;
///
/// fn gap(batch: &Batch) -> Option<String> {
///     match batch {
///         Batch { restarted: true, .. } => Some("the topic began anew".into()),
///         Batch { missed: 0, .. } => None,
///         Batch { missed, .. } => Some(format!("{missed} events are no longer kept")),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The events, oldest first, at least one.
    pub events: Vec<Event>,
    /// The cursor for the next read: that of the last event.
    pub next: String,
    /// The number of events after the cursor of this read that are no longer kept.
    pub missed: u64,
    /// Whether the cursor is from an earlier epoch of the topic, which ended when the topic was removed, or when the
    /// host lost events that were not on disk. Then the number of missed events is unknown.
    pub restarted: bool,
}

impl From<host::Batch> for Batch {
    fn from(batch: host::Batch) -> Self {
        let host::Batch { events, next, missed, restarted } = batch;
        Self {
            events: events.into_iter().map(|event| Event(Rc::new(event))).collect(),
            next,
            missed,
            restarted,
        }
    }
}

/// An event of a topic. It stays readable when the topic no longer keeps it.
///
/// ```no_run
/// use linger_guest::{Event, Response};
///
/// fn answer(event: &Event) -> Response {
///     Response::event(event).header("event-cursor", event.cursor())
/// }
/// ```
#[derive(Debug)]
pub struct Event(Rc<host::Event>);

impl Event {
    /// The cursor after this event. Does not block.
    pub fn cursor(&self) -> String {
        self.0.cursor()
    }

    /// The bytes of the event. Does not block. Each call copies them.
    pub fn data(&self) -> Vec<u8> {
        self.0.data()
    }

    /// The content type that the event was [published](Publish::content_type) with, if any. Does not block.
    pub fn content_type(&self) -> Option<String> {
        self.0.content_type()
    }
}

impl Sealed for Event {
    fn kind(&self) -> Option<String> {
        self.content_type()
    }

    fn contents(&self) -> Rc<dyn Contents> {
        self.0.clone()
    }
}

impl Contents for host::Event {
    fn respond(&self, status: u16, headers: &[(String, Vec<u8>)]) -> Result<types::Response, ResponseError> {
        self.respond(status, headers)
    }
}
