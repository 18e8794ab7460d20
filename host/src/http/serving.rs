//! Hyper on a connection whose version of HTTP is known.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;

use super::body::GuardedBody;
use super::stream::ClientStream;
use super::version::Version;
use crate::config::{Detection, Limits};
use crate::net::Eof;

/// A connection that is served. Each version in a box of its own size: one of HTTP/2 needs twice the room.
pub(super) enum Serving<S: Handler> {
    Http1(Pin<Box<http1::Connection<TokioIo<ClientStream>, S>>>),
    Http2(Pin<Box<http2::Connection<TokioIo<ClientStream>, S, Tasks>>>),
}

/// What answers requests.
pub(super) trait Handler:
    Service<
        Request<Incoming>,
        Response = Response<GuardedBody>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send + 'static,
    >
{
}

impl<S> Handler for S where
    S: Service<
            Request<Incoming>,
            Response = Response<GuardedBody>,
            Error: Into<Box<dyn Error + Send + Sync>>,
            Future: Send + 'static,
        >
{
}

/// What hyper goes by.
pub(super) struct Terms<'a> {
    pub(super) limits: &'a Limits,
    pub(super) detection: &'a Detection,
    pub(super) eof: Eof,
    /// Owns hyper's tasks.
    pub(super) tasks: &'a TaskTracker,
}

impl<S: Handler> Serving<S> {
    pub(super) fn new(version: Version, stream: ClientStream, handler: S, terms: &Terms<'_>) -> Self {
        let stream = TokioIo::new(stream);
        match version {
            Version::Http1 => Self::Http1(Box::pin(terms.http1().serve_connection(stream, handler))),
            Version::Http2 => Self::Http2(Box::pin(terms.http2().serve_connection(stream, handler))),
        }
    }

    /// It ends when its requests have, and takes no more. To be polled on.
    pub(super) fn shut_down(&mut self) {
        match self {
            Self::Http1(connection) => connection.as_mut().graceful_shutdown(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
        }
    }
}

impl<S: Handler> Future for Serving<S> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Http1(connection) => connection.as_mut().poll(cx),
            Self::Http2(connection) => connection.as_mut().poll(cx),
        }
    }
}

impl Terms<'_> {
    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            // Whoever supervises the connection bounds that, and tells it from a wait for the next request.
            .header_read_timeout(None)
            .max_buf_size(self.head_size())
            .half_close(self.eof == Eof::Tolerant);
        builder
    }

    fn http2(&self) -> http2::Builder<Tasks> {
        let mut builder = http2::Builder::new(Tasks(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.max_streams_per_connection)
            .max_header_list_size(u32::try_from(self.head_size()).unwrap_or(u32::MAX));
        if let Some((interval, timeout)) = self.detection.ping() {
            // A process that has stopped still has a kernel that answers probes. Only it answers a PING.
            builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
        }
        builder
    }

    fn head_size(&self) -> usize {
        usize::try_from(self.limits.max_head_size.as_u64()).unwrap_or(usize::MAX)
    }
}

/// Runs hyper's tasks under their owner.
#[derive(Clone)]
pub(super) struct Tasks(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
