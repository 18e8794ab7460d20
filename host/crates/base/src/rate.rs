//! Tells a slow peer from a stopped one, by its bytes over time. No IO.
//!
//! A kernel opens its window again only when there is room for a good part of it, so a client that reads 500 bytes a second
//! can look as if it read nothing for minutes. What it was sent before says for how long: it may still be reading that.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that a peer may have in its buffers, at most, for which it is given time. More than most receive windows; with
/// larger ones a peer that is very slow may be given up too early.
const BUFFERED: u64 = 256 * 1024;

/// How slow a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// The average rate. 0: any rate above zero.
    pub bytes_per_second: u64,
    /// How long the peer may stop, in addition to what the rate allows.
    pub grace: Duration,
}

/// Follows one peer, from when it is waited for.
#[derive(Clone, Copy, Debug)]
pub struct RateTracker {
    rate: MinRate,
    limit: Instant,
}

impl RateTracker {
    /// A peer that is waited for from now on.
    #[must_use]
    pub fn new(rate: MinRate, now: Instant) -> Self {
        Self { rate, limit: after(now, rate.grace) }
    }

    /// Notes that the peer has moved on by this number of bytes.
    pub fn advance(&mut self, bytes: u64, now: Instant) {
        let MinRate { bytes_per_second, grace } = self.rate;
        if bytes == 0 {
            return;
        }
        if bytes_per_second == 0 {
            self.limit = after(now, grace);
            return;
        }
        let most = after(after(now, grace), time_for(BUFFERED, bytes_per_second));
        self.limit = after(self.limit, time_for(bytes, bytes_per_second)).min(most);
    }

    /// Notes that the peer was not waited for during this time.
    pub fn pause(&mut self, time: Duration) {
        self.limit = after(self.limit, time);
    }

    /// The time at which the peer counts as stopped or too slow, if nothing more comes.
    #[must_use]
    pub fn limit(&self) -> Instant {
        self.limit
    }

    /// Whether it has stopped, or is too slow.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.limit
    }
}

fn time_for(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// This long after a time. A time that clocks cannot represent is never reached.
#[must_use]
pub fn after(time: Instant, wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_hours(24 * 365 * 30);
    time.checked_add(wait).unwrap_or_else(|| time + NEVER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: MinRate = MinRate { bytes_per_second: 500, grace: Duration::from_secs(30) };

    #[test]
    fn who_has_moved_nothing_has_the_grace() {
        let now = Instant::now();
        let pace = RateTracker::new(RATE, now);
        assert!(!pace.is_over(now + Duration::from_secs(29)));
        assert!(pace.is_over(now + Duration::from_secs(30)));
    }

    #[test]
    fn what_was_sent_gives_time_to_read_it_up_to_a_bound() {
        let now = Instant::now();
        let mut pace = RateTracker::new(RATE, now);
        pace.advance(50_000, now);
        assert_eq!(pace.limit(), now + Duration::from_secs(130));
        pace.advance(100_000_000, now);
        assert_eq!(pace.limit() - now, RATE.grace + time_for(BUFFERED, 500));
    }

    #[test]
    fn without_a_rate_any_byte_is_enough() {
        let now = Instant::now();
        let mut pace = RateTracker::new(MinRate { bytes_per_second: 0, ..RATE }, now);
        let later = now + Duration::from_secs(29);
        pace.advance(1, later);
        assert_eq!(pace.limit(), later + RATE.grace);
    }

    #[test]
    fn time_for_which_nobody_waits_does_not_count() {
        let now = Instant::now();
        let mut pace = RateTracker::new(RATE, now);
        pace.pause(Duration::from_mins(1));
        assert_eq!(pace.limit(), now + RATE.grace + Duration::from_mins(1));
    }

    proptest! {
        /// A window that opens in steps shows what is read late, but never too late.
        #[test]
        fn steady_reader_is_not_given_up(rate in 500..1_000_000_u64, step in 1..BUFFERED, steps in 1..50_u64) {
            let mut now = Instant::now();
            let mut pace = RateTracker::new(RATE, now);
            // Its buffers are filled first.
            pace.advance(step, now);
            for _ in 0..steps {
                now += time_for(step, rate);
                prop_assert!(!pace.is_over(now));
                pace.advance(step, now);
            }
        }

        #[test]
        fn reader_below_the_rate_is_given_up(rate in 1..400_u64, step in 1..100_000_u64) {
            let mut now = Instant::now();
            let mut pace = RateTracker::new(RATE, now);
            let end = now + Duration::from_hours(24);
            while !pace.is_over(now) {
                prop_assert!(now < end);
                pace.advance(step, now);
                now += time_for(step, rate).max(Duration::from_millis(1));
            }
        }
    }
}
