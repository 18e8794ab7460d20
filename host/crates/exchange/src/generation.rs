//! A generation of an app: one deployed version, as its requests see it. No IO.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use linger_config::RollbackConfig;
use linger_telemetry::AppMetrics;

/// Names a generation, counts its requests, tells them when a new generation has replaced it, and judges it while it is on
/// probation.
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
    probation: Option<Probation>,
}

/// How many requests a generation has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// Those that are in it now.
    pub running: u64,
    /// Its ended requests, whatever their outcome.
    pub ended: u64,
    /// Its ended requests that trapped, or got a status of 500 or above.
    pub failed: u64,
}

/// The time in which a generation has to prove itself.
#[derive(Debug)]
struct Probation {
    rule: RollbackConfig,
    state: Mutex<ProbationState>,
    /// Whether it still goes on.
    open: AtomicBool,
    /// Notified when there is a doubt.
    doubt: Arc<Notify>,
}

/// What a probation has come to.
#[derive(Clone, Copy, Debug)]
struct ProbationState {
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
pub enum RollbackCause {
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

    /// A generation that is not on probation.
    #[must_use]
    pub fn new(metrics: Arc<AppMetrics>, number: u64) -> Arc<Self> {
        Self::with_probation(metrics, number, None)
    }

    /// A generation that is about to be a canary: it is on probation for as long as it is one. `doubt` is notified when there is
    /// one.
    #[must_use]
    pub fn on_probation(
        metrics: Arc<AppMetrics>,
        number: u64,
        rule: &RollbackConfig,
        doubt: Arc<Notify>,
    ) -> Arc<Self> {
        let probation = rule.window.map(|_| Probation {
            rule: rule.clone(),
            state: Mutex::new(ProbationState {
                until: None,
                began: Instant::now(),
                before: (0, 0),
                failed_probes: 0,
            }),
            open: AtomicBool::new(true),
            doubt,
        });
        Self::with_probation(metrics, number, probation)
    }

    fn with_probation(metrics: Arc<AppMetrics>, number: u64, probation: Option<Probation>) -> Arc<Self> {
        let (begun, ended, failed) = Default::default();
        Arc::new(Self { number, metrics, replaced: OnceLock::new(), begun, ended, failed, probation })
    }

    /// Notes that it serves all requests from now on: the window of its probation begins.
    pub fn serve(&self) {
        if let Some(probation) = &self.probation {
            let until = probation.rule.window.and_then(|window| Instant::now().checked_add(window));
            let began = Instant::now();
            *probation.state() = ProbationState { until, began, before: self.past(), failed_probes: 0 };
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
    pub fn record_begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that has ended, before a guest had it.
    pub fn record_refusal(&self) {
        self.begun.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one that has ended.
    pub fn record_end(&self, failed: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        // Only those ask for the time.
        if failed {
            let (ended, failed) = self.past();
            self.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(probation) = self.probation.as_ref().filter(|probation| probation.is_open()) {
                probation.begin_again((ended.saturating_sub(1), failed));
            }
            self.notify_rollback();
        }
    }

    /// Counts what became of a probe while it is on probation.
    pub fn record_probe(&self, answered: bool) {
        if let Some(probation) = &self.probation {
            let mut state = probation.state();
            state.failed_probes = if answered { 0 } else { state.failed_probes + 1 };
            drop(state);
            self.notify_rollback();
        }
    }

    /// How many requests it has had.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        let (ended, failed) = self.past();
        RequestCounts { running: self.begun.load(Ordering::Relaxed).saturating_sub(ended), ended, failed }
    }

    /// Whether it is still on probation.
    #[must_use]
    pub fn is_on_probation(&self) -> bool {
        self.probation.as_ref().is_some_and(Probation::is_open)
    }

    /// The reason to withdraw it, while it is on probation.
    #[must_use]
    pub fn rollback_cause(&self) -> Option<RollbackCause> {
        self.probation.as_ref().filter(|probation| probation.is_open())?.doubt(self.past())
    }

    fn notify_rollback(&self) {
        if let (Some(probation), Some(_)) = (&self.probation, self.rollback_cause()) {
            probation.doubt.notify_one();
        }
    }

    /// What has ended, and failed.
    fn past(&self) -> (u64, u64) {
        (self.ended.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

impl Probation {
    fn state(&self) -> MutexGuard<'_, ProbationState> {
        self.state.lock()
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

    fn doubt(&self, (ended, failed): (u64, u64)) -> Option<RollbackCause> {
        let ProbationState { before, failed_probes, .. } = *self.state();
        if failed_probes >= Generation::FAILED_PROBES {
            return Some(RollbackCause::Probes);
        }
        let (ended, failed) = (ended.saturating_sub(before.0), failed.saturating_sub(before.1));
        #[expect(clippy::cast_precision_loss, reason = "a share does not have to be exact")]
        let too_many = failed as f64 > self.rule.max_failed * ended as f64;
        (ended >= self.rule.min_requests && too_many).then_some(RollbackCause::Requests { failed, ended })
    }
}

impl fmt::Display for RollbackCause {
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

    fn on_probation(rule: &RollbackConfig) -> Arc<Generation> {
        let generation = Generation::on_probation(metrics(), 2, rule, Arc::default());
        generation.serve();
        generation
    }

    fn rule() -> RollbackConfig {
        RollbackConfig { max_failed: 0.1, min_requests: 10, ..RollbackConfig::default() }
    }

    #[test]
    fn share_counts_once_there_are_enough() {
        let generation = on_probation(&rule());
        for _ in 0..5 {
            generation.record_end(true);
        }
        assert_eq!(generation.rollback_cause(), None, "too few to judge");
        for _ in 0..45 {
            generation.record_end(false);
        }
        assert_eq!(generation.rollback_cause(), None, "no more than may fail");
        generation.record_end(true);
        assert_eq!(generation.rollback_cause(), Some(RollbackCause::Requests { failed: 6, ended: 51 }));
    }

    #[test]
    fn after_the_window_nothing_counts() {
        let generation = on_probation(&RollbackConfig { window: Some(Duration::ZERO), ..rule() });
        for _ in 0..100 {
            generation.record_end(true);
        }
        assert_eq!(generation.rollback_cause(), None);
    }

    #[test]
    fn generation_that_is_not_on_probation_is_not_doubted() {
        for generation in
            [Generation::new(metrics(), 1), on_probation(&RollbackConfig { window: None, ..rule() })]
        {
            (0..100).for_each(|_| generation.record_end(true));
            (0..3).for_each(|_| generation.record_probe(false));
            assert_eq!(generation.rollback_cause(), None);
        }
    }

    #[test]
    fn what_a_canary_did_well_does_not_count_once_it_serves() {
        let generation = Generation::on_probation(metrics(), 2, &rule(), Arc::default());
        (0..1_000).for_each(|_| generation.record_end(false));
        generation.serve();
        (0..10).for_each(|_| generation.record_end(true));
        assert_eq!(generation.rollback_cause(), Some(RollbackCause::Requests { failed: 10, ended: 10 }));
    }

    #[test]
    fn canary_is_judged_by_what_it_did_lately() {
        let rule = RollbackConfig { window: Some(Duration::from_mins(1)), ..rule() };
        let generation = Generation::on_probation(metrics(), 2, &rule, Arc::default());
        (0..1_000).for_each(|_| generation.record_end(false));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(61));
        generation.probation.as_ref().unwrap().state().began = long_ago.unwrap();
        (0..10).for_each(|_| generation.record_end(true));
        assert_eq!(generation.rollback_cause(), Some(RollbackCause::Requests { failed: 10, ended: 10 }));
    }

    #[test]
    fn probes_that_fail_in_a_row_are_a_doubt() {
        let generation = on_probation(&rule());
        for answered in [false, true, false] {
            generation.record_probe(answered);
            assert_eq!(generation.rollback_cause(), None);
        }
        generation.record_probe(false);
        assert_eq!(generation.rollback_cause(), Some(RollbackCause::Probes));
    }

    #[test]
    fn requests_are_counted_as_they_come_and_go() {
        let generation = Generation::new(metrics(), 1);
        (0..5).for_each(|_| generation.record_begin());
        generation.record_end(false);
        generation.record_end(true);
        generation.record_refusal();
        assert_eq!(generation.requests(), RequestCounts { running: 2, ended: 2, failed: 1 });
    }
}
