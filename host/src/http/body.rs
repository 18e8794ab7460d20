//! The body of a response, on its way to hyper.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio_util::task::TaskTracker;

use super::Ladder;
use super::guard::Guard;
use super::progress::{Chunk, Progress};
use crate::exchange::Outcome;
use crate::guest::{Body, BodyError};

/// How often the last frame of an HTTP/2 response waits for the connection to read what has come in.
const ROUNDS: u8 = 10;

/// Passes frames on, and tells the guard how the body ended.
pub(super) struct GuardedBody {
    body: Body,
    guarded: Option<Guarded>,
}

/// What is known of a guest's body until its end.
struct Guarded {
    guard: Guard,
    progress: Arc<Progress>,
    /// What is still to come, where the length is known. Hyper asks for no more than that.
    remaining: Option<u64>,
    supervision: Supervision,
    /// The last frame, while it waits for what may be known of the client.
    held: Option<Frame<Bytes>>,
    rounds: u8,
}

/// Who runs the ladder. A body that is there at once needs nobody.
enum Supervision {
    NotYet(Ladder, TaskTracker),
    /// Resolves when the exchange has ended, whoever ended it.
    Running(Pin<Box<dyn Future<Output = ()> + Send>>),
    None,
}

type Polled = Poll<Option<Result<Frame<Chunk>, BodyError>>>;

impl GuardedBody {
    /// A guest's body. `length` is what the head says, for bodies that do not say it themselves.
    pub(super) fn new(
        body: Body,
        length: Option<u64>,
        guard: Guard,
        ladder: Ladder,
        tasks: TaskTracker,
    ) -> Self {
        let remaining = body.size_hint().exact().or(length);
        let supervision = Supervision::NotYet(ladder, tasks);
        let progress = guard.progress();
        let guarded = Guarded { guard, progress, remaining, supervision, held: None, rounds: 0 };
        Self { body, guarded: Some(guarded) }
    }

    /// A body of the host's own, which no outcome depends on.
    pub(super) fn plain(body: Body) -> Self {
        Self { body, guarded: None }
    }

    fn cut(&mut self, error: BodyError) -> Polled {
        if let Some(guarded) = self.guarded.take() {
            guarded.guard.cut(&error);
        }
        Poll::Ready(Some(Err(error)))
    }

    fn pass(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) -> Polled {
        if let Some(guarded) = &mut self.guarded {
            let last = guarded.is_whole(&self.body);
            if !last {
                guarded.supervise();
            } else if guarded.guard.client_left() {
                // Nothing of a small response has been written yet: so nothing will be.
                self.guarded = None;
                return Poll::Ready(Some(Err(BodyError::ConnectionTerminated)));
            } else if guarded.rounds < ROUNDS && guarded.guard.may_be_leaving() {
                guarded.rounds += 1;
                guarded.held = Some(frame);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let progress = self.guarded.as_ref().map(|guarded| &guarded.progress);
        Poll::Ready(Some(Ok(frame.map_data(|bytes| Chunk::new(bytes, progress)))))
    }
}

impl Guarded {
    fn note(&mut self, frame: &Frame<Bytes>) {
        if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
            *remaining = remaining.saturating_sub(data.len() as u64);
        }
    }

    /// Whether a consumer that stops now has all of it.
    fn is_whole(&self, body: &Body) -> bool {
        self.held.is_none() && (self.remaining == Some(0) || body.is_end_stream())
    }

    fn end(self) {
        self.progress.end(self.guard);
    }

    /// Runs the ladder in a task of its own: hyper does not poll a body while the client does not read.
    fn supervise(&mut self) {
        let (ladder, tasks) = match std::mem::replace(&mut self.supervision, Supervision::None) {
            Supervision::NotYet(ladder, tasks) => (ladder, tasks),
            other => {
                self.supervision = other;
                return;
            }
        };
        let exchange = self.guard.exchange().clone();
        let watched = exchange.clone();
        self.supervision = Supervision::Running(Box::pin(async move { watched.ended().await }));
        let link = self.guard.own_link();
        tasks.spawn(async move {
            tokio::select! {
                () = exchange.ended() => {}
                _ = ladder => {
                    // The guest had its time, or the client had it to read.
                    exchange.end(Outcome::Failed { maybe_delivered: true });
                    if let Some(link) = link {
                        link.abandon();
                    }
                }
            }
        });
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.supervise();
        match &mut self.supervision {
            Supervision::Running(ended) => ended.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl http_body::Body for GuardedBody {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if let Some(frame) = this.guarded.as_mut().and_then(|guarded| guarded.held.take()) {
            return this.pass(frame, cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (polled, &mut this.guarded) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(guarded)) => {
                // Hyper flushes what it has while it waits.
                guarded.guard.part_may_have_left();
                if guarded.poll_ended(cx).is_ready() {
                    return this.cut(BodyError::ConnectionTimeout);
                }
                Poll::Pending
            }
            (Poll::Ready(Some(Err(error))), _) => this.cut(error),
            (Poll::Ready(Some(Ok(frame))), guarded) => {
                if let Some(guarded) = guarded {
                    guarded.note(&frame);
                }
                this.pass(frame, cx)
            }
            (Poll::Ready(None), Some(guarded)) if guarded.guard.guest_failed() => {
                this.cut(BodyError::HttpResponseIncomplete)
            }
            (Poll::Ready(None), _) => {
                if let Some(guarded) = this.guarded.take() {
                    guarded.end();
                }
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let open = self
            .guarded
            .as_ref()
            .is_some_and(|guarded| guarded.held.is_some() || guarded.guard.guest_failed());
        self.body.is_end_stream() && !open
    }

    fn size_hint(&self) -> SizeHint {
        match &self.guarded {
            Some(Guarded { held: Some(_), .. }) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if let Some(guarded) = self.guarded.take() {
            if guarded.guard.guest_failed() {
                guarded.guard.failed();
            } else if guarded.is_whole(&self.body) {
                // Hyper does not ask for the end of a body whose end it knows.
                guarded.end();
            }
            // Otherwise hyper gave it up: the guard's own drop says so.
        }
    }
}
