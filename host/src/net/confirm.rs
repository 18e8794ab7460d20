//! Waits for the receipt of a response: asks the kernel now and then, and listens for what the client does.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use super::link::{Flushed, Link};
use super::receipt::{Observation, Receipt, ReceiptWaits, Tracker};

/// Between questions to the kernel: at least what a timer can tell, at most what nobody notices.
const PAUSES: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(100);

/// The moment before the last bytes of a response are written.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// What had come in by then; `None` if the kernel does not tell.
    received: Option<u64>,
    /// How many requests there had been.
    requests: u64,
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
    /// Notes what a receipt compares with. One system call, which does not block.
    pub fn mark(&self) -> Mark {
        let requests = self.requests.count.load(Ordering::Acquire);
        Mark { received: self.counts().map(|counts| counts.received), requests, at: Instant::now() }
    }

    /// Waits until it is known how a response ended that takes up `span` among the bytes that this side has
    /// [`written`](Self::written), all of them flushed. The call itself looks for the first time, so it should
    /// come right after the flush.
    ///
    /// Ends early when the client closes, resets, or sends its next request; that counts with a `mark`, which
    /// is for connections where requests come one after the other. While bytes are being acknowledged it goes
    /// on.
    pub fn receipt(
        self: &Arc<Self>,
        span: &Range<u64>,
        mark: Option<Mark>,
        waits: ReceiptWaits,
    ) -> impl Future<Output = Receipt> + Send + use<T>
    where
        T: 'static,
    {
        let received = mark.and_then(|mark| mark.received);
        let mut tracker = Tracker::new(span, received, self.is_half_closed());
        let request = self.next_request();
        let receipt = self.judge(&mut tracker, mark);
        let link = self.clone();
        async move {
            match receipt {
                Some(receipt) => receipt,
                None => link.follow(tracker, mark, waits, request).await,
            }
        }
    }

    /// Looks again at whatever may be news, until it is final. `request` is for one that came after the first look.
    async fn follow(
        &self,
        mut tracker: Tracker,
        mark: Option<Mark>,
        waits: ReceiptWaits,
        request: OwnedNotified,
    ) -> Receipt {
        let mut request = pin!(request);
        let mut pause = PAUSES.start;
        let mut patience = Patience::new(&tracker, waits);
        loop {
            let now = Instant::now();
            let limit = patience.limit(&tracker, now);
            if now >= limit {
                return tracker.give_up();
            }
            pause = pause.max(tracker.rtt()).min(PAUSES.end);
            // The end of the stream wakes, and so does a reset; an acknowledgement does not, nor does what
            // follows an end.
            let asks_again = !tracker.is_acknowledged() || tracker.awaits_reading() || self.end().is_some();
            let next = if asks_again { limit.min(now + pause) } else { limit };
            tokio::select! {
                () = request.as_mut() => request.set(self.next_request()),
                () = self.watch(), if self.end().is_none() => {}
                () = sleep_until(next) => pause *= 2,
            }
            if let Some(receipt) = self.judge(&mut tracker, mark) {
                return receipt;
            }
        }
    }

    /// Resolves when the next request begins, from now on.
    fn next_request(&self) -> OwnedNotified {
        self.requests.began.clone().notified_owned()
    }

    /// The receipt, if what can be seen now makes it final.
    fn judge(&self, tracker: &mut Tracker, mark: Option<Mark>) -> Option<Receipt> {
        self.observe(mark).map_or(Some(Receipt::Written), |seen| tracker.observe(&seen))
    }

    /// The connection as it is now; `None` if the kernel does not tell. A few system calls, which do not block.
    fn observe(&self, mark: Option<Mark>) -> Option<Observation> {
        // First the end: what it says is about all that was acknowledged before.
        self.look();
        let mut end = self.end();
        let counts = self.counts()?;
        if counts.read.is_some() {
            // Here it is the other way round: what a client has left unread counts as read once it has closed.
            self.look();
            end = self.end();
        }
        let next = mark.filter(|mark| self.requests.count.load(Ordering::Acquire) > mark.requests);
        let next_request = next.map(|_| self.requests.read.load(Ordering::Acquire));
        let after = mark.map_or(Duration::ZERO, |mark| mark.at.elapsed());
        Some(Observation { counts, end, next_request, after })
    }
}
