//! The body of a request, over any version of HTTP.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming as Http1Body;

use linger_wasm::BodyError;

use crate::request::http2_body::Http2Body;

/// What a client sends after the head of its request.
pub(crate) enum IncomingBody {
    Http1(Http1Body),
    Http2(Http2Body),
    /// Nothing, as the head said.
    None,
}

impl From<Http1Body> for IncomingBody {
    fn from(body: Http1Body) -> Self {
        Self::Http1(body)
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyReadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyReadError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(BodyReadError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(BodyReadError::from),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}

/// Why a body cannot be read on.
#[derive(Debug)]
pub(crate) struct BodyReadError {
    /// What its guest is told.
    pub(crate) error: BodyError,
    /// It is not as HTTP has it. Otherwise its client has left, or its stream has.
    pub(crate) malformed: bool,
}

impl From<BodyError> for BodyReadError {
    fn from(error: BodyError) -> Self {
        Self { error, malformed: false }
    }
}

impl From<hyper::Error> for BodyReadError {
    fn from(error: hyper::Error) -> Self {
        // Of an end that came too early hyper says so, and of what it cannot read that.
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let kind = cause.map(io::Error::kind);
        let malformed = matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        Self { error: error.into(), malformed }
    }
}
