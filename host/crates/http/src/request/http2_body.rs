//! The body of a request over HTTP/2.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::task::AtomicWaker;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};

use linger_wasm::BodyError;

/// The body of a request. What was taken of it is room for the client to send more.
pub(crate) struct Http2Body {
    stream: RecvStream,
    /// What is still to come, where the head has said it. H2 holds the client to that.
    remaining: Option<u64>,
    /// All data has come; trailers may.
    data_ended: bool,
    /// Given when the first part is asked for, where the client waits for it.
    leave: Option<Arc<ContinueSignal>>,
}

/// Leave to send a body, for a client that said `expect: 100-continue`.
#[derive(Default)]
pub(crate) struct ContinueSignal {
    wanted: AtomicBool,
    stream: AtomicWaker,
}

impl ContinueSignal {
    fn want(&self) {
        self.wanted.store(true, Ordering::Release);
        self.stream.wake();
    }

    /// Ready, once, when somebody reads the body.
    pub(crate) fn poll_wanted(&self, cx: &Context<'_>) -> Poll<()> {
        self.stream.register(cx.waker());
        if self.wanted.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Http2Body {
    pub(crate) fn new(stream: RecvStream, length: Option<u64>, leave: Option<Arc<ContinueSignal>>) -> Self {
        Self { stream, remaining: length, data_ended: false, leave }
    }
}

/// What the end of a body that broke off means. None: the client wants no answer to the rest (RFC 9113, section 8.1).
fn failure(error: &h2::Error) -> Option<BodyError> {
    match error.reason() {
        Some(Reason::NO_ERROR) => None,
        None | Some(Reason::CANCEL | Reason::STREAM_CLOSED) => Some(BodyError::ConnectionTerminated),
        Some(_) => Some(BodyError::HttpProtocolError),
    }
}

impl Body for Http2Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(leave) = this.leave.take() {
            leave.want();
        }
        if !this.data_ended {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails for a stream that has ended, where nobody needs the room.
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if let Some(remaining) = &mut this.remaining {
                        *remaining = remaining.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(failure(&error).map(Err)),
                None => this.data_ended = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(failure(&error).map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map(SizeHint::with_exact).unwrap_or_default()
    }
}
