//! How long a client may take to make room for more of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use linger_base::rate::{MinRate, RateTracker};

use crate::connection::Connection;

/// Of one stream: it runs while the client is waited for, not while the guest is.
pub(super) struct StallTimer {
    /// None: it has no end.
    rate: Option<MinRate>,
    /// Bytes that have gone since it was looked last.
    moved: u64,
    /// From when the client was waited for first.
    waiting: Option<Box<StallWait>>,
}

struct StallWait {
    pace: RateTracker,
    /// Since when it is not waited for.
    paused: Option<Instant>,
    /// What the client's kernel had of the whole connection.
    acknowledged: u64,
    timer: Pin<Box<Sleep>>,
}

impl StallTimer {
    pub(super) fn new(rate: Option<MinRate>) -> Self {
        Self { rate, moved: 0, waiting: None }
    }

    /// So many bytes have gone.
    pub(super) fn record_progress(&mut self, bytes: usize) {
        self.moved += bytes as u64;
    }

    /// The client is not waited for, for now.
    pub(super) fn pause(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.paused.get_or_insert_with(Instant::now);
        }
    }

    /// Ready when the client, which is waited for, has stopped or is too slow.
    pub(super) fn poll_over(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        let Some(rate) = self.rate else { return Poll::Pending };
        let waiting = self.waiting.get_or_insert_with(|| {
            let pace = RateTracker::new(rate, Instant::now());
            let timer = Box::pin(sleep_until(pace.limit()));
            Box::new(StallWait {
                pace,
                paused: None,
                acknowledged: connection.monitor.acknowledged_bytes(),
                timer,
            })
        });
        if let Some(paused) = waiting.paused.take() {
            waiting.pace.pause(paused.elapsed());
        }
        let mut moved = std::mem::take(&mut self.moved);
        loop {
            waiting.pace.advance(moved, Instant::now());
            if waiting.timer.deadline() != waiting.pace.limit() {
                waiting.timer.as_mut().reset(waiting.pace.limit());
            }
            ready!(waiting.timer.as_mut().poll(cx));
            if !connection.is_blocked() {
                return Poll::Ready(());
            }
            // What waits may not be to blame: the socket takes nothing before much of what it has is acknowledged.
            let before =
                std::mem::replace(&mut waiting.acknowledged, connection.monitor.acknowledged_bytes());
            moved = waiting.acknowledged.saturating_sub(before);
            if moved == 0 {
                return Poll::Ready(());
            }
        }
    }
}
