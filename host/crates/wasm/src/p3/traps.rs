//! Traps that hit others: after too many of them requests no longer share instances, for a while.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So many within [`WINDOW`] are frequent: one is bad luck, and this many are the guest's way.
const FREQUENT: usize = 5;

/// The time in which they count, and for which requests then stay apart.
const WINDOW: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(super) struct TrapCounter {
    frequent: AtomicBool,
    recent: Mutex<VecDeque<Instant>>,
}

impl TrapCounter {
    /// Notes a trap in an instance that several requests shared. Returns whether that made them frequent.
    pub(super) fn note(&self) -> bool {
        let mut recent = self.recent.lock();
        if recent.len() == FREQUENT {
            recent.pop_front();
        }
        recent.push_back(Instant::now());
        let frequent = recent.len() == FREQUENT && recent.front().is_some_and(|at| at.elapsed() < WINDOW);
        frequent && !self.frequent.swap(true, Ordering::Relaxed)
    }

    /// Whether requests should stay apart.
    pub(super) fn are_frequent(&self) -> bool {
        self.frequent.load(Ordering::Relaxed) && self.still_are()
    }

    fn still_are(&self) -> bool {
        let recent = self.recent.lock();
        let still = recent.back().is_some_and(|at| at.elapsed() < WINDOW);
        self.frequent.store(still, Ordering::Relaxed);
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_traps_are_not_frequent() {
        let traps = TrapCounter::default();
        for _ in 1..FREQUENT {
            assert!(!traps.note());
            assert!(!traps.are_frequent());
        }
        assert!(traps.note());
        assert!(traps.are_frequent());
        assert!(!traps.note(), "told once");
    }
}
