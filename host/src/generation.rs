//! A generation of an app: one component that was deployed for it, as its requests see it. No IO.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Rollback;

/// Names a generation, tells its requests when another one has taken its place, and counts those that failed while it is on
/// trial.
#[derive(Debug)]
pub struct Generation {
    /// The app's name.
    pub app: Arc<str>,
    /// Counts the app's generations, from 1.
    pub number: u64,
    /// How long its requests may go on when it is replaced.
    drain_timeout: Duration,
    replaced: AtomicBool,
    trial: Option<Trial>,
}

/// The time after a switch in which a generation has to prove itself.
#[derive(Debug)]
struct Trial {
    until: Instant,
    rule: Rollback,
    /// Whether it still goes on.
    open: AtomicBool,
    ended: AtomicU64,
    failed: AtomicU64,
    /// Notified when too many have failed.
    doubt: Arc<Notify>,
}

/// Too many of a generation's requests have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Requests that failed.
    pub failed: u64,
    /// Requests that have ended, these included.
    pub ended: u64,
}

impl Generation {
    /// A generation that nobody judges.
    #[must_use]
    pub fn new(app: Arc<str>, number: u64, drain_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { app, number, drain_timeout, replaced: AtomicBool::new(false), trial: None })
    }

    /// A generation that is about to serve. `doubt` is notified when too many of its requests fail within the window that
    /// begins now.
    #[must_use]
    pub fn on_trial(
        app: Arc<str>,
        number: u64,
        drain_timeout: Duration,
        rule: &Rollback,
        doubt: Arc<Notify>,
    ) -> Arc<Self> {
        let until = rule.window.and_then(|window| Instant::now().checked_add(window));
        let trial = until.map(|until| Trial {
            until,
            rule: rule.clone(),
            open: AtomicBool::new(true),
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            doubt,
        });
        Arc::new(Self { app, number, drain_timeout, replaced: AtomicBool::new(false), trial })
    }

    /// Another one serves from now on. Whoever watches over its requests is to be told.
    pub fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    /// Whether another one has taken its place.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// How long its requests may go on when it is replaced.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// Counts a request that has ended.
    pub fn request_ended(&self, failed: bool) {
        if let Some(trial) = &self.trial {
            trial.count(failed);
        }
    }

    /// Whether it is on trial still.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.trial.as_ref().is_some_and(Trial::is_open)
    }

    /// Whether too many of its requests failed while it was on trial.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.trial.as_ref().and_then(Trial::doubt)
    }
}

impl Trial {
    fn count(&self, failed: bool) {
        if !self.open.load(Ordering::Relaxed) {
            return;
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        // Only those ask for the time.
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            if self.doubt().is_some() {
                self.doubt.notify_one();
            }
        }
    }

    /// Whether the window is not over.
    fn is_open(&self) -> bool {
        let open = self.open.load(Ordering::Relaxed) && Instant::now() < self.until;
        self.open.store(open, Ordering::Relaxed);
        open
    }

    fn doubt(&self) -> Option<Doubt> {
        let (failed, ended) = (self.failed.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        #[expect(clippy::cast_precision_loss, reason = "a share does not have to be exact")]
        let too_many = failed as f64 > self.rule.max_failed * ended as f64;
        let enough = ended >= self.rule.min_requests;
        (enough && too_many && self.is_open()).then_some(Doubt { failed, ended })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of its first {} requests failed", self.failed, self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_trial(rule: &Rollback) -> Arc<Generation> {
        Generation::on_trial("a".into(), 2, Duration::ZERO, rule, Arc::default())
    }

    fn rule() -> Rollback {
        Rollback { max_failed: 0.1, min_requests: 10, ..Rollback::default() }
    }

    #[test]
    fn share_counts_once_there_are_enough() {
        let generation = on_trial(&rule());
        for _ in 0..5 {
            generation.request_ended(true);
        }
        assert_eq!(generation.doubt(), None, "too few to judge");
        for _ in 0..45 {
            generation.request_ended(false);
        }
        assert_eq!(generation.doubt(), None, "no more than may fail");
        generation.request_ended(true);
        assert_eq!(generation.doubt(), Some(Doubt { failed: 6, ended: 51 }));
    }

    #[test]
    fn after_the_window_nothing_counts() {
        let generation = on_trial(&Rollback { window: Some(Duration::ZERO), ..rule() });
        for _ in 0..100 {
            generation.request_ended(true);
        }
        assert_eq!(generation.doubt(), None);
    }

    #[test]
    fn generation_that_is_not_on_trial_is_not_doubted() {
        for generation in
            [Generation::new("a".into(), 1, Duration::ZERO), on_trial(&Rollback { window: None, ..rule() })]
        {
            (0..100).for_each(|_| generation.request_ended(true));
            assert_eq!(generation.doubt(), None);
        }
    }
}
