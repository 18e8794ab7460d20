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
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::wait_for(nanoseconds).await;
}
