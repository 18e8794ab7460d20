//! Detects whether the calls of a component can be cancelled.
//!
//! Some toolchains make components that trap when a call is cancelled (`wit-bindgen` without its feature
//! `inter-task-wakeup`), and a trap ends an instance with all that is in it. So the first calls to be cancelled are
//! some that have an instance to themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that run apart at a time until one of them was cancelled. More would find out sooner, at an instance each.
const TRIALS: usize = 4;

const UNKNOWN: u8 = 0;
const END_WELL: u8 = 1;
const TRAP: u8 = 2;

/// What is known of one app's component.
#[derive(Debug)]
pub(super) struct CancelSupport {
    known: AtomicU8,
    trials: Arc<Semaphore>,
}

/// The share of a request that runs apart.
pub(super) type CancelProbe = OwnedSemaphorePermit;

impl Default for CancelSupport {
    fn default() -> Self {
        Self { known: AtomicU8::new(UNKNOWN), trials: Arc::new(Semaphore::new(TRIALS)) }
    }
}

impl CancelSupport {
    /// Whether the next request should run apart.
    pub(super) fn trial(&self) -> Option<CancelProbe> {
        let unknown = self.known.load(Ordering::Relaxed) == UNKNOWN;
        unknown.then(|| self.trials.clone().try_acquire_owned().ok())?
    }

    /// Whether a call may be cancelled, in an instance that it has to itself just now or not.
    pub(super) fn may_cancel(&self, apart: bool) -> bool {
        match self.known.load(Ordering::Relaxed) {
            UNKNOWN => apart,
            known => known == END_WELL,
        }
    }

    /// A call was cancelled, and returned.
    pub(super) fn record_success(&self) {
        // What trapped once is not tried again.
        let _ = self.known.compare_exchange(UNKNOWN, END_WELL, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A call was cancelled, and trapped. Returns whether that is news.
    pub(super) fn record_trap(&self) -> bool {
        self.known.swap(TRAP, Ordering::Relaxed) != TRAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_calls_to_be_cancelled_run_apart() {
        let cancels = CancelSupport::default();
        let trials: Vec<_> = (0..TRIALS).map(|_| cancels.trial().unwrap()).collect();
        assert!(cancels.trial().is_none());
        assert!(cancels.may_cancel(true) && !cancels.may_cancel(false));
        drop(trials);
        assert!(cancels.trial().is_some());
        cancels.record_success();
        assert!(cancels.trial().is_none() && cancels.may_cancel(false));
    }

    #[test]
    fn after_a_trap_no_call_is_cancelled() {
        let cancels = CancelSupport::default();
        assert!(cancels.record_trap());
        assert!(!cancels.record_trap());
        cancels.record_success();
        assert!(!cancels.may_cancel(true) && cancels.trial().is_none());
    }
}
