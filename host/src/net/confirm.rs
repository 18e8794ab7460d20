//! Waits for the receipt of a response: asks the kernel now and then, and listens for what the client does.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::link::{Flushed, Link};
use super::receipt::{Observation, Receipt, ReceiptWaits, Tracker};

/// Between questions to the kernel: at least what a timer can tell, at most what nobody notices.
const PAUSES: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(100);

/// The moment from which on a receipt is waited for.
struct Start {
    /// How many requests there had been, where they come one after the other.
    requests: Option<u64>,
    at: Instant,
}

/// Until when a receipt is waited for.
struct Patience {
    waits: ReceiptWaits,
    acked: u64,
    acknowledged: bool,
    limit: Instant,
}

impl Patience {
    fn new(tracker: &Tracker, waits: ReceiptWaits) -> Self {
        let acknowledged = tracker.is_acknowledged();
        let wait = if acknowledged { waits.confirmation } else { waits.acknowledgement };
        Self { waits, acked: tracker.acked(), acknowledged, limit: Instant::now() + wait }
    }

    /// The limit, which moves on when the client's kernel has more than it had.
    fn limit(&mut self, tracker: &Tracker, now: Instant) -> Instant {
        if tracker.is_acknowledged() && !self.acknowledged {
            self.acknowledged = true;
            self.limit = now + self.waits.confirmation;
        } else if !self.acknowledged && tracker.acked() > self.acked {
            self.limit = now + self.waits.acknowledgement;
        }
        self.acked = tracker.acked();
        self.limit
    }
}

impl<T: Flushed> Link<T> {
    /// Waits until it is known how a response ended that takes up `span` among the bytes that this side has
    /// [`written`](Self::written), all of them flushed. The call itself looks for the first time, so it should
    /// come right after the flush.
    ///
    /// Ends early when the client closes, resets, or sends its next request; `requests_follow` says whether
    /// requests come one after the other, so that one says something about the response before. While bytes
    /// are being acknowledged it goes on.
    #[cfg(target_os = "linux")]
    pub fn receipt(
        self: &Arc<Self>,
        span: &Range<u64>,
        requests_follow: bool,
        waits: ReceiptWaits,
    ) -> impl Future<Output = Receipt> + Send + use<T>
    where
        T: 'static,
    {
        let count = requests_follow.then(|| self.requests.count.load(Ordering::Acquire));
        let start = Start { requests: count, at: Instant::now() };
        let mut tracker = Tracker::new(span, self.is_half_closed());
        let receipt = self.observe(&start).map_or(Some(Receipt::Written), |seen| tracker.observe(&seen));
        let link = self.clone();
        async move {
            match receipt {
                Some(receipt) => receipt,
                None => link.follow(tracker, start, waits).await,
            }
        }
    }

    #[cfg(target_os = "linux")]
    async fn follow(&self, mut tracker: Tracker, start: Start, waits: ReceiptWaits) -> Receipt {
        let mut pause = PAUSES.start;
        let mut patience = Patience::new(&tracker, waits);
        loop {
            let mut request = pin!(self.requests.began.notified());
            request.as_mut().enable();
            let Some(seen) = self.observe(&start) else { return Receipt::Written };
            if let Some(receipt) = tracker.observe(&seen) {
                return receipt;
            }
            let now = Instant::now();
            let limit = patience.limit(&tracker, now);
            if now >= limit {
                return tracker.give_up();
            }
            pause = pause.max(seen.counts.rtt).min(PAUSES.end);
            // The end of the stream wakes, and so does a reset; an acknowledgement does not, nor does what
            // follows an end.
            let asks_again = !tracker.is_acknowledged() || self.end().is_some();
            let next = if asks_again { limit.min(now + pause) } else { limit };
            tokio::select! {
                () = request => {}
                () = self.watch(), if self.end().is_none() => {}
                () = sleep_until(next) => pause *= 2,
            }
        }
    }

    /// Other systems do not tell.
    #[cfg(not(target_os = "linux"))]
    pub fn receipt(
        &self,
        _: &Range<u64>,
        _: bool,
        _: ReceiptWaits,
    ) -> impl Future<Output = Receipt> + Send + use<T> {
        std::future::ready(Receipt::Written)
    }

    /// The connection as it is now; `None` if the kernel does not tell. Two system calls, which do not block.
    #[cfg(target_os = "linux")]
    fn observe(&self, start: &Start) -> Option<Observation> {
        use std::os::fd::AsFd as _;

        // First the end: what it says is about all that was acknowledged before.
        self.look();
        let end = self.end();
        let counts = super::tcp_info::counts(self.stream.as_fd()).ok()?;
        let has_next =
            start.requests.is_some_and(|before| self.requests.count.load(Ordering::Acquire) > before);
        let next_request = has_next.then(|| self.requests.read.load(Ordering::Acquire));
        Some(Observation { counts, end, next_request, after: start.at.elapsed() })
    }
}
