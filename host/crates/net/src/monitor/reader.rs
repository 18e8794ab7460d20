//! Whether a client reads its response: tells a stopped client from a slow one.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use linger_base::rate::RateTracker;
use linger_config::ReaderBounds;

use super::{FlushObserver, SocketMonitor};
use crate::receipt::TcpCounters;

/// What is known of how a client reads, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct ReaderTracker {
    /// What had been written when the client had all of it.
    had: AtomicU64,
    /// While it has not.
    lag: Mutex<Option<ReadLag>>,
}

/// Something that a client has not got yet.
#[derive(Clone, Copy, Debug)]
struct ReadLag {
    since: Instant,
    /// What had been written then: once the client has that, what it lacks is new.
    until: u64,
    /// What it had when it was last looked at.
    moved: u64,
    pace: Option<RateTracker>,
}

impl ReadLag {
    fn new(written: u64, had: u64, bounds: &ReaderBounds, now: Instant) -> Self {
        let pace = bounds.pace.map(|terms| RateTracker::new(terms, now));
        Self { since: now, until: written, moved: had, pace }
    }

    /// The lag at the next look, and whether the client has stopped or is too slow. `written` is more than it has.
    fn next(before: Option<Self>, had: u64, seen: &ReaderSample, bounds: &ReaderBounds) -> (Self, bool) {
        let &ReaderSample { written, counts, now } = seen;
        let mut lag = match before {
            Some(lag) if counts.moved() < lag.until => lag,
            // All that it lacked then it has now: a stream of small events may always have one on its way.
            Some(Self { until, .. }) => Self::new(written, until, bounds, now),
            None => Self::new(written, had, bounds, now),
        };
        let silent = counts.silent.min(now.saturating_duration_since(lag.since));
        let more = counts.moved().saturating_sub(lag.moved);
        lag.moved = counts.moved();
        let too_slow = lag.pace.as_mut().is_some_and(|pace| {
            pace.advance(more, now);
            pace.is_over(now)
        });
        (lag, too_slow || bounds.silence.is_some_and(|bound| silent >= bound))
    }
}

/// What is seen of a connection at one look.
struct ReaderSample {
    written: u64,
    counts: TcpCounters,
    now: Instant,
}

impl<T: FlushObserver> SocketMonitor<T> {
    /// How many bytes the client has, as far as the kernel tells: those that its own has acknowledged or, over a Unix socket,
    /// that it has read. Where the kernel does not tell, those that were written. Up to two system calls, which do not block.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.counts().map_or_else(|| self.written_bytes(), |counts| counts.moved())
    }

    /// Looks how far the client has come with what was written, and gives the connection up if it has stopped: to be called
    /// now and then. One system call while something is on its way, which does not block; none otherwise.
    pub fn check_reader(&self, bounds: &ReaderBounds, now: Instant) {
        let written = self.written_bytes();
        let had = self.reader.had.load(Ordering::Acquire);
        if written == had || self.departure().is_some() {
            return;
        }
        let Some(counts) = self.counts() else { return };
        let mut lag = self.reader.lag.lock();
        if counts.moved() >= written {
            self.reader.had.store(written, Ordering::Release);
            *lag = None;
            return;
        }
        let (next, over) = ReadLag::next(*lag, had, &ReaderSample { written, counts, now }, bounds);
        *lag = Some(next);
        drop(lag);
        if over {
            self.note_unresponsive();
            self.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linger_base::rate::MinRate;

    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const LOOK: Duration = Duration::from_secs(5);
    const BOUNDS: ReaderBounds = ReaderBounds {
        pace: Some(MinRate { bytes_per_second: 500, grace: GRACE }),
        silence: Some(Duration::from_secs(25)),
    };

    /// After how many looks a client is given up of which each look sees this: what was written, what it has, and how long
    /// it is silent.
    fn given_up(looks: impl IntoIterator<Item = (u64, u64, Duration)>) -> Option<usize> {
        let (mut lag, mut now) = (None, Instant::now());
        looks.into_iter().position(|(written, acked, silent)| {
            now += LOOK;
            let counts = TcpCounters { acked, silent, ..TcpCounters::default() };
            let (next, over) = ReadLag::next(lag, 0, &ReaderSample { written, counts, now }, &BOUNDS);
            lag = Some(next);
            over
        })
    }

    #[test]
    fn who_reads_nothing_has_time_for_what_it_was_sent() {
        let stalled = |acked| given_up((0..200).map(|_| (1_000_000, acked, Duration::ZERO)));
        assert_eq!(stalled(0), Some(6));
        // 50,000 bytes at 500 a second: 100 seconds more.
        assert_eq!(stalled(50_000), Some(26));
    }

    #[test]
    fn who_reads_slowly_is_kept() {
        let slowly = (0..200).map(|look| (1_000_000, 64_000 * (1 + look * 5 / 128), Duration::ZERO));
        assert_eq!(given_up(slowly), None);
    }

    #[test]
    fn stream_that_always_has_an_event_on_its_way_is_kept() {
        let events = (1..500).map(|look| (10 * look, 10 * (look - 1), Duration::ZERO));
        assert_eq!(given_up(events), None);
    }

    #[test]
    fn silence_counts_from_when_an_answer_was_owed() {
        let silent = (1..10).map(|look| (1_000, 10, Duration::from_hours(1) + LOOK * look));
        assert_eq!(given_up(silent), Some(5));
    }

    #[test]
    fn bounds_say_how_often_to_look() {
        assert_eq!(BOUNDS.period(), Some(Duration::from_secs(25) / 6));
        assert_eq!(ReaderBounds::default().period(), None);
    }
}
