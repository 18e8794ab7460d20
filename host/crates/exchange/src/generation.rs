//! A generation of an app: one deployed version, as its requests see it. No IO.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use linger_config::Rollback;
use linger_telemetry::AppMetrics;

/// Names a generation, counts its requests, tells them when a new generation has replaced it, and judges it while it is on
/// trial.
#[derive(Debug)]
pub struct Generation {
    /// Counts the app's generations, from 1.
    pub number: u64,
    /// What is counted of the app.
    pub metrics: Arc<AppMetrics>,
    /// How long its requests may go on, once it was replaced.
    replaced: OnceLock<Duration>,
    begun: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    trial: Option<Trial>,
}

/// How many requests a generation has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Those that are in it now.
    pub running: u64,
    /// Its ended requests, whatever their outcome.
    pub ended: u64,
    /// Its ended requests that trapped, or got a status of 500 or above.
    pub failed: u64,
}

/// The time in which a generation has to prove itself.
#[derive(Debug)]
struct Trial {
    rule: Rollback,
    state: Mutex<Judgement>,
    /// Whether it still goes on.
    open: AtomicBool,
    /// Notified when there is a doubt.
    doubt: Arc<Notify>,
}

/// What a trial has come to.
#[derive(Clone, Copy, Debug)]
struct Judgement {
    /// When it is over. A canary's has no end of its own: it begins anew with each window, or what went well long ago would
    /// hide what fails now.
    until: Option<Instant>,
    began: Instant,
    /// What had ended, and failed, before it began.
    before: (u64, u64),
    /// Probes in a row that failed.
    failed_probes: u32,
}

/// The reason to withdraw a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Too many of its requests failed.
    Requests {
        /// Those that did.
        failed: u64,
        /// Those that have ended, these included.
        ended: u64,
    },
    /// Its probe fails.
    Probes,
}

impl Generation {
    /// Probes in a row that have to fail before there is a doubt: one may be an accident.
    const FAILED_PROBES: u32 = 2;

    /// A generation that is not on trial.
    #[must_use]
    pub fn new(metrics: Arc<AppMetrics>, number: u64) -> Arc<Self> {
        Self::with_trial(metrics, number, None)
    }

    /// A generation that is about to be a canary: it is on trial for as long as it is one. `doubt` is notified when there is
    /// one.
    #[must_use]
    pub fn on_trial(metrics: Arc<AppMetrics>, number: u64, rule: &Rollback, doubt: Arc<Notify>) -> Arc<Self> {
        let trial = rule.window.map(|_| Trial {
            rule: rule.clone(),
            state: Mutex::new(Judgement {
                until: None,
                began: Instant::now(),
                before: (0, 0),
                failed_probes: 0,
            }),
            open: AtomicBool::new(true),
            doubt,
        });
        Self::with_trial(metrics, number, trial)
    }

    fn with_trial(metrics: Arc<AppMetrics>, number: u64, trial: Option<Trial>) -> Arc<Self> {
        let (begun, ended, failed) = Default::default();
        Arc::new(Self { number, metrics, replaced: OnceLock::new(), begun, ended, failed, trial })
    }

    /// Notes that it serves all requests from now on: the window of its trial begins.
    pub fn serve(&self) {
        if let Some(trial) = &self.trial {
            let until = trial.rule.window.and_then(|window| Instant::now().checked_add(window));
            let began = Instant::now();
            *trial.state() = Judgement { until, began, before: self.past(), failed_probes: 0 };
        }
    }

    /// Notes that a new generation has replaced it, and how long its requests may continue. Supervisors must be told.
    pub fn replace(&self, drain_timeout: Duration) {
        // Only the first counts.
        let _ = self.replaced.set(drain_timeout);
    }

    /// If it was replaced: how long its requests may continue.
    #[must_use]
    pub fn drain_timeout(&self) -> Option<Duration> {
        self.replaced.get().copied()
    }

    /// Counts a request that has begun.
    pub fn request_began(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that has ended, before a guest had it.
    pub fn request_was_refused(&self) {
        self.begun.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one that has ended.
    pub fn request_ended(&self, failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        // Only those ask for the time.
        if failed {
            let (ended, failed) = self.past();
            self.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(trial) = self.trial.as_ref().filter(|trial| trial.is_open()) {
                trial.begin_again((ended.saturating_sub(1), failed));
            }
            self.tell_doubt();
        }
    }

    /// Counts what became of a probe while it is on trial.
    pub fn was_probed(&self, answered: bool) {
        if let Some(trial) = &self.trial {
            let mut state = trial.state();
            state.failed_probes = if answered { 0 } else { state.failed_probes + 1 };
            drop(state);
            self.tell_doubt();
        }
    }

    /// How many requests it has had.
    #[must_use]
    pub fn requests(&self) -> Requests {
        let (ended, failed) = self.past();
        Requests { running: self.begun.load(Ordering::Relaxed).saturating_sub(ended), ended, failed }
    }

    /// Whether it is still on trial.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.trial.as_ref().is_some_and(Trial::is_open)
    }

    /// The reason to withdraw it, while it is on trial.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.trial.as_ref().filter(|trial| trial.is_open())?.doubt(self.past())
    }

    fn tell_doubt(&self) {
        if let (Some(trial), Some(_)) = (&self.trial, self.doubt()) {
            trial.doubt.notify_one();
        }
    }

    /// What has ended, and failed.
    fn past(&self) -> (u64, u64) {
        (self.ended.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

impl Trial {
    fn state(&self) -> MutexGuard<'_, Judgement> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the window is not over.
    fn is_open(&self) -> bool {
        // Most ask when it has been over for long.
        if !self.open.load(Ordering::Relaxed) {
            return false;
        }
        let open = self.state().until.is_none_or(|until| Instant::now() < until);
        self.open.store(open, Ordering::Relaxed);
        open
    }

    /// Lets a canary's window begin with what comes now, if the last one is over.
    fn begin_again(&self, past: (u64, u64)) {
        let mut state = self.state();
        let is_over = self.rule.window.is_some_and(|window| state.began.elapsed() >= window);
        if state.until.is_none() && is_over {
            (state.began, state.before) = (Instant::now(), past);
        }
    }

    fn doubt(&self, (ended, failed): (u64, u64)) -> Option<Doubt> {
        let Judgement { before, failed_probes, .. } = *self.state();
        if failed_probes >= Generation::FAILED_PROBES {
            return Some(Doubt::Probes);
        }
        let (ended, failed) = (ended.saturating_sub(before.0), failed.saturating_sub(before.1));
        #[expect(clippy::cast_precision_loss, reason = "a share does not have to be exact")]
        let too_many = failed as f64 > self.rule.max_failed * ended as f64;
        (ended >= self.rule.min_requests && too_many).then_some(Doubt::Requests { failed, ended })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests { failed, ended } => write!(f, "{failed} of its first {ended} requests failed"),
            Self::Probes => f.write_str("its probe fails"),
        }
    }
}

#[cfg(test)]
mod tests {
    use linger_telemetry::Metrics;

    use super::*;

    fn metrics() -> Arc<AppMetrics> {
        Metrics::default().of_app("a")
    }

    fn on_trial(rule: &Rollback) -> Arc<Generation> {
        let generation = Generation::on_trial(metrics(), 2, rule, Arc::default());
        generation.serve();
        generation
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
        assert_eq!(generation.doubt(), Some(Doubt::Requests { failed: 6, ended: 51 }));
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
        for generation in [Generation::new(metrics(), 1), on_trial(&Rollback { window: None, ..rule() })] {
            (0..100).for_each(|_| generation.request_ended(true));
            (0..3).for_each(|_| generation.was_probed(false));
            assert_eq!(generation.doubt(), None);
        }
    }

    #[test]
    fn what_a_canary_did_well_does_not_count_once_it_serves() {
        let generation = Generation::on_trial(metrics(), 2, &rule(), Arc::default());
        (0..1_000).for_each(|_| generation.request_ended(false));
        generation.serve();
        (0..10).for_each(|_| generation.request_ended(true));
        assert_eq!(generation.doubt(), Some(Doubt::Requests { failed: 10, ended: 10 }));
    }

    #[test]
    fn canary_is_judged_by_what_it_did_lately() {
        let rule = Rollback { window: Some(Duration::from_mins(1)), ..rule() };
        let generation = Generation::on_trial(metrics(), 2, &rule, Arc::default());
        (0..1_000).for_each(|_| generation.request_ended(false));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(61));
        generation.trial.as_ref().unwrap().state().began = long_ago.unwrap();
        (0..10).for_each(|_| generation.request_ended(true));
        assert_eq!(generation.doubt(), Some(Doubt::Requests { failed: 10, ended: 10 }));
    }

    #[test]
    fn probes_that_fail_in_a_row_are_a_doubt() {
        let generation = on_trial(&rule());
        for answered in [false, true, false] {
            generation.was_probed(answered);
            assert_eq!(generation.doubt(), None);
        }
        generation.was_probed(false);
        assert_eq!(generation.doubt(), Some(Doubt::Probes));
    }

    #[test]
    fn requests_are_counted_as_they_come_and_go() {
        let generation = Generation::new(metrics(), 1);
        (0..5).for_each(|_| generation.request_began());
        generation.request_ended(false);
        generation.request_ended(true);
        generation.request_was_refused();
        assert_eq!(generation.requests(), Requests { running: 2, ended: 2, failed: 1 });
    }
}
