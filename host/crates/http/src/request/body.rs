//! The body of a response, on its way to hyper or h2.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use linger_net::ReceiptBaseline;
use linger_wasm::{BodyError, BoundaryBody, ResponseGuard};

use crate::request::guard::Guard;
use crate::request::progress::{BodyProgress, ResponseRest, TrackedChunk};

/// Passes frames on, and tells the guard how the body ended.
pub(crate) struct GuardedBody {
    body: BoundaryBody,
    guarded: Option<GuardedState>,
    /// When all was passed on, and may take long to leave.
    leaving: Option<FlushedBody>,
}

/// A body that is with h2, and may wait there for the socket. It goes with the connection.
pub(crate) struct FlushedBody {
    progress: Weak<BodyProgress>,
    ended: GuestBodyStream,
}

impl FlushedBody {
    /// Ready when it has left, or nobody waits for it any more.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(cx)
    }

    /// If nobody waits for it any more, says so. Returns whether some of it is still there.
    pub(crate) fn give_up(&self) -> bool {
        let Some(progress) = self.progress.upgrade().filter(|progress| progress.outstanding() > 0) else {
            return false;
        };
        if let Some(guard) = progress.take() {
            guard.cut(&BodyError::ConnectionTimeout);
        }
        true
    }

    /// The client has stopped to read.
    pub(crate) fn mark_stalled(&self) {
        if let Some(guard) = self.progress.upgrade().and_then(|progress| progress.take()) {
            guard.end_stalled();
        }
    }
}

/// What is known of a guest's body until its end.
struct GuardedState {
    guard: Guard,
    progress: Arc<BodyProgress>,
    /// What is still to come, where the length is known. Hyper asks for no more than that.
    remaining: Option<u64>,
    /// Resolves when the exchange has ended, whoever ended it.
    ended: Option<GuestBodyStream>,
    mark: Option<ReceiptBaseline>,
    /// The last frame was passed on, so that no news can keep it back.
    last_passed: bool,
    /// The last frame, or the end after it, while it waits for news of the client.
    held: Option<(Option<Frame<Bytes>>, GuestBodyStream)>,
    /// The place of the request in its instance.
    _hold: ResponseGuard,
}

type GuestBodyStream = Pin<Box<dyn Future<Output = ()> + Send>>;
type PolledFrame = Poll<Option<Result<Frame<TrackedChunk>, BodyError>>>;

impl GuardedBody {
    /// A guest's body. `length` is what the head says, for bodies that do not say it themselves.
    pub(crate) fn new(body: BoundaryBody, length: Option<u64>, guard: Guard, hold: ResponseGuard) -> Self {
        let remaining = body.size_hint().exact().or(length);
        let progress = guard.progress();
        let guarded = GuardedState {
            guard,
            progress,
            remaining,
            ended: None,
            mark: None,
            last_passed: false,
            held: None,
            _hold: hold,
        };
        Self { body, guarded: Some(guarded), leaving: None }
    }

    /// A body of the host's own, which no outcome depends on.
    pub(crate) fn plain(body: BoundaryBody) -> Self {
        Self { body, guarded: None, leaving: None }
    }

    /// The client has left, or the body is not wanted any more.
    pub(crate) fn lose(&mut self) {
        if let Some(guarded) = self.guarded.take()
            && guarded.guard.has_guest_failed()
        {
            guarded.guard.end_failed();
        }
        // Otherwise the guard's own drop says so.
    }

    /// The client has stopped to read.
    pub(crate) fn mark_stalled(&mut self) {
        if let Some(guarded) = self.guarded.take() {
            guarded.guard.end_stalled();
        }
    }

    /// Nobody waits for it any more.
    pub(crate) fn give_up(&mut self) {
        if let Some(guarded) = self.guarded.take() {
            guarded.guard.cut(&BodyError::ConnectionTimeout);
        }
    }

    /// Ready when nobody waits for it any more.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.guarded.as_mut().map_or(Poll::Pending, |guarded| guarded.poll_ended(cx))
    }

    /// H2 has all of it. What may not leave at once is still to be watched.
    pub(crate) fn finish(&mut self) -> Option<FlushedBody> {
        if let Some(guarded) = self.guarded.take() {
            self.leaving = guarded.leaving();
            guarded.end(ResponseRest::Passed);
        }
        self.leaving.take()
    }

    fn cut(&mut self, error: BodyError) -> PolledFrame {
        if let Some(guarded) = self.guarded.take() {
            guarded.guard.cut(&error);
        }
        Poll::Ready(Some(Err(error)))
    }

    fn pass(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) -> PolledFrame {
        if let Some(guarded) = &mut self.guarded {
            let last = guarded.is_whole(&self.body);
            if last && guarded.client_left() {
                // Nothing of a small response has been written yet: so nothing will be.
                self.guarded = None;
                return Poll::Ready(Some(Err(BodyError::ConnectionTerminated)));
            }
            if last && let Some(news) = guarded.guard.news() {
                guarded.held = Some((Some(frame), Box::pin(news)));
                return self.poll_held(cx);
            }
        }
        self.release(Some(frame))
    }

    fn end(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        if let Some(guarded) = &mut self.guarded
            && let Some(news) = guarded.guard.news()
        {
            guarded.held = Some((None, Box::pin(news)));
            return self.poll_held(cx);
        }
        self.release(None)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let this = self;
        if this.guarded.as_ref().is_some_and(|guarded| guarded.held.is_some()) {
            return this.poll_held(cx);
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match (polled, &mut this.guarded) {
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Pending, Some(guarded)) => {
                // Hyper flushes what it has while it waits.
                guarded.guard.mark_part_sent();
                if guarded.poll_ended(cx).is_ready() {
                    return this.cut(BodyError::ConnectionTimeout);
                }
                Poll::Pending
            }
            (Poll::Ready(Some(Err(error))), _) => this.cut(error),
            (Poll::Ready(Some(Ok(frame))), guarded) => {
                if let Some(guarded) = guarded {
                    guarded.guard.record_sent(frame.data_ref().map_or(0, Bytes::len));
                    guarded.note(&frame);
                }
                this.pass(frame, cx)
            }
            (Poll::Ready(None), Some(guarded)) if guarded.guard.has_guest_failed() => {
                this.cut(BodyError::HttpResponseIncomplete)
            }
            (Poll::Ready(None), _) => this.end(cx),
        }
    }

    /// Passes the last frame, or the end, on after the news was read. Hyper looks for the end of the stream before.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let held = self.guarded.as_mut().and_then(|guarded| guarded.held.take());
        let Some((frame, mut news)) = held else { return Poll::Pending };
        if news.as_mut().poll(cx).is_pending() {
            if let Some(guarded) = &mut self.guarded {
                guarded.held = Some((frame, news));
            }
            return Poll::Pending;
        }
        self.release(frame)
    }

    fn release(&mut self, frame: Option<Frame<Bytes>>) -> PolledFrame {
        if let Some(guarded) = &mut self.guarded
            && !guarded.last_passed
            && (frame.is_none() || guarded.is_whole(&self.body))
        {
            guarded.mark = guarded.mark.or_else(|| guarded.guard.mark());
            guarded.last_passed = true;
        }
        let Some(frame) = frame else {
            if let Some(guarded) = self.guarded.take() {
                self.leaving = guarded.leaving();
                guarded.end(ResponseRest::ToCome);
            }
            return Poll::Ready(None);
        };
        let progress = self.guarded.as_ref().map(|guarded| &guarded.progress);
        Poll::Ready(Some(Ok(frame.map_data(|bytes| TrackedChunk::new(bytes, progress)))))
    }
}

/// Resolves when the exchange has ended.
fn when_ended(guard: &Guard) -> GuestBodyStream {
    let exchange = guard.exchange().clone();
    Box::pin(async move { exchange.wait_ended().await })
}

impl GuardedState {
    fn note(&mut self, frame: &Frame<Bytes>) {
        if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
            *remaining = remaining.saturating_sub(data.len() as u64);
        }
    }

    /// Whether the client has left, where that matters. Where the last bytes are marked, that asks the kernel as well.
    fn client_left(&mut self) -> bool {
        self.mark = self.guard.mark();
        if self.mark.is_some() { self.guard.had_client_left() } else { self.guard.has_client_left() }
    }

    /// Whether a consumer that stops now has all of it.
    fn is_whole(&self, body: &BoundaryBody) -> bool {
        self.held.is_none() && (self.remaining == Some(0) || body.is_end_stream())
    }

    /// Whether hyper has all of it. One that waits for news says that it has an end, and hyper asks for that.
    fn was_passed(&self, body: &BoundaryBody) -> bool {
        self.is_whole(body) && (self.last_passed || !self.guard.wants_news())
    }

    fn end(self, rest: ResponseRest) {
        self.guard.mark_passed_on();
        let mark = self.mark.or_else(|| self.guard.mark());
        self.progress.end(self.guard, mark, rest);
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let guard = &self.guard;
        self.ended.get_or_insert_with(|| when_ended(guard)).as_mut().poll(cx)
    }

    fn leaving(&self) -> Option<FlushedBody> {
        let leaving =
            || FlushedBody { progress: Arc::downgrade(&self.progress), ended: when_ended(&self.guard) };
        self.progress.may_stay().then(leaving)
    }
}

impl http_body::Body for GuardedBody {
    type Data = TrackedChunk;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        let polled = self.poll_next(cx);
        if let Some(guarded) = &self.guarded {
            guarded.progress.note_resets();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let open = self.guarded.as_ref().is_some_and(|GuardedState { guard, held, last_passed, .. }| {
            held.is_some() || guard.has_guest_failed() || (!last_passed && guard.wants_news())
        });
        self.body.is_end_stream() && !open
    }

    fn size_hint(&self) -> SizeHint {
        match &self.guarded {
            Some(GuardedState { held: Some(_), .. }) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if let Some(guarded) = self.guarded.take() {
            if guarded.guard.has_guest_failed() {
                guarded.guard.end_failed();
            } else if guarded.was_passed(&self.body) {
                // Hyper does not ask for the end of a body whose end it knows.
                guarded.end(ResponseRest::Passed);
            }
            // Otherwise hyper gave it up: the guard's own drop says so.
        }
    }
}
