//! Responses.

use crate::EventContents;
use crate::bindings::whole::linger::host::whole::{self, ResponseError};
use crate::body::{BodyWriter, Gone, WasiTrailers};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use wasip3::http::types::{self, Fields};
use wasip3::wit_bindgen::{FutureReader, StreamReader, spawn_local};
use wasip3::wit_future;

/// The response of a handler.
///
/// Made by one of the functions, finished by the methods, sent by returning it:
///
/// ```
/// use linger_guest::Response;
/// use std::time::Duration;
///
/// let busy = Response::text("come back later\n")
///     .status(503)
///     .retry_after(Duration::from_secs(2));
/// ```
///
/// A body that is complete from the start is sent with its `content-length`.
#[must_use = "a response is sent by returning it from the handler"]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Content,
}

enum Content {
    Whole(Vec<u8>),
    Event(Rc<dyn Contents>),
    Stream(StreamReader<u8>, FutureReader<WasiTrailers>),
}

/// Bytes that the host has already. Behind a pointer, so that a component imports of queues and topics what it uses.
pub trait Contents {
    fn respond(&self, status: u16, headers: &[(String, Vec<u8>)]) -> Result<types::Response, ResponseError>;
}

impl Response {
    /// A response of this status with no body.
    ///
    /// ```
    /// # use linger_guest::Response;
    /// let missing = Response::new(404);
    /// ```
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Content::Whole(Vec::new()) }
    }

    /// `204 No Content`: there is nothing to send, or the client has disconnected.
    pub fn empty() -> Self {
        Self::new(204)
    }

    /// `200 OK` with this text, in UTF-8.
    pub fn text(text: impl Into<String>) -> Self {
        Self::bytes(text.into()).header("content-type", "text/plain; charset=utf-8")
    }

    /// `200 OK` with these bytes. Add their content type as a [`header`](Self::header).
    ///
    /// ```
    /// # use linger_guest::Response;
    /// let json = Response::bytes("{}").header("content-type", "application/json");
    /// ```
    pub fn bytes(data: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Content::Whole(data.into()) }
    }

    /// `200 OK` with the contents of an event: of a [`Delivery`](crate::Delivery), or of an [`Event`](crate::Event)
    /// of a topic. The host sends them without a copy into the memory of this component.
    ///
    /// The content type is that of the event, or `application/octet-stream`. When the response is returned, the event
    /// counts as used, as after [`Delivery::data`](crate::Delivery::data).
    ///
    /// ```no_run
    /// # use linger_guest::{Response, Result, queue};
    /// # async fn doc() -> Result<Response> {
    /// let event = queue("jobs").take().await?;
    /// Ok(Response::event(&event).header("event-id", event.id().to_string()))
    /// # }
    /// ```
    pub fn event(event: &impl EventContents) -> Self {
        let kind = event.kind().unwrap_or_else(|| "application/octet-stream".into());
        Self { status: 200, headers: Vec::new(), body: Content::Event(event.contents()) }
            .header("content-type", kind)
    }

    /// `200 OK` with a streamed body, which the function writes after the head has been sent.
    ///
    /// The function runs concurrently with the handler, and goes on after the handler has returned. `Ok` ends the
    /// body; an error breaks it off, so that the client can tell. The error's message goes to the component's
    /// standard error, except for [`Gone`], which is expected: a function with nothing to clean up can write
    /// `body.send(…).await?`.
    ///
    /// Between two chunks, only [`cancellation()`](crate::cancellation()) reports a disconnect:
    ///
    /// ```no_run
    /// use linger_guest::{Request, Response, cancellation, select, sleep};
    /// use std::time::Duration;
    ///
    /// async fn ticks(_request: Request) -> Response {
    ///     Response::stream(async |body| {
    ///         let cancellation = cancellation();
    ///         loop {
    ///             select! {
    ///                 _ = cancellation.cancelled() => return Ok(()),
    ///                 () = sleep(Duration::from_secs(10)) => body.send("data: tick\n\n").await?,
    ///             }
    ///         }
    ///     })
    ///     .header("content-type", "text/event-stream")
    /// }
    /// ```
    pub fn stream<F>(write: F) -> Self
    where
        F: AsyncFnOnce(&mut BodyWriter) -> Result<(), Box<dyn Error>> + 'static,
    {
        let (mut writer, chunks, end) = BodyWriter::new();
        spawn_local(async move {
            match write(&mut writer).await {
                Ok(()) => writer.finish().await,
                Err(error) if error.is::<Gone>() => {}
                Err(error) => eprintln!("the response broke off: {error}"),
            }
        });
        Self { status: 200, headers: Vec::new(), body: Content::Stream(chunks, end) }
    }

    /// Sets the status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header. If HTTP does not allow the name or the value, the response becomes a `500` that says so, and
    /// the component's standard error says so as well.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the header `retry-after`, in whole seconds, rounded up.
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header("retry-after", seconds.to_string())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Response");
        debug.field("status", &self.status);
        for (name, value) in &self.headers {
            debug.field(name, &String::from_utf8_lossy(value));
        }
        debug.finish_non_exhaustive()
    }
}

/// For components that export `wasi:http/handler` themselves. Call it in the handler's task, from which the body is
/// written. A response that HTTP does not allow becomes a `500` that says so.
impl From<Response> for types::Response {
    fn from(response: Response) -> Self {
        let Response { status, headers, body } = response;
        let made = match body {
            Content::Whole(data) => whole::respond(status, &headers, &data),
            Content::Event(event) => event.respond(status, &headers),
            Content::Stream(chunks, end) => {
                return streamed(status, &headers, chunks, end).unwrap_or_else(|error| bare(&error));
            }
        };
        made.unwrap_or_else(|error| bare(&error.to_string()))
    }
}

/// What is sent instead of a response that was refused.
fn bare(error: &str) -> types::Response {
    eprintln!("the response was refused: {error}");
    let text = format!("the answer of the handler is not valid: {error}\n");
    let kind = ("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec());
    whole::respond(500, &[kind], text.as_bytes()).unwrap_or_else(|_| {
        let (bare, _transmitted) = types::Response::new(Fields::new(), None, no_trailers());
        // 500 is a status.
        let _ = bare.set_status_code(500);
        bare
    })
}

fn streamed(
    status: u16,
    headers: &[(String, Vec<u8>)],
    chunks: StreamReader<u8>,
    end: FutureReader<WasiTrailers>,
) -> Result<types::Response, String> {
    let fields = Fields::from_list(headers).map_err(|error| error.to_string())?;
    // The future tells how the transmission went: `cancellation` and the queues know it better.
    let (response, _transmitted) = types::Response::new(fields, Some(chunks), end);
    response.set_status_code(status).map_err(|()| format!("there is no status {status}"))?;
    Ok(response)
}

/// The end of a body that ends in order, with nothing after it.
fn no_trailers() -> FutureReader<WasiTrailers> {
    // Dropping the writer writes the default.
    let (_, trailers) = wit_future::new::<WasiTrailers>(|| Ok(None));
    trailers
}

#[cfg(test)]
impl Response {
    pub(crate) fn status_code(&self) -> u16 {
        self.status
    }

    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Content::Whole(data) => data,
            _ => panic!("not of the handler's bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up() {
        let response = Response::new(503).retry_after(Duration::from_millis(1001));
        assert_eq!(response.headers, [("retry-after".to_string(), b"2".to_vec())]);
    }
}
