//! Waits for the receipt of a response: asks the kernel now and then, and listens for what the client does.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use linger_base::rate::RateTracker;
use linger_config::ReceiptWaits;

use super::monitor::{FlushObserver, SocketMonitor};
use super::receipt::{Receipt, ReceiptTracker, SocketObservation};

/// Between questions to the kernel: at least what a timer can tell, at most what nobody notices.
const PAUSES: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(100);

/// The state of the connection just before the last bytes of a response are written.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptBaseline {
    /// What had come in by then; `None` if the kernel does not tell.
    received: Option<u64>,
    /// How many requests there had been.
    requests: u64,
    at: Instant,
}

/// A response whose receipt is waited for.
struct FollowedResponse {
    tracker: ReceiptTracker,
    mark: Option<ReceiptBaseline>,
    /// A request that comes after the last look.
    request: Pin<Box<OwnedNotified>>,
}

/// Until when a receipt is waited for: for the response to arrive, and then for a sign that it was read.
struct ReceiptDeadlines {
    waits: ReceiptWaits,
    moved: u64,
    arrival: RateTracker,
    /// Once it has arrived.
    sign: Option<Instant>,
}

impl ReceiptDeadlines {
    fn new(tracker: &ReceiptTracker, waits: ReceiptWaits) -> Self {
        let now = Instant::now();
        let mut patience =
            Self { waits, moved: 0, arrival: RateTracker::new(waits.acknowledgement, now), sign: None };
        patience.limit(tracker, now);
        patience
    }

    /// The limit, which moves on when the client has more than it had.
    fn limit(&mut self, tracker: &ReceiptTracker, now: Instant) -> Instant {
        if tracker.is_acknowledged() && !tracker.awaits_reading() {
            return *self.sign.get_or_insert(now + self.waits.confirmation);
        }
        let moved = tracker.moved();
        self.arrival.advance(moved.saturating_sub(self.moved), now);
        self.moved = moved;
        self.arrival.limit()
    }
}

impl<T: FlushObserver> SocketMonitor<T> {
    /// Notes what a receipt compares with, and before that how the client has left, as far as the kernel knows. One system
    /// call if it is there, a few otherwise; none blocks.
    pub fn mark(&self) -> ReceiptBaseline {
        let requests = self.requests.count.load(Ordering::Acquire);
        let received = self.look_and_count().map(|(_, counts)| counts.received);
        ReceiptBaseline { received, requests, at: Instant::now() }
    }

    /// Waits until it is known how a response ended that takes up `span` among the bytes that this side has
    /// [`written_bytes`](Self::written_bytes), all of them flushed. The call itself looks for the first time, so it should
    /// come right after the flush.
    ///
    /// Ends early when the client closes, resets, or sends its next request; that counts with a `mark`, which
    /// is for connections where requests come one after the other. While bytes are being acknowledged it goes
    /// on.
    pub fn receipt(
        self: &Arc<Self>,
        span: &Range<u64>,
        mark: Option<ReceiptBaseline>,
        waits: ReceiptWaits,
    ) -> impl Future<Output = Receipt> + Send + use<T>
    where
        T: 'static,
    {
        let received = mark.and_then(|mark| mark.received);
        let tracker = ReceiptTracker::new(span, received, self.is_half_closed())
            .whose_resets_tell_nothing(waits.resets_tell_nothing);
        // Boxed, for what moves into a task takes its room there more than once.
        let mut followed =
            Box::new(FollowedResponse { tracker, mark, request: Box::pin(self.next_request()) });
        let receipt = self.judge(&mut followed);
        let link = self.clone();
        async move {
            match receipt {
                Some(receipt) => receipt,
                None => link.follow(&mut followed, waits).await,
            }
        }
    }

    /// Looks again at whatever may be news, until it is final.
    async fn follow(&self, followed: &mut FollowedResponse, waits: ReceiptWaits) -> Receipt {
        let mut pause = PAUSES.start;
        let mut patience = ReceiptDeadlines::new(&followed.tracker, waits);
        loop {
            let tracker = &followed.tracker;
            let now = Instant::now();
            let limit = patience.limit(tracker, now);
            if now >= limit {
                let receipt = tracker.give_up();
                if receipt != Receipt::Acknowledged {
                    // Its events are for another now.
                    self.abandon();
                }
                return receipt;
            }
            pause = pause.max(tracker.rtt()).min(PAUSES.end);
            // The end of the stream wakes, and so does a reset; an acknowledgement does not, nor does what
            // follows an end.
            let asks_again = !tracker.is_acknowledged() || tracker.awaits_reading() || self.end().is_some();
            let next = if asks_again { limit.min(now + pause) } else { limit };
            tokio::select! {
                () = followed.request.as_mut() => followed.request.set(self.next_request()),
                () = self.watch(), if self.end().is_none() => {}
                () = sleep_until(next) => pause *= 2,
            }
            if let Some(receipt) = self.judge(followed) {
                return receipt;
            }
        }
    }

    /// Resolves when the next request begins, from now on.
    fn next_request(&self) -> OwnedNotified {
        self.requests.began.clone().notified_owned()
    }

    /// The receipt, if what can be seen now makes it final.
    fn judge(&self, followed: &mut FollowedResponse) -> Option<Receipt> {
        let seen = self.observe(followed.mark);
        seen.map_or(Some(Receipt::Written), |seen| followed.tracker.observe(&seen))
    }

    /// The connection as it is now; `None` if the kernel does not tell. A few system calls, which do not block.
    fn observe(&self, mark: Option<ReceiptBaseline>) -> Option<SocketObservation> {
        let (end, counts) = self.look_and_count()?;
        let next = mark.filter(|mark| self.requests.count.load(Ordering::Acquire) > mark.requests);
        let next_request = next.map(|_| self.requests.read.load(Ordering::Acquire));
        let after = mark.map_or(Duration::ZERO, |mark| mark.at.elapsed());
        Some(SocketObservation { counts, end, next_request, after })
    }
}
