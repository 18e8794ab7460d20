//! The bytes that the host buffers for one instance: request bodies, and responses to be sent.
//!
//! The memory of an instance is bounded, and so should be what it makes the host hold. How long that is held is up to
//! clients; so an instance that has half of it takes no more requests until there is room again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

/// What one instance may make the host hold. Clones share it.
#[derive(Clone)]
pub(super) struct HostBudget(Arc<BudgetState>);

struct BudgetState {
    total: u64,
    held: AtomicU64,
    /// Those who wait for room.
    waiting: AtomicUsize,
    freed: Notify,
    /// Called when it can take requests again.
    relieved: Box<dyn Fn() + Send + Sync>,
}

impl HostBudget {
    /// `relieved` is called when it [is near](Self::is_near) no more.
    pub(super) fn new(total: u64, relieved: impl Fn() + Send + Sync + 'static) -> Self {
        let (freed, relieved) = (Notify::new(), Box::new(relieved));
        Self(Arc::new(BudgetState {
            total,
            held: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed,
            relieved,
        }))
    }

    pub(super) fn total(&self) -> u64 {
        self.0.total
    }

    /// Whether another instance should have the next request: half of it is held. The other half is for the requests that
    /// are in it.
    pub(super) fn is_near(&self) -> bool {
        self.0.is_near(self.0.held.load(Ordering::Acquire))
    }

    /// These bytes, which count until they are dropped. None if there is no room for them.
    pub(super) fn bytes(&self, data: Vec<u8>) -> Option<Bytes> {
        let mut share = BudgetShare::of(self);
        share.add(data.len()).then(|| {
            if data.is_empty() { Bytes::new() } else { Bytes::from_owner(BudgetUse { data, _share: share }) }
        })
    }

    /// Room for so many bytes, when there is: within `patience`. Whoever waits should have nothing yet, or those who wait
    /// could wait for each other.
    pub(super) async fn reserve(&self, bytes: u64, patience: Duration) -> Option<BudgetShare> {
        let mut share = BudgetShare::of(self);
        if share.try_add(bytes) {
            return Some(share);
        }
        if bytes > self.total() {
            return None;
        }
        let _waiting = BudgetWaiter::join(&self.0);
        let room = async {
            loop {
                let mut freed = std::pin::pin!(self.0.freed.notified());
                // First it listens, then it looks: what is freed between is heard.
                freed.as_mut().enable();
                if share.try_add(bytes) {
                    return;
                }
                freed.await;
            }
        };
        timeout(patience, room).await.ok().map(|()| share)
    }
}

impl fmt::Debug for HostBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBudget")
            .field("total", &self.0.total)
            .field("held", &self.0.held)
            .finish_non_exhaustive()
    }
}

impl BudgetState {
    fn is_near(&self, held: u64) -> bool {
        held > self.total / 2
    }

    fn release(&self, bytes: u64) {
        let before = self.held.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
        if self.is_near(before) && !self.is_near(before - bytes) {
            (self.relieved)();
        }
    }
}

/// One who waits for room.
struct BudgetWaiter<'a>(&'a BudgetState);

impl<'a> BudgetWaiter<'a> {
    fn join(inner: &'a BudgetState) -> Self {
        inner.waiting.fetch_add(1, Ordering::SeqCst);
        Self(inner)
    }
}

impl Drop for BudgetWaiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

struct BudgetUse {
    data: Vec<u8>,
    _share: BudgetShare,
}

impl AsRef<[u8]> for BudgetUse {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct BudgetShare {
    budget: HostBudget,
    bytes: u64,
    /// Of those, what is not used yet.
    spare: u64,
}

impl BudgetShare {
    fn of(budget: &HostBudget) -> Self {
        Self { budget: budget.clone(), bytes: 0, spare: 0 }
    }

    /// Takes so many bytes more, if there are so many: first of what was reserved.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let beyond = bytes.saturating_sub(self.spare);
        self.spare = self.spare.saturating_sub(bytes);
        beyond == 0 || self.take(beyond)
    }

    /// Reserves so many.
    fn try_add(&mut self, bytes: u64) -> bool {
        let taken = self.take(bytes);
        if taken {
            self.spare += bytes;
        }
        taken
    }

    fn take(&mut self, bytes: u64) -> bool {
        let BudgetState { held, total, .. } = &*self.budget.0;
        let next = |held: u64| held.checked_add(bytes).filter(|sum| sum <= total);
        let taken = held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.0.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[test]
    fn bytes_count_until_they_are_dropped() {
        let budget = HostBudget::new(10, || ());
        let first = budget.bytes(vec![1; 6]).unwrap();
        assert!(budget.bytes(vec![2; 5]).is_none());
        let part = first.slice(1..2);
        drop(first);
        assert!(budget.bytes(vec![2; 5]).is_none(), "a part of it is left");
        drop(part);
        assert!(budget.bytes(vec![2; 10]).is_some());
    }

    #[test]
    fn it_is_near_from_the_half_on_and_tells_when_it_is_no_more() {
        let relieved = Arc::new(AtomicUsize::new(0));
        let count = relieved.clone();
        let budget = HostBudget::new(10, move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let first = budget.bytes(vec![1; 5]).unwrap();
        assert!(!budget.is_near());
        let (second, third) = (budget.bytes(vec![1; 1]).unwrap(), budget.bytes(vec![1; 1]).unwrap());
        assert!(budget.is_near());
        drop(third);
        assert_eq!(relieved.load(Ordering::Relaxed), 0);
        drop(second);
        assert_eq!(relieved.load(Ordering::Relaxed), 1);
        drop(first);
        assert_eq!(relieved.load(Ordering::Relaxed), 1, "told once");
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back() {
        const LONG: Duration = Duration::from_hours(1);
        let budget = HostBudget::new(10, || ());
        let held = budget.bytes(vec![1; 6]).unwrap();
        let mut waits = std::pin::pin!(budget.reserve(8, LONG));
        assert!(poll!(waits.as_mut()).is_pending());
        drop(held);
        let mut share = waits.await.unwrap();
        assert!(share.add(8) && share.add(2) && !share.add(1));
        assert!(budget.reserve(11, LONG).await.is_none(), "never");
        drop(share);
        assert!(budget.bytes(vec![2; 10]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_leaves_nothing_behind() {
        let budget = HostBudget::new(10, || ());
        let held = budget.bytes(vec![1; 6]).unwrap();
        assert!(budget.reserve(8, Duration::from_secs(1)).await.is_none());
        drop(held);
        assert!(budget.bytes(vec![2; 10]).is_some());
    }
}
