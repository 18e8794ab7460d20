//! The deliveries of one request, settled together by the outcome of its response.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use linger_config::Commit;

use super::{Event, Lease, Settlement, StoreError, StoreFuture};

/// The reason why a request cannot get another delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// It has reached its limit of deliveries.
    #[error("the request has reached its limit of deliveries")]
    TooMany,
    /// Its deliveries were settled already.
    #[error("the request has ended")]
    Ended,
}

/// What one request holds and waits for.
#[derive(Debug)]
pub struct Holdings {
    max: usize,
    /// `None` once the request has ended.
    held: Mutex<Option<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    deliveries: Vec<Arc<Delivery>>,
    waits: Vec<Weak<Mutex<Option<Wait>>>>,
}

struct Wait(StoreFuture<Lease>);

/// A wait for an event on behalf of a request: a place in the line, which is given up when the request
/// ends, whether its guest looks or not.
#[derive(Debug)]
pub struct PendingLease(Arc<Mutex<Option<Wait>>>);

impl PendingLease {
    /// Resolves with the lease, or with `None` if the wait was given up or the lease was returned before.
    /// Giving up wakes nobody: whoever polls watches the end of the request too.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Lease, StoreError>>> {
        let mut wait = lock(&self.0);
        let Some(Wait(future)) = wait.as_mut() else { return Poll::Ready(None) };
        let lease = ready!(future.as_mut().poll(cx));
        *wait = None;
        Poll::Ready(Some(lease))
    }
}

impl Holdings {
    /// Room for `max` unsettled deliveries.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, held: Mutex::new(Some(Held::default())) }
    }

    /// Waits for an event, in the line of its queue from now on.
    pub fn wait(&self, take: impl FnOnce() -> StoreFuture<Lease>) -> Result<PendingLease, HoldError> {
        let mut held = lock(&self.held);
        let held = Self::room(&mut held, self.max)?;
        held.waits.retain(|wait| wait.strong_count() > 0);
        if held.waits.len() >= self.max {
            return Err(HoldError::TooMany);
        }
        let wait = Arc::new(Mutex::new(Some(Wait(take()))));
        held.waits.push(Arc::downgrade(&wait));
        Ok(PendingLease(wait))
    }

    /// Holds an event until the request ends. If it cannot, the event is requeued as if it had not been taken.
    pub fn hold(&self, lease: Lease) -> Result<Arc<Delivery>, HoldError> {
        let mut held = lock(&self.held);
        let held = Self::room(&mut held, self.max)?;
        let delivery = Arc::new(Delivery::new(lease));
        held.deliveries.push(delivery.clone());
        Ok(delivery)
    }

    fn room(held: &mut Option<Held>, max: usize) -> Result<&mut Held, HoldError> {
        let held = held.as_mut().ok_or(HoldError::Ended)?;
        if held.deliveries.len() >= max {
            held.deliveries.retain(|delivery| delivery.is_held());
        }
        if held.deliveries.len() >= max { Err(HoldError::TooMany) } else { Ok(held) }
    }

    /// Settles everything that is still held, as [`close`](Self::close) and then at once.
    #[cfg(test)]
    pub(super) fn settle(&self, settlement: Settlement) {
        self.close().settle(settlement);
    }

    /// Gives up every wait, and settles what is held: no client has got any of it.
    pub fn put_back(&self, settlement: Settlement) {
        let held = lock(&self.held).as_mut().map(std::mem::take);
        Self::give_up(held).settle(settlement);
    }

    /// Gives up every wait, and holds nothing from now on. What is still held is for the caller to settle.
    pub fn close(&self) -> Unsettled {
        let held = lock(&self.held).take();
        Self::give_up(held)
    }

    fn give_up(held: Option<Held>) -> Unsettled {
        let Some(held) = held else { return Unsettled(Vec::new()) };
        for wait in held.waits.iter().filter_map(Weak::upgrade) {
            let given_up = lock(&wait).take();
            drop(given_up);
        }
        Unsettled(held.deliveries)
    }

    /// The deliveries that the client has to acknowledge. From now on no receipt acknowledges them.
    pub fn await_client(&self) -> Vec<Arc<Delivery>> {
        let held = lock(&self.held);
        let deliveries = held.iter().flat_map(|held| &held.deliveries);
        let awaiting: Vec<_> =
            deliveries.filter(|delivery| delivery.commit() == Some(Commit::Client)).cloned().collect();
        for delivery in &awaiting {
            delivery.awaits_client.store(true, Ordering::Release);
        }
        awaiting
    }

    /// Whether no event is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.held)
            .as_ref()
            .is_none_or(|held| !held.deliveries.iter().any(|delivery| delivery.is_held()))
    }
}

/// What a request held when its response had been written. Dropped, it returns as maybe delivered.
#[derive(Debug)]
pub struct Unsettled(Vec<Arc<Delivery>>);

impl Unsettled {
    /// Settles what its handler has not settled meanwhile. What its client has to commit, and may have got, has its time
    /// for that: a receipt is of whoever is at the other end of the connection, which may be a proxy.
    pub fn settle(mut self, settlement: Settlement) {
        self.settle_all(settlement);
    }

    fn settle_all(&mut self, settlement: Settlement) {
        for delivery in self.0.drain(..) {
            let may_have_arrived =
                matches!(settlement, Settlement::Commit | Settlement::PutBack { maybe_delivered: true });
            if may_have_arrived && delivery.awaits_client() {
                delivery.renew();
            } else if let Some(lease) = delivery.take_lease() {
                // The call starts the work. There is nobody to tell if the store failed: it logs.
                drop(lease.settle(settlement));
            }
        }
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.settle_all(Settlement::PutBack { maybe_delivered: true });
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wait")
    }
}

/// A taken event, and the lease on it until it is settled.
#[derive(Debug)]
pub struct Delivery {
    event: Event,
    lease: Mutex<Option<Lease>>,
    seen: AtomicBool,
    /// Whether only its client can commit it.
    awaits_client: AtomicBool,
}

impl Delivery {
    fn new(lease: Lease) -> Self {
        Self {
            event: lease.event().clone(),
            lease: Mutex::new(Some(lease)),
            seen: AtomicBool::new(false),
            awaits_client: AtomicBool::new(false),
        }
    }

    /// The event, for its id and metadata. Does not count as seen.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event with its payload. From now on it counts as seen by the handler.
    pub fn see(&self) -> &Event {
        self.seen.store(true, Ordering::Relaxed);
        &self.event
    }

    /// Takes the lease, to settle it.
    pub fn claim(&self) -> Result<Lease, StoreError> {
        self.take_lease().ok_or(StoreError::Settled)
    }

    /// The handler let go of it. An event whose payload it never saw returns untaken.
    pub fn let_go(&self) {
        if !self.seen.load(Ordering::Relaxed) {
            drop(self.take_lease());
        }
    }

    fn take_lease(&self) -> Option<Lease> {
        lock(&self.lease).take()
    }

    pub(super) fn is_held(&self) -> bool {
        lock(&self.lease).is_some()
    }

    fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Acquire)
    }

    /// What commits it, while it is held.
    fn commit(&self) -> Option<Commit> {
        lock(&self.lease).as_ref().map(Lease::commit)
    }

    /// How long it may stay unsettled, while it is held.
    pub(super) fn time(&self) -> Option<Duration> {
        lock(&self.lease).as_ref().map(Lease::time)
    }

    /// Renews it: its time starts again.
    fn renew(&self) {
        if let Some(lease) = &*lock(&self.lease) {
            lease.renew();
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // Its client may have got it, and has not said so.
        if self.awaits_client()
            && let Some(lease) = self.take_lease()
        {
            drop(lease.settle(Settlement::PutBack { maybe_delivered: true }));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::FutureExt;

    use linger_base::Name;
    use linger_config::{Queues, Topics};

    use super::*;
    use crate::local::MemoryStore;
    use crate::{EventStore, NewEvent, Schedule};

    struct Fixture {
        store: Arc<MemoryStore>,
        queue: Name,
    }

    impl Fixture {
        fn with_events(count: usize) -> Self {
            let store = MemoryStore::new(Queues::default(), Topics::default());
            let fixture = Self { store, queue: "q".parse().unwrap() };
            for number in 0..count {
                let event = NewEvent { data: Bytes::from(number.to_string()), content_type: None };
                let pushed = fixture.store.clone().push(&fixture.queue, event, Schedule::default());
                pushed.now_or_never().unwrap().unwrap();
            }
            fixture
        }

        fn wait(&self, holdings: &Holdings) -> Result<PendingLease, HoldError> {
            holdings.wait(|| self.store.clone().take(&self.queue))
        }

        fn take(&self) -> Option<Lease> {
            self.store.clone().take(&self.queue).now_or_never().map(Result::unwrap)
        }
    }

    #[test]
    fn commit_ends_all_deliveries_together() {
        let fixture = Fixture::with_events(2);
        let holdings = Holdings::new(10);
        holdings.hold(fixture.take().unwrap()).unwrap();
        holdings.hold(fixture.take().unwrap()).unwrap();
        holdings.settle(Settlement::Commit);
        holdings.settle(Settlement::PutBack { maybe_delivered: true });
        assert!(fixture.take().is_none());
    }

    #[test]
    fn put_back_raises_the_attempt() {
        let fixture = Fixture::with_events(1);
        let holdings = Holdings::new(10);
        holdings.hold(fixture.take().unwrap()).unwrap();
        holdings.settle(Settlement::PutBack { maybe_delivered: false });
        assert_eq!(fixture.take().unwrap().event().attempt, 2);
    }

    #[test]
    fn settled_early_stays_settled() {
        let fixture = Fixture::with_events(1);
        let holdings = Holdings::new(10);
        let delivery = holdings.hold(fixture.take().unwrap()).unwrap();
        drop(delivery.claim().unwrap().settle(Settlement::Commit));
        assert_eq!(delivery.claim().unwrap_err(), StoreError::Settled);
        holdings.settle(Settlement::PutBack { maybe_delivered: false });
        assert!(fixture.take().is_none());
    }

    #[test]
    fn letting_go_returns_only_what_was_not_seen() {
        let fixture = Fixture::with_events(2);
        let holdings = Holdings::new(10);
        let unseen = holdings.hold(fixture.take().unwrap()).unwrap();
        let seen = holdings.hold(fixture.take().unwrap()).unwrap();
        assert_eq!(seen.see().data, "1");
        unseen.let_go();
        seen.let_go();
        let back = fixture.take().unwrap();
        assert_eq!((back.event().data.as_ref(), back.event().attempt), (&b"0"[..], 1));
        assert!(fixture.take().is_none());
    }

    #[test]
    fn ended_request_holds_nothing() {
        let fixture = Fixture::with_events(1);
        let holdings = Holdings::new(10);
        holdings.settle(Settlement::Commit);
        assert_eq!(holdings.hold(fixture.take().unwrap()).unwrap_err(), HoldError::Ended);
        assert_eq!(fixture.take().unwrap().event().attempt, 1);
    }

    #[test]
    fn full_request_makes_room_by_settling() {
        let fixture = Fixture::with_events(3);
        let holdings = Holdings::new(2);
        let first = holdings.hold(fixture.take().unwrap()).unwrap();
        holdings.hold(fixture.take().unwrap()).unwrap();
        assert_eq!(fixture.wait(&holdings).unwrap_err(), HoldError::TooMany);
        assert_eq!(holdings.hold(fixture.take().unwrap()).unwrap_err(), HoldError::TooMany);
        drop(first.claim().unwrap().settle(Settlement::Commit));
        holdings.hold(fixture.take().unwrap()).unwrap();
    }

    #[test]
    fn wait_that_nobody_polls_is_given_up_with_its_request() {
        let fixture = Fixture::with_events(1);
        let holdings = Holdings::new(2);
        let wait = fixture.wait(&holdings).unwrap();
        assert!(fixture.take().is_none(), "the event has arrived for the wait");
        holdings.settle(Settlement::Commit);
        assert_eq!(fixture.take().unwrap().event().attempt, 1);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(wait.poll(&mut cx), Poll::Ready(None)));
        assert_eq!(fixture.wait(&holdings).unwrap_err(), HoldError::Ended);
    }

    #[test]
    fn waits_of_a_request_are_bounded() {
        let fixture = Fixture::with_events(0);
        let holdings = Holdings::new(2);
        let first = fixture.wait(&holdings).unwrap();
        let _second = fixture.wait(&holdings).unwrap();
        assert_eq!(fixture.wait(&holdings).unwrap_err(), HoldError::TooMany);
        drop(first);
        fixture.wait(&holdings).unwrap();
    }
}
