//! The timeouts of a connection without an in-flight request. Pure.

use std::time::Duration;

use tokio::time::Instant;

use linger_base::rate::after;
use linger_config::ServerLimits;

/// What bounds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTimeouts {
    /// For a head, from its first byte on; for the first one, from the accept on.
    pub(crate) head: Duration,
    /// For the beginning of a next one.
    pub(crate) idle: Duration,
}

/// A wait for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestWait {
    until: Instant,
    awaited: WaitPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitPhase {
    /// The first one.
    First,
    /// A next one.
    Next,
    /// The rest of a head.
    Rest,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    /// No request came.
    Nothing,
    /// It was kept for one more, which did not come.
    Idle,
    /// A head has begun, and did not end.
    Head,
}

/// What is unread when the wait is over has a moment to be read: it may be a request.
const MOMENT: Duration = Duration::from_millis(100);

impl RequestTimeouts {
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        Self { head: limits.head_timeout, idle: limits.idle_timeout }
    }

    /// For the first request.
    pub(crate) fn first(self, now: Instant) -> RequestWait {
        RequestWait { until: after(now, self.head), awaited: WaitPhase::First }
    }

    /// For a next one.
    pub(crate) fn next(self, now: Instant) -> RequestWait {
        RequestWait { until: after(now, self.idle), awaited: WaitPhase::Next }
    }

    /// When to look at a wait, should nobody say before that something has come. A head that begins need not be told of:
    /// it does not have to end before.
    pub(crate) fn look(self, wait: RequestWait, now: Instant) -> Instant {
        wait.until.min(after(now, self.head))
    }
}

impl RequestWait {
    /// The first byte of a head has come.
    pub(crate) fn begins(&mut self, timeouts: RequestTimeouts, now: Instant) {
        if self.awaited == WaitPhase::Next {
            self.until = after(now, timeouts.head);
        }
        self.awaited = WaitPhase::Rest;
    }

    /// Whether it is over, and why. `unread` looks whether there is something that nobody has read.
    pub(crate) fn over(&mut self, now: Instant, unread: impl Fn() -> bool) -> Option<WaitEnd> {
        if now < self.until {
            return None;
        }
        match self.awaited {
            WaitPhase::Rest => Some(WaitEnd::Head),
            _ if unread() => {
                self.until = now + MOMENT;
                None
            }
            WaitPhase::First => Some(WaitEnd::Nothing),
            WaitPhase::Next => Some(WaitEnd::Idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(75);
    const TIMEOUTS: RequestTimeouts = RequestTimeouts { head: HEAD, idle: IDLE };

    /// When it is over, and why, where nothing is unread.
    fn end(mut wait: RequestWait, start: Instant) -> (Duration, WaitEnd) {
        let mut now = start;
        loop {
            match wait.over(now, || false) {
                Some(over) => return (now - start, over),
                None => now = TIMEOUTS.look(wait, now),
            }
        }
    }

    #[test]
    fn first_head_has_its_time_from_the_accept_on() {
        let start = Instant::now();
        let mut wait = TIMEOUTS.first(start);
        assert_eq!(end(wait, start), (HEAD, WaitEnd::Nothing));
        wait.begins(TIMEOUTS, start + HEAD / 2);
        assert_eq!(end(wait, start), (HEAD, WaitEnd::Head));
    }

    #[test]
    fn next_head_has_its_time_from_its_first_byte_on() {
        let start = Instant::now();
        let mut wait = TIMEOUTS.next(start);
        assert_eq!(end(wait, start), (IDLE, WaitEnd::Idle));
        wait.begins(TIMEOUTS, start + IDLE / 2);
        assert_eq!(end(wait, start), (IDLE / 2 + HEAD, WaitEnd::Head));
    }

    #[test]
    fn head_that_begins_is_never_looked_at_too_late() {
        let start = Instant::now();
        let mut wait = TIMEOUTS.next(start);
        let look = TIMEOUTS.look(wait, start);
        wait.begins(TIMEOUTS, start);
        assert!(look <= wait.until);
    }

    #[test]
    fn what_is_unread_is_read_first() {
        let start = Instant::now();
        let mut wait = TIMEOUTS.next(start);
        let over = start + IDLE;
        assert_eq!(wait.over(over, || true), None);
        assert_eq!(wait.over(over, || false), None);
        assert_eq!(wait.over(over + MOMENT, || false), Some(WaitEnd::Idle));
    }
}
