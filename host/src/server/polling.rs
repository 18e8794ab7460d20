//! Busy polling: a thread looks for the next request for a moment before it sleeps, while that pays.
//!
//! A processor with nothing to do is halted. To wake it takes microseconds, and in a virtual machine tens of them, which
//! a client pays that asks again as soon as it has its answer, as a proxy on the same machine does. So a thread whose
//! last sleep was short does not sleep the next time: it polls, and lets other threads of the
//! processor go first. Nothing within the window: it sleeps, and polls again only after the next short sleep. That is how
//! KVM polls before it halts a processor (`halt_poll_ns`). A thread with nothing to do, or with pauses between its
//! requests, polls never.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Decides for one thread whether it polls or sleeps.
pub(super) struct Polling {
    window: Duration,
    /// Requests that began on the thread.
    requests: Arc<AtomicU64>,
    /// The last sleep was a short one.
    pays: AtomicBool,
    asleep_since: Mutex<Option<Instant>>,
    wanted: Notify,
}

impl Polling {
    /// Of a thread that polls for as long as `window` after each request, and whose requests are counted in `requests`.
    pub(super) fn new(window: Duration, requests: Arc<AtomicU64>) -> Arc<Self> {
        let (pays, asleep_since) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { window, requests, pays, asleep_since, wanted: Notify::new() })
    }

    /// Learns when the thread of a runtime sleeps.
    pub(super) fn observe(self: &Arc<Self>, runtime: &mut Builder) {
        let (sleeper, waker) = (self.clone(), self.clone());
        runtime.on_thread_park(move || sleeper.before_sleep(Instant::now()));
        runtime.on_thread_unpark(move || waker.after_sleep(Instant::now()));
    }

    fn before_sleep(&self, now: Instant) {
        if self.pays.swap(false, Ordering::Relaxed) {
            // With a task to run, it does not sleep.
            self.wanted.notify_one();
        } else {
            *self.asleep_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
    }

    fn after_sleep(&self, now: Instant) {
        let since = self.asleep_since.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A sleep has in it how long it takes to wake, which is what polling saves.
        let short = since.is_some_and(|since| now.duration_since(since) < 2 * self.window);
        self.pays.store(short, Ordering::Relaxed);
    }

    /// Polls whenever that is wanted, for as long as it is polled. In a task of its own: those that it finds work for
    /// have their turn before it.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.wanted.notified().await;
            let (mut seen, mut since) = (self.requests(), Instant::now());
            while since.elapsed() < self.window {
                // The runtime looks for what has come in before it goes on with a task that yields.
                tokio::task::yield_now().await;
                let requests = self.requests();
                if requests == seen {
                    std::thread::yield_now();
                } else {
                    (seen, since) = (requests, Instant::now());
                }
            }
        }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_micros(50);

    fn polling() -> Arc<Polling> {
        Polling::new(WINDOW, Arc::default())
    }

    /// Whether it polls instead of its next sleep, after one of this length.
    fn polls_after(polling: &Polling, sleep: Duration) -> bool {
        let start = Instant::now();
        polling.before_sleep(start);
        polling.after_sleep(start + sleep);
        polling.pays.load(Ordering::Relaxed)
    }

    #[test]
    fn only_short_sleeps_make_it_poll() {
        let polling = polling();
        assert!(!polls_after(&polling, 2 * WINDOW));
        assert!(polls_after(&polling, WINDOW));
        // This time it does not sleep, so nothing is learned.
        assert!(!polls_after(&polling, WINDOW / 2));
        assert!(polls_after(&polling, WINDOW / 2));
    }

    /// How many times a thread slept while requests came that far apart, in a runtime that is told.
    fn sleeps(window: Duration, pause: Duration) -> u64 {
        const REQUESTS: u64 = 20;
        let (requests, slept) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let polling = Polling::new(window, requests.clone());
        let mut builder = Builder::new_current_thread();
        builder.enable_time();
        let (sleeper, counter) = (polling.clone(), slept.clone());
        builder.on_thread_park(move || {
            sleeper.before_sleep(Instant::now());
            let asleep = sleeper.asleep_since.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            counter.fetch_add(u64::from(asleep), Ordering::Relaxed);
        });
        let waker = polling.clone();
        builder.on_thread_unpark(move || waker.after_sleep(Instant::now()));
        builder.build().unwrap().block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(polling.run());
            for _ in 0..REQUESTS {
                tokio::time::sleep(pause).await;
                requests.fetch_add(1, Ordering::Relaxed);
            }
        });
        slept.load(Ordering::Relaxed)
    }

    #[test]
    fn thread_sleeps_once_while_requests_come_within_the_window() {
        let (short, long) = (Duration::from_millis(1), Duration::from_mins(1));
        assert_eq!(sleeps(long, short), 1);
        assert!(sleeps(Duration::from_micros(1), short) >= 20);
    }
}
