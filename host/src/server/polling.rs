//! Busy polling: a thread looks for the next request for a moment before it sleeps, while that pays.
//!
//! A processor with nothing to do is halted. To wake it takes microseconds, and in a virtual machine tens of them, which
//! a client pays that asks again as soon as it has its answer, as a proxy on the same machine does. So a thread whose
//! last sleep was short, and to which a request has come since, does not sleep the next time: it polls, and lets other
//! threads of the processor go first. No request within the window: it sleeps, and polls again only after the next short
//! sleep. That is how KVM polls before it halts a processor (`halt_poll_ns`). A thread without requests, or with pauses
//! between them, never polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Decides for one thread whether it polls or sleeps.
pub(super) struct PollingPolicy {
    window: Duration,
    /// Requests that began on the thread.
    requests: Arc<AtomicU64>,
    /// Those that had begun when it last was about to sleep.
    seen: AtomicU64,
    /// The last sleep was a short one.
    pays: AtomicBool,
    asleep_since: Mutex<Option<Instant>>,
    wanted: Notify,
}

impl PollingPolicy {
    /// Of a thread that polls for as long as `window` after each request, and whose requests are counted in `requests`.
    pub(super) fn new(window: Duration, requests: Arc<AtomicU64>) -> Arc<Self> {
        let (seen, pays) = Default::default();
        Arc::new(Self { window, requests, seen, pays, asleep_since: Mutex::default(), wanted: Notify::new() })
    }

    /// Learns when the thread of a runtime sleeps.
    pub(super) fn observe(self: &Arc<Self>, runtime: &mut Builder) {
        let (sleeper, waker) = (self.clone(), self.clone());
        runtime.on_thread_park(move || sleeper.before_sleep(Instant::now()));
        runtime.on_thread_unpark(move || waker.after_sleep(Instant::now()));
    }

    fn before_sleep(&self, now: Instant) {
        let requests = self.requests();
        let came = self.seen.swap(requests, Ordering::Relaxed) != requests;
        if self.pays.swap(false, Ordering::Relaxed) && came {
            // With a task to run, it does not sleep.
            self.wanted.notify_one();
        } else {
            *self.asleep_since.lock() = Some(now);
        }
    }

    fn after_sleep(&self, now: Instant) {
        let since = self.asleep_since.lock().take();
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
    use tokio::runtime::Handle;
    use tokio::task::JoinSet;

    use super::*;

    const WINDOW: Duration = Duration::from_micros(50);

    /// Whether it polls instead of its next sleep, after one of this length and so many requests.
    fn polls_after(polling: &PollingPolicy, sleep: Duration, requests: u64) -> bool {
        let (start, before) = (Instant::now(), polling.asleep_since.lock().take());
        assert_eq!(before, None);
        polling.before_sleep(start);
        polling.after_sleep(start + sleep);
        polling.requests.fetch_add(requests, Ordering::Relaxed);
        polling.before_sleep(start);
        polling.asleep_since.lock().take().is_none()
    }

    #[test]
    fn only_short_sleeps_before_requests_make_it_poll() {
        let polling = PollingPolicy::new(WINDOW, Arc::default());
        assert!(!polls_after(&polling, 2 * WINDOW, 1));
        assert!(!polls_after(&polling, WINDOW, 0));
        assert!(polls_after(&polling, WINDOW, 1));
        assert!(polls_after(&polling, WINDOW, 2));
        assert!(!polls_after(&polling, 2 * WINDOW, 1));
    }

    /// How many times a thread slept while so many requests came that far apart.
    fn sleeps(window: Duration, pause: Duration, requests: u64) -> u64 {
        let begun = Arc::<AtomicU64>::default();
        let polling = PollingPolicy::new(window, begun.clone());
        let mut builder = Builder::new_current_thread();
        polling.observe(&mut builder);
        builder.enable_time().build().unwrap().block_on(async {
            let mut tasks = JoinSet::new();
            tasks.spawn(polling.run());
            for _ in 0..requests {
                tokio::time::sleep(pause).await;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            Handle::current().metrics().worker_park_count(0)
        })
    }

    #[test]
    fn thread_does_not_sleep_while_requests_come_within_the_window() {
        let pause = Duration::from_millis(1);
        // It has to sleep before the first one, and may wake in between for a timer's sake.
        assert!(sleeps(Duration::from_mins(1), pause, 20) < 5);
        assert!(sleeps(Duration::from_micros(1), pause, 20) >= 20);
        assert!(sleeps(Duration::ZERO, pause, 20) >= 20);
    }
}
