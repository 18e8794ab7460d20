//! The queue of requests for busy instances: bounded in length and time.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use linger_config::InstanceLimits;

use super::CallError;

pub(super) struct InstanceQueue {
    max: usize,
    patience: Duration,
    waiting: AtomicUsize,
    /// Notified for each place that becomes free: the first in line looks. Who waits is counted and then looks, who frees does
    /// so and then sees whether somebody waits: in this one order, so that one of both sees the other.
    freed: Notify,
}

impl InstanceQueue {
    pub(super) fn new(limits: &InstanceLimits) -> Self {
        let (max, patience) = (limits.max_queued, limits.queue_timeout);
        Self { max, patience, waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// Waits for a place, unless too many do.
    pub(super) async fn wait<T>(&self, find: impl Fn() -> Option<T>) -> Result<T, CallError> {
        let waiting = QueuedRequest::join(self).ok_or(CallError::Busy)?;
        let mut late = pin!(sleep(self.patience));
        loop {
            let mut freed = pin!(self.freed.notified());
            // First it listens, then it looks: what is freed between is heard.
            freed.as_mut().enable();
            if let Some(found) = find() {
                drop(waiting);
                // An instance has room for more than one.
                self.notify_freed();
                return Ok(found);
            }
            tokio::select! {
                biased;
                () = freed => {}
                () = late.as_mut() => return Err(CallError::Busy),
            }
        }
    }

    /// Whether somebody waits.
    pub(super) fn is_waited_in(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// A place has become free.
    pub(super) fn notify_freed(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

struct QueuedRequest<'a>(&'a InstanceQueue);

impl<'a> QueuedRequest<'a> {
    fn join(queue: &'a InstanceQueue) -> Option<Self> {
        let joined = queue.waiting.fetch_add(1, Ordering::SeqCst) < queue.max;
        // If not, the drop takes it back.
        let waiting = Self(queue);
        joined.then_some(waiting)
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Once;

    use futures::FutureExt as _;

    use super::*;

    /// Takes what is free.
    fn take(free: &AtomicUsize) -> Option<usize> {
        free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1)).ok()
    }

    fn queue(max_queued: usize) -> InstanceQueue {
        let queue_timeout = Duration::from_secs(1);
        InstanceQueue::new(&InstanceLimits { max_queued, queue_timeout, ..InstanceLimits::default() })
    }

    #[tokio::test]
    async fn beyond_the_line_there_is_no_waiting() {
        let queue = queue(0);
        assert!(matches!(queue.wait(|| Some(())).await, Err(CallError::Busy)));
    }

    #[tokio::test]
    async fn first_in_line_gets_what_is_freed() {
        let (queue, free) = (queue(2), AtomicUsize::new(0));
        let find = || take(&free);
        let waits = futures::future::select(Box::pin(queue.wait(find)), Box::pin(queue.wait(find)));
        let free_one = async {
            free.fetch_add(1, Ordering::Relaxed);
            queue.notify_freed();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            first = waits => assert!(matches!(first, futures::future::Either::Left((Ok(_), _)))),
            () = free_one => {}
        }
    }

    #[tokio::test]
    async fn all_in_line_get_what_is_freed_at_once() {
        let (queue, free) = (queue(3), AtomicUsize::new(0));
        let wait = || queue.wait(|| take(&free));
        let mut waits = Box::pin(futures::future::try_join3(wait(), wait(), wait()));
        assert!(waits.as_mut().now_or_never().is_none());
        free.store(3, Ordering::Relaxed);
        queue.notify_freed();
        assert!(waits.await.is_ok());
    }

    #[tokio::test]
    async fn all_who_look_while_something_is_freed_hear_of_it() {
        let (queue, free) = (queue(2), AtomicUsize::new(0));
        let free_two = Once::new();
        let second = || {
            let found = take(&free);
            free_two.call_once(|| {
                free.store(2, Ordering::Relaxed);
                queue.notify_freed();
                queue.notify_freed();
            });
            found
        };
        let between = Once::new();
        let first = || {
            let found = take(&free);
            // It has found nothing, and does not wait yet.
            between.call_once(|| assert!(queue.wait(second).now_or_never().unwrap().is_ok()));
            found
        };
        assert!(queue.wait(first).await.is_ok());
    }
}
