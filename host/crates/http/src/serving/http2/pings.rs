//! PINGs: whether an HTTP/2 client still responds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use linger_base::rate::{self, RateTracker};

use crate::connection::Connection;

/// PING frames, to a client from which nothing comes.
pub(super) struct PingTimer {
    frames: PingPong,
    interval: Duration,
    timeout: Duration,
    /// How slow a client may be that has much to read before it.
    pace: Option<rate::MinRate>,
    /// What had been written to the connection by the last PING that was answered.
    read: u64,
    sent: Option<SentPing>,
    timer: Pin<Box<Sleep>>,
}

/// A PING that awaits its answer, or any other sign.
struct SentPing {
    heard: Instant,
    written: u64,
    acknowledged: u64,
    pace: RateTracker,
}

impl PingTimer {
    /// `interval` of silence before each, `timeout` for its answer, and beside that what `pace` leaves a client that has much
    /// to read.
    pub(super) fn new(
        frames: PingPong,
        (interval, timeout): (Duration, Duration),
        pace: Option<rate::MinRate>,
        connection: &Connection,
    ) -> Self {
        let timer = Box::pin(sleep_until(connection.monitor.last_read() + interval));
        Self { frames, interval, timeout, pace, read: 0, sent: None, timer }
    }

    /// Ready when the client does not answer. Wakes when it is time to look.
    pub(super) fn poll_silent(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.look(connection, Instant::now(), cx) {
                return Poll::Ready(());
            }
            let next = self.next(connection);
            self.timer.as_mut().reset(next);
        }
    }

    /// Sends one if it is time for that. Returns whether the client does not answer.
    fn look(&mut self, connection: &Connection, now: Instant, cx: &mut Context<'_>) -> bool {
        let link = &connection.monitor;
        let heard = link.last_read();
        if let Some(sent) = &mut self.sent {
            if sent.heard == heard {
                let before = std::mem::replace(&mut sent.acknowledged, link.acknowledged_bytes());
                sent.pace.advance(sent.acknowledged.saturating_sub(before), now);
                return sent.pace.is_over(now);
            }
            if self.frames.poll_pong(cx).is_ready() {
                self.read = sent.written;
            }
            self.sent = None;
        }
        if now < heard + self.interval {
            return false;
        }
        // It fails while one is unanswered that was taken for answered, since something else had come.
        let _ = self.frames.send_ping(Ping::opaque());
        let written = link.written_bytes();
        // What lies before it has to be read first.
        let rate = self.pace.map_or(0, |terms| terms.bytes_per_second);
        let mut pace = RateTracker::new(rate::MinRate { bytes_per_second: rate, grace: self.timeout }, now);
        if rate > 0 {
            pace.advance(written.saturating_sub(self.read), now);
        }
        self.sent = Some(SentPing { heard, written, acknowledged: link.acknowledged_bytes(), pace });
        false
    }

    fn next(&self, connection: &Connection) -> Instant {
        match &self.sent {
            Some(sent) => sent.pace.limit(),
            None => connection.monitor.last_read() + self.interval,
        }
    }
}
