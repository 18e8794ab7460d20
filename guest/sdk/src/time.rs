//! Time.

use std::time::Duration;
use wasip3::clocks::monotonic_clock;

/// Waits for this long, on the host's monotonic clock. Cancel-safe.
///
/// Longer than 584 years is 584 years.
///
/// ```no_run
/// # async fn doc() {
/// linger_guest::sleep(std::time::Duration::from_millis(50)).await;
/// # }
/// ```
pub async fn sleep(duration: Duration) {
    monotonic_clock::wait_for(nanoseconds(duration)).await;
}

/// A duration as the host counts it.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_duration_is_the_longest() {
        assert_eq!(nanoseconds(Duration::from_secs(1)), 1_000_000_000);
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }
}
