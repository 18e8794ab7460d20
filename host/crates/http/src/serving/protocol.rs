//! A connection whose version of HTTP is known: hyper speaks HTTP/1.1, and h2 HTTP/2.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use linger_config::{DetectionConfig, HalfClosePolicy, ServerLimits};

use crate::request::body::GuardedBody;
use crate::request::incoming::IncomingBody;
use crate::serving::http2::{self, Http2Connection};
use crate::serving::stream::ClientStream;
use crate::serving::version::HttpVersion;

/// A connection that is served. Each version in a box of its own size: one of HTTP/2 needs twice the room.
pub(crate) enum ServedConnection<S: RequestHandler> {
    Http1(Pin<Box<http1::Connection<TokioIo<ClientStream>, OverHttp1<S>>>>),
    Http2(Box<Http2Connection<S>>),
}

/// What answers requests.
pub(crate) trait RequestHandler:
    Service<
        Request<IncomingBody>,
        Response = Response<GuardedBody>,
        Error: Into<Box<dyn Error + Send + Sync>>,
        Future: Send + 'static,
    >
{
}

impl<S> RequestHandler for S where
    S: Service<
            Request<IncomingBody>,
            Response = Response<GuardedBody>,
            Error: Into<Box<dyn Error + Send + Sync>>,
            Future: Send + 'static,
        >
{
}

/// The same, as hyper wants it.
pub(crate) struct OverHttp1<S>(S);

impl<S: RequestHandler> Service<Request<hyper::body::Incoming>> for OverHttp1<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<hyper::body::Incoming>) -> S::Future {
        self.0.call(request.map(IncomingBody::from))
    }
}

/// What connections go by.
pub(crate) struct HyperSettings<'a> {
    pub(crate) limits: &'a ServerLimits,
    pub(crate) detection: &'a DetectionConfig,
    pub(crate) eof: HalfClosePolicy,
    /// Owns the tasks of streams.
    pub(crate) tasks: &'a TaskTracker,
}

impl<S: RequestHandler> ServedConnection<S> {
    pub(crate) fn new(
        version: HttpVersion,
        stream: ClientStream,
        handler: S,
        terms: &HyperSettings<'_>,
    ) -> Self {
        match version {
            HttpVersion::Http1 => {
                let stream = TokioIo::new(stream);
                Self::Http1(Box::pin(terms.http1().serve_connection(stream, OverHttp1(handler))))
            }
            HttpVersion::Http2 => {
                let terms = http2::Http2Settings::new(terms.limits, terms.detection, terms.tasks);
                Self::Http2(Box::new(Http2Connection::new(stream, handler, terms)))
            }
        }
    }

    /// It ends when its requests have, and takes no more. To be polled on.
    pub(crate) fn shut_down(&mut self) {
        match self {
            Self::Http1(connection) => connection.as_mut().graceful_shutdown(),
            Self::Http2(connection) => connection.shut_down(),
        }
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EarlyEnd {
    #[error(transparent)]
    Http1(hyper::Error),
    #[error(transparent)]
    Http2(http2::Http2EarlyEnd),
}

impl EarlyEnd {
    /// Whether the head of a request was too large.
    pub(crate) fn is_parse_too_large(&self) -> bool {
        matches!(self, Self::Http1(error) if error.is_parse_too_large())
    }
}

impl<S: RequestHandler> Future for ServedConnection<S> {
    type Output = Result<(), EarlyEnd>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Http1(connection) => connection.as_mut().poll(cx).map_err(EarlyEnd::Http1),
            Self::Http2(connection) => Pin::new(connection).poll(cx).map_err(EarlyEnd::Http2),
        }
    }
}

impl HyperSettings<'_> {
    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            // Whoever supervises the connection bounds that, and tells it from a wait for the next request.
            .header_read_timeout(None)
            .max_buf_size(self.head_size())
            .max_headers(self.limits.max_headers)
            .half_close(self.eof == HalfClosePolicy::Tolerant);
        builder
    }

    fn head_size(&self) -> usize {
        usize::try_from(self.limits.max_head_size.as_u64()).unwrap_or(usize::MAX)
    }
}
