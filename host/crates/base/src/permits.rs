//! A limit on how many of something there may be at a time, which can change while they are there. No IO.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts what is there, up to a number. Who has a [`Permit`] is counted.
#[derive(Debug)]
pub struct Permits {
    most: AtomicUsize,
    taken: AtomicUsize,
    /// Notified when there may be room.
    freed: Notify,
}

/// One of those that there may be. Dropping it makes room.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

impl Permits {
    /// A limit.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// A share, if there is room for one.
    #[must_use]
    pub fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let most = self.most.load(Ordering::Relaxed);
        let next = |taken| (taken < most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        taken.is_ok().then(|| Permit(self.clone()))
    }

    /// A share, when there is room for one. Cancel-safe.
    pub async fn take(self: &Arc<Self>) -> Permit {
        loop {
            let mut freed = pin!(self.freed.notified());
            // First it listens, then it looks: what is freed between is heard.
            freed.as_mut().enable();
            if let Some(share) = self.try_take() {
                return share;
            }
            freed.await;
        }
    }

    /// Changes it. Those that are there stay, also when they are more.
    pub fn set(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.freed.notify_waiters();
    }

    /// How many there may be.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn next_one_waits_for_room() {
        let limit = Permits::new(2);
        let (first, _second) = (limit.try_take().unwrap(), limit.take().await);
        assert!(limit.try_take().is_none());
        let mut third = pin!(limit.take());
        assert!(poll!(third.as_mut()).is_pending());
        drop(first);
        let _third = third.await;
        assert_eq!(limit.in_use(), 2);
    }

    #[tokio::test]
    async fn more_room_is_for_those_who_wait() {
        let limit = Permits::new(0);
        let (mut one, mut other) = (pin!(limit.take()), pin!(limit.take()));
        assert!(poll!(one.as_mut()).is_pending() && poll!(other.as_mut()).is_pending());
        limit.set(2);
        let _both = (one.await, other.await);
    }

    #[tokio::test]
    async fn lower_limit_takes_nothing_away() {
        let limit = Permits::new(3);
        let shares = [limit.take().await, limit.take().await, limit.take().await];
        limit.set(1);
        assert_eq!((limit.in_use(), limit.most()), (3, 1));
        let [first, second, last] = shares;
        drop((first, second));
        assert!(limit.try_take().is_none());
        drop(last);
        assert!(limit.try_take().is_some());
    }
}
