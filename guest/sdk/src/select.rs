//! Waiting for the first of several things.

/// Waits for the first of several futures, runs its branch, and drops the others.
///
/// The branches are tried in the order in which they are written. The rule that follows: write
/// [`cancelled`](crate::Cancellation::cancelled) first, so that a handler whose client has disconnected does not go
/// on because another branch was ready too. Then write the most important branch, so that an event that came at the
/// last moment wins over a timer.
///
/// Every future here must be cancel-safe, as all but one are dropped:
/// [`cancelled`](crate::Cancellation::cancelled), [`take`](crate::Queue::take), [`read`](crate::Topic::read) and
/// [`sleep`](crate::sleep) are.
///
/// It is `tokio::select!` with `biased;` written for you: patterns that may fail, `if` conditions and `else`
/// are as they are there.
///
/// ```no_run
/// use linger_guest::{Response, Result, cancellation, queue, select, sleep};
/// use std::time::Duration;
///
/// async fn next() -> Result<Response> {
///     select! {
///         _ = cancellation().cancelled() => Ok(Response::empty()),
///         event = queue("jobs").take() => Ok(Response::event(&event?)),
///         () = sleep(Duration::from_secs(25)) => Ok(Response::empty()),
///     }
/// }
/// ```
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => {
        $crate::__private::tokio::select! { biased; $($branches)* }
    };
}
