//! The body of a guest's response, on its way to hyper.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::Ladder;
use super::guard::Guard;
use crate::guest::{Body, BodyError};

/// Passes frames on, and tells the guard how the body ended.
pub(super) struct GuardedBody {
    body: Body,
    /// `None` once the end is known.
    guard: Option<Guard>,
    ladder: Ladder,
    /// What is still to come, where the length is known. Hyper asks for no more than that.
    remaining: Option<u64>,
}

impl GuardedBody {
    /// `length` is what the head says, for bodies that do not say it themselves.
    pub(super) fn new(body: Body, length: Option<u64>, guard: Guard, ladder: Ladder) -> Self {
        let remaining = body.size_hint().exact().or(length);
        Self { body, guard: Some(guard), ladder, remaining }
    }

    fn note_frame(&mut self, frame: &Frame<Bytes>) {
        if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
            *remaining = remaining.saturating_sub(data.len() as u64);
        }
    }

    /// Whether a consumer that stops now has all of it.
    fn is_whole(&self) -> bool {
        self.remaining == Some(0) || self.body.is_end_stream()
    }

    fn cut(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(guard) = self.guard.take() {
            guard.cut(&error);
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for GuardedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let Some(guard) = &mut this.guard else { return polled };
        match polled {
            Poll::Pending => {
                // Hyper flushes what it has while it waits.
                guard.part_may_have_left();
                match this.ladder.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    // The guest had its time.
                    Poll::Ready(_) => this.cut(BodyError::ConnectionTimeout),
                }
            }
            Poll::Ready(Some(Err(error))) => this.cut(error),
            Poll::Ready(Some(Ok(frame))) => {
                this.note_frame(&frame);
                let last = this.is_whole();
                if last && this.guard.as_ref().is_some_and(Guard::client_left) {
                    // Nothing of a small response has been written yet: so nothing will be.
                    this.guard = None;
                    return Poll::Ready(Some(Err(BodyError::ConnectionTerminated)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if guard.guest_failed() => this.cut(BodyError::HttpResponseIncomplete),
            Poll::Ready(None) => {
                if let Some(guard) = this.guard.take() {
                    guard.response_ended();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.guard.as_ref().is_some_and(Guard::guest_failed)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        let whole = self.is_whole();
        if let Some(guard) = self.guard.take() {
            if guard.guest_failed() {
                guard.failed();
            } else if whole {
                // Hyper does not ask for the end of a body whose end it knows.
                guard.response_ended();
            }
            // Otherwise hyper gave it up: the guard's own drop says so.
        }
    }
}
