//! Request bodies to read, and response bodies to write.

use crate::bindings::whole::linger::host::whole;
use std::{error, fmt};
use wasip3::http::types::{ErrorCode, Fields, Request};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};
use wasip3::{wit_future, wit_stream};

/// The trailer fields after a body, in order: names in lower case, and values.
///
/// ```
/// use linger_guest::Trailers;
///
/// let trailers: Trailers = vec![("checksum".into(), b"5d41402a".to_vec())];
/// ```
pub type Trailers = Vec<(String, Vec<u8>)>;

pub(crate) type WasiTrailers = Result<Option<Fields>, ErrorCode>;

/// How much one read asks for.
const CHUNK: usize = 64 * 1024;

/// The body of a request.
///
/// Reading applies backpressure: a client can send no more than the guest reads and the buffers hold. Dropping the
/// body before its end refuses the rest.
///
/// ```no_run
/// use linger_guest::{BodyError, Request};
///
/// async fn discard(request: Request) -> Result<(), BodyError> {
///     let mut body = request.into_body();
///     while let Some(_chunk) = body.next_chunk().await? {}
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Body(State);

#[derive(Debug)]
enum State {
    /// Nothing of it was read. `None` only while it is being opened.
    Untouched(Option<Request>),
    Streaming(Streaming),
}

/// A body that is read chunk by chunk.
#[derive(Debug)]
struct Streaming {
    chunks: StreamReader<u8>,
    end: End,
    /// Tells the host, when it is dropped, that the guest is done with the body.
    _done: FutureWriter<Result<(), ErrorCode>>,
}

#[derive(Debug)]
enum End {
    Ahead(FutureReader<WasiTrailers>),
    Reached(Trailers),
    Failed,
}

impl Body {
    pub(crate) fn of(request: Request) -> Self {
        Self(State::Untouched(Some(request)))
    }

    fn open(&mut self) -> &mut Streaming {
        if let State::Untouched(request) = &mut self.0
            && let Some(request) = request.take()
        {
            self.0 = State::Streaming(Streaming::of(request));
        }
        match &mut self.0 {
            State::Streaming(streaming) => streaming,
            State::Untouched(_) => unreachable!("it was opened"),
        }
    }

    /// Waits for the next bytes of the body, as many as have arrived, at least one; `None` at its end.
    ///
    /// Not cancel-safe: bytes that arrived as the returned future was dropped may be lost.
    ///
    /// # Errors
    ///
    /// [`BodyError::Broken`] when the body broke off, for example because its client disconnected.
    ///
    /// ```no_run
    /// # use linger_guest::{Request, Response, Result};
    /// async fn count(request: Request) -> Result<Response> {
    ///     let mut body = request.into_body();
    ///     let mut length = 0;
    ///     while let Some(chunk) = body.next_chunk().await? {
    ///         length += chunk.len();
    ///     }
    ///     Ok(Response::text(format!("{length} bytes\n")))
    /// }
    /// ```
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        self.open().next_chunk().await
    }

    /// Waits for the end of the body, and returns all of it, if it is not larger than `limit` bytes. If nothing was
    /// read before, this is one call to the host, and the fastest way.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] as soon as the limit is exceeded, [`BodyError::Broken`] when the body broke off.
    /// Returned from a handler by `?`, they become responses with `413` and `400`.
    ///
    /// ```no_run
    /// # use linger_guest::{Request, Result};
    /// # async fn doc(request: Request) -> Result<()> {
    /// let data: Vec<u8> = request.into_body().bytes(1024 * 1024).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bytes(self, limit: usize) -> Result<Vec<u8>, BodyError> {
        match self.0 {
            State::Untouched(Some(request)) => {
                whole::body(&request, limit as u64).await.map_err(|error| match error {
                    whole::BodyError::TooLarge(limit) => {
                        BodyError::TooLarge { limit: usize::try_from(limit).unwrap_or(usize::MAX) }
                    }
                    other => BodyError::Broken(other.to_string()),
                })
            }
            State::Untouched(None) => unreachable!("a body is opened at once"),
            State::Streaming(streaming) => streaming.rest(limit).await,
        }
    }

    /// Waits for the end of the body, discards unread bytes, and returns the trailers, usually none.
    ///
    /// # Errors
    ///
    /// [`BodyError::Broken`] when the body broke off.
    ///
    /// ```no_run
    /// # use linger_guest::{Request, Result};
    /// # async fn doc(request: Request) -> Result<()> {
    /// let mut body = request.into_body();
    /// while let Some(_chunk) = body.next_chunk().await? {}
    /// for (name, value) in body.trailers().await? {
    ///     println!("{name}: {}", String::from_utf8_lossy(&value));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trailers(mut self) -> Result<Trailers, BodyError> {
        while self.next_chunk().await?.is_some() {}
        match std::mem::replace(&mut self.open().end, End::Failed) {
            End::Reached(trailers) => Ok(trailers),
            _ => unreachable!("the body ended without an error"),
        }
    }
}

impl Streaming {
    fn of(request: Request) -> Self {
        let (done, done_reader) = wit_future::new(|| Ok(()));
        let (chunks, end) = Request::consume_body(request, done_reader);
        Self { chunks, end: End::Ahead(end), _done: done }
    }

    async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, BodyError> {
        if matches!(self.end, End::Ahead(_)) {
            loop {
                let (status, chunk) = self.chunks.read(Vec::with_capacity(CHUNK)).await;
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
                if status == StreamResult::Dropped {
                    break;
                }
            }
            self.finish().await?;
        }
        match self.end {
            End::Reached(_) => Ok(None),
            _ => Err(BodyError::Broken("it has failed before".into())),
        }
    }

    /// What was not read yet.
    async fn rest(mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let mut data = Vec::new();
        while let Some(chunk) = self.next_chunk().await? {
            if data.len() + chunk.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            data.extend_from_slice(&chunk);
        }
        Ok(data)
    }

    /// At the end of the bytes: learns whether the body ended in order.
    async fn finish(&mut self) -> Result<(), BodyError> {
        let End::Ahead(end) = std::mem::replace(&mut self.end, End::Failed) else {
            return Ok(());
        };
        let trailers = end.await.map_err(|code| BodyError::Broken(code.to_string()))?;
        self.end = End::Reached(trailers.map(|fields| fields.copy_all()).unwrap_or_default());
        Ok(())
    }
}

/// Why a request's body could not be read.
///
/// ```
/// use linger_guest::BodyError;
///
/// let error = BodyError::TooLarge { limit: 1024 };
/// assert_eq!(error.to_string(), "the body is larger than 1024 bytes");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body has more bytes than the handler allows.
    TooLarge {
        /// What it allows, in bytes.
        limit: usize,
    },
    /// The body ended too early. The text says how, for the log.
    Broken(String),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the body is larger than {limit} bytes"),
            Self::Broken(how) => write!(f, "the request body broke off: {how}"),
        }
    }
}

impl error::Error for BodyError {}

/// The writing end of the body of a [`Response::stream`](crate::Response::stream).
///
/// ```no_run
/// use linger_guest::BodyWriter;
/// use std::error::Error;
///
/// async fn count(body: &mut BodyWriter) -> Result<(), Box<dyn Error>> {
///     for number in 1..=10 {
///         body.send(format!("{number}\n")).await?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct BodyWriter {
    chunks: StreamWriter<u8>,
    /// Dropped without a word (the call was cancelled, say) it tells the host that the body broke off.
    end: FutureWriter<WasiTrailers>,
    trailers: Trailers,
}

impl BodyWriter {
    /// The writer, and its two ends for the host to read.
    pub(crate) fn new() -> (Self, StreamReader<u8>, FutureReader<WasiTrailers>) {
        let (chunks, chunks_reader) = wit_stream::new();
        let (end, end_reader) = wit_future::new(|| Err(ErrorCode::InternalError(None)));
        (Self { chunks, end, trailers: Vec::new() }, chunks_reader, end_reader)
    }

    /// Sends these bytes, and waits until the host has taken them all (backpressure). Bytes that the host took may
    /// still be on their way to the client.
    ///
    /// Not cancel-safe: dropping the returned future may have sent a part of the bytes.
    ///
    /// # Errors
    ///
    /// [`Gone`] when the body is no longer read. An idle stream learns that from
    /// [`cancellation()`](crate::cancellation()).
    ///
    /// ```no_run
    /// # async fn doc(mut body: linger_guest::BodyWriter) -> Result<(), linger_guest::Gone> {
    /// body.send("data: hi\n\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&mut self, chunk: impl Into<Vec<u8>>) -> Result<(), Gone> {
        match self.chunks.write_all(chunk.into()).await {
            rest if rest.is_empty() => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Adds a trailer field. Trailers are sent at the regular end of the body. Does not block.
    ///
    /// If HTTP does not allow the name or the value, the body breaks off at its end, and the component's standard
    /// error says why.
    ///
    /// ```no_run
    /// # fn doc(mut body: linger_guest::BodyWriter) {
    /// body.trailer("checksum", "5d41402a");
    /// # }
    /// ```
    pub fn trailer(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.trailers.push((name.into(), value.into()));
    }

    /// Ends the body in order. The client can tell the difference.
    pub(crate) async fn finish(self) {
        let trailers = if self.trailers.is_empty() {
            Ok(None)
        } else {
            Fields::from_list(&self.trailers).map(Some).map_err(|error| {
                eprintln!("the trailers were refused: {error}");
                ErrorCode::InternalError(None)
            })
        };
        drop(self.chunks);
        // Fails when nobody reads any more, and then nobody is there to be told.
        let _ = self.end.write(trailers).await;
    }
}

/// This body is no longer read: the client has disconnected, or the server has stopped the response.
///
/// ```no_run
/// use linger_guest::{BodyWriter, Gone};
///
/// async fn greet(body: &mut BodyWriter) {
///     if let Err(Gone) = body.send("hello\n").await {
///         eprintln!("nobody listens");
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the response any more")
    }
}

impl error::Error for Gone {}
