//! Sends the body of a response, as far as the client's window allows.
//!
//! H2 is given no more than the client's windows and its own small buffer have room for. What waits for room is here, so
//! that a stream that is given up can be reset, and its client never gets the rest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http_body::{Body as _, Frame};

use linger_base::rate::MinRate;
use linger_wasm::BodyError;

use super::head;
use super::stall::StallTimer;
use crate::connection::Connection;
use crate::request::body::{FlushedBody, GuardedBody};
use crate::request::progress::TrackedChunk;

/// A frame that every client takes (RFC 9113, section 4.2). A larger one could be cut by h2, which then cannot take the
/// rest of the last one back.
const FRAME: usize = 16 * 1024;

/// A response whose head is with h2.
pub(super) struct SendingResponse {
    stream: SendStream<TrackedChunk>,
    body: GuardedBody,
    connection: Arc<Connection>,
    /// What there was no room for yet, and whether it is the last of the body.
    rest: Option<(TrackedChunk, bool)>,
    stall: StallTimer,
    /// Nothing is left here.
    ended: bool,
    /// All of it is with h2, and may wait for the socket.
    leaving: Option<FlushedBody>,
}

impl SendingResponse {
    /// `ended`: there is nothing but the head.
    pub(super) fn new(
        stream: SendStream<TrackedChunk>,
        body: GuardedBody,
        ended: bool,
        (connection, pace): (Arc<Connection>, Option<MinRate>),
    ) -> Self {
        let stall = StallTimer::new(pace);
        let mut this = Self { stream, body, connection, rest: None, stall, ended: false, leaving: None };
        if ended {
            this.finish();
        }
        this
    }

    /// Ready when there is nothing left to do for the stream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.ended {
            // Before each step: whoever resets a stream gets no more of it. And it wakes when that happens.
            if self.stream.poll_reset(cx).is_ready() {
                self.lose();
                break;
            }
            match self.rest.take() {
                Some((chunk, last)) => ready!(self.poll_send(chunk, last, cx)),
                None => match ready!(self.poll_body(cx)) {
                    Some(Ok(frame)) => self.take(frame),
                    Some(Err(error)) => self.break_off(&error),
                    None => self.send_end(),
                },
            }
        }
        self.poll_leaving(cx)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<TrackedChunk>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            self.stall.pause();
        }
        polled
    }

    /// A frame of the body.
    fn take(&mut self, frame: Frame<TrackedChunk>) {
        let frame = match frame.into_data() {
            Ok(chunk) => {
                let last = self.body.is_end_stream();
                if chunk.has_remaining() || last {
                    self.keep(chunk, last);
                }
                return;
            }
            Err(frame) => frame,
        };
        let Ok(mut trailers) = frame.into_trailers() else { return };
        head::strip(&mut trailers);
        self.stream.reserve_capacity(0);
        match self.stream.send_trailers(trailers) {
            Ok(()) => self.finish(),
            Err(_) => self.lose(),
        }
    }

    /// Keeps what is to be sent, and asks for room for its next piece; for no more, so that streams share the
    /// connection's window.
    fn keep(&mut self, chunk: TrackedChunk, last: bool) {
        self.stream.reserve_capacity(chunk.remaining().min(FRAME));
        self.rest = Some((chunk, last));
    }

    /// Sends the next piece. Pending without room for it.
    fn poll_send(&mut self, mut chunk: TrackedChunk, last: bool, cx: &mut Context<'_>) -> Poll<()> {
        let room = self.stream.capacity().min(FRAME);
        if room == 0 && chunk.has_remaining() {
            self.rest = Some((chunk, last));
            match self.stream.poll_capacity(cx) {
                Poll::Pending => return self.poll_stall(cx),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => self.lose(),
            }
            return Poll::Ready(());
        }
        let piece = chunk.split_to(room);
        let end = last && !chunk.has_remaining();
        self.stall.record_progress(piece.remaining());
        if self.stream.send_data(piece, end).is_err() {
            self.lose();
        } else if end {
            self.finish();
        } else if chunk.has_remaining() {
            self.keep(chunk, last);
        }
        Poll::Ready(())
    }

    /// The client is waited for. Ready when nobody waits for the response any more, or that was too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.body.poll_ended(cx).is_ready() {
            self.body.give_up();
        } else {
            ready!(self.stall.poll_over(&self.connection, cx));
            self.body.mark_stalled();
        }
        self.reset(Reason::CANCEL);
        Poll::Ready(())
    }

    /// The end of the stream, which is known only now.
    fn send_end(&mut self) {
        // It fails for a stream that was reset; what that means for the response shows where it is settled.
        let _ = self.stream.send_data(TrackedChunk::new(Bytes::new(), None), true);
        self.finish();
    }

    /// H2 has all of it.
    fn finish(&mut self) {
        self.leaving = self.body.finish();
        self.ended = true;
    }

    fn break_off(&mut self, error: &BodyError) {
        let given_up = matches!(error, BodyError::ConnectionTimeout | BodyError::ConnectionTerminated);
        self.reset(if given_up { Reason::CANCEL } else { Reason::INTERNAL_ERROR });
    }

    fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
        self.rest = None;
        self.ended = true;
    }

    /// The client has left.
    fn lose(&mut self) {
        self.body.lose();
        self.rest = None;
        self.ended = true;
    }

    /// What has not left for the kernel when nobody waits for it any more is taken back.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(leaving) = &mut self.leaving else { return Poll::Ready(()) };
        if leaving.poll_ended(cx).is_ready() {
            if leaving.give_up() {
                self.reset(Reason::CANCEL);
            }
            return Poll::Ready(());
        }
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        ready!(self.stall.poll_over(&self.connection, cx));
        leaving.mark_stalled();
        self.reset(Reason::CANCEL);
        Poll::Ready(())
    }
}
