//! The time of a store.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Milliseconds since 1970, which survive a restart, and go on evenly while the process runs, whatever is
/// done to the machine's clock.
pub(crate) struct Clock {
    started: Instant,
    /// When that was, in milliseconds since 1970.
    since: u64,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "only where it begins; tests go on from there by tokio's clock"
    )]
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), since: millis(since) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.since + millis(self.started.elapsed())
    }

    /// The time after this one has passed.
    pub(crate) fn after(&self, time: Duration) -> u64 {
        self.now().saturating_add(millis(time))
    }

    /// Waits for a time, or for ever.
    pub(crate) async fn wait_for(&self, time: Option<u64>) {
        /// Timers reach no further than some years. Whoever waits looks again.
        const FAR: u64 = 24 * 60 * 60 * 1000;
        match time {
            Some(time) => {
                tokio::time::sleep(Duration::from_millis(time.saturating_sub(self.now()).min(FAR))).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Rounded up, so that nothing comes early.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
