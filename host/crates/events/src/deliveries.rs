//! The deliveries of one request, settled together by the outcome of its response.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;

use linger_config::AckMode;

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
pub struct Deliveries {
    max: usize,
    /// `None` once the request has ended.
    held: Mutex<Option<HeldDeliveries>>,
}

#[derive(Debug, Default)]
struct HeldDeliveries {
    deliveries: Vec<Arc<Delivery>>,
    waits: Vec<Weak<Mutex<Option<LeaseWait>>>>,
}

struct LeaseWait(StoreFuture<Lease>);

/// A wait for an event on behalf of a request: a place in the line, which is given up when the request
/// ends, whether its guest looks or not.
#[derive(Debug)]
pub struct PendingLease(Arc<Mutex<Option<LeaseWait>>>);

impl PendingLease {
    /// Resolves with the lease, or with `None` if the wait was given up or the lease was returned before.
    /// Giving up wakes nobody: whoever polls watches the end of the request too.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Lease, StoreError>>> {
        let mut wait = self.0.lock();
        let Some(LeaseWait(future)) = wait.as_mut() else { return Poll::Ready(None) };
        let lease = ready!(future.as_mut().poll(cx));
        *wait = None;
        Poll::Ready(Some(lease))
    }
}

impl Deliveries {
    /// Room for `max` unsettled deliveries.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, held: Mutex::new(Some(HeldDeliveries::default())) }
    }

    /// Waits for an event, in the line of its queue from now on.
    pub fn wait(&self, take: impl FnOnce() -> StoreFuture<Lease>) -> Result<PendingLease, HoldError> {
        let mut held = self.held.lock();
        let held = Self::room(&mut held, self.max)?;
        held.waits.retain(|wait| wait.strong_count() > 0);
        if held.waits.len() >= self.max {
            return Err(HoldError::TooMany);
        }
        let wait = Arc::new(Mutex::new(Some(LeaseWait(take()))));
        held.waits.push(Arc::downgrade(&wait));
        Ok(PendingLease(wait))
    }

    /// Holds an event until the request ends. If it cannot, the event is requeued as if it had not been taken.
    pub fn hold(&self, lease: Lease) -> Result<Arc<Delivery>, HoldError> {
        let mut held = self.held.lock();
        let held = Self::room(&mut held, self.max)?;
        let delivery = Arc::new(Delivery::new(lease));
        held.deliveries.push(delivery.clone());
        Ok(delivery)
    }

    fn room(held: &mut Option<HeldDeliveries>, max: usize) -> Result<&mut HeldDeliveries, HoldError> {
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
    pub fn requeue(&self, settlement: Settlement) {
        let held = self.held.lock().as_mut().map(std::mem::take);
        Self::give_up(held).settle(settlement);
    }

    /// Gives up every wait, and holds nothing from now on. What is still held is for the caller to settle.
    pub fn close(&self) -> PendingSettlement {
        let held = self.held.lock().take();
        Self::give_up(held)
    }

    fn give_up(held: Option<HeldDeliveries>) -> PendingSettlement {
        let Some(held) = held else { return PendingSettlement(Vec::new()) };
        for wait in held.waits.iter().filter_map(Weak::upgrade) {
            let given_up = wait.lock().take();
            drop(given_up);
        }
        PendingSettlement(held.deliveries)
    }

    /// The deliveries that the client has to acknowledge. From now on no receipt acknowledges them.
    pub fn await_client(&self) -> Vec<Arc<Delivery>> {
        let held = self.held.lock();
        let deliveries = held.iter().flat_map(|held| &held.deliveries);
        let awaiting: Vec<_> =
            deliveries.filter(|delivery| delivery.ack_mode() == Some(AckMode::Client)).cloned().collect();
        for delivery in &awaiting {
            delivery.awaits_client.store(true, Ordering::Release);
        }
        awaiting
    }

    /// Whether no event is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held
            .lock()
            .as_ref()
            .is_none_or(|held| !held.deliveries.iter().any(|delivery| delivery.is_held()))
    }
}

/// What a request held when its response had been written. Dropped, it returns as maybe delivered.
#[derive(Debug)]
pub struct PendingSettlement(Vec<Arc<Delivery>>);

impl PendingSettlement {
    /// Settles what its handler has not settled meanwhile. What its client has to commit, and may have got, has its time
    /// for that: a receipt is of whoever is at the other end of the connection, which may be a proxy.
    pub fn settle(mut self, settlement: Settlement) {
        self.settle_all(settlement);
    }

    fn settle_all(&mut self, settlement: Settlement) {
        for delivery in self.0.drain(..) {
            let may_have_arrived =
                matches!(settlement, Settlement::Ack | Settlement::Requeue { maybe_delivered: true });
            if may_have_arrived && delivery.awaits_client() {
                delivery.renew();
            } else if let Some(lease) = delivery.take_lease() {
                // The call starts the work. There is nobody to tell if the store failed: it logs.
                drop(lease.settle(settlement));
            }
        }
    }
}

impl Drop for PendingSettlement {
    fn drop(&mut self) {
        self.settle_all(Settlement::Requeue { maybe_delivered: true });
    }
}

impl fmt::Debug for LeaseWait {
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
    pub fn release(&self) {
        if !self.seen.load(Ordering::Relaxed) {
            drop(self.take_lease());
        }
    }

    fn take_lease(&self) -> Option<Lease> {
        self.lease.lock().take()
    }

    pub(super) fn is_held(&self) -> bool {
        self.lease.lock().is_some()
    }

    fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Acquire)
    }

    /// What commits it, while it is held.
    fn ack_mode(&self) -> Option<AckMode> {
        self.lease.lock().as_ref().map(Lease::ack_mode)
    }

    /// How long it may stay unsettled, while it is held.
    pub(super) fn time(&self) -> Option<Duration> {
        self.lease.lock().as_ref().map(Lease::time)
    }

    /// Renews it: its time starts again.
    fn renew(&self) {
        if let Some(lease) = &*self.lease.lock() {
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
            drop(lease.settle(Settlement::Requeue { maybe_delivered: true }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::FutureExt;

    use linger_base::Name;
    use linger_config::{QueuesConfig, TopicsConfig};

    use super::*;
    use crate::local::MemoryStore;
    use crate::{EventStore, NewEvent, Schedule};

    struct Fixture {
        store: Arc<MemoryStore>,
        queue: Name,
    }

    impl Fixture {
        fn with_events(count: usize) -> Self {
            let store = MemoryStore::new(QueuesConfig::default(), TopicsConfig::default());
            let fixture = Self { store, queue: "q".parse().unwrap() };
            for number in 0..count {
                let event = NewEvent { data: Bytes::from(number.to_string()), content_type: None };
                let pushed = fixture.store.clone().push(&fixture.queue, event, Schedule::default());
                pushed.now_or_never().unwrap().unwrap();
            }
            fixture
        }

        fn wait(&self, deliveries: &Deliveries) -> Result<PendingLease, HoldError> {
            deliveries.wait(|| self.store.clone().take(&self.queue))
        }

        fn take(&self) -> Option<Lease> {
            self.store.clone().take(&self.queue).now_or_never().map(Result::unwrap)
        }
    }

    #[test]
    fn commit_ends_all_deliveries_together() {
        let fixture = Fixture::with_events(2);
        let deliveries = Deliveries::new(10);
        deliveries.hold(fixture.take().unwrap()).unwrap();
        deliveries.hold(fixture.take().unwrap()).unwrap();
        deliveries.settle(Settlement::Ack);
        deliveries.settle(Settlement::Requeue { maybe_delivered: true });
        assert!(fixture.take().is_none());
    }

    #[test]
    fn put_back_raises_the_attempt() {
        let fixture = Fixture::with_events(1);
        let deliveries = Deliveries::new(10);
        deliveries.hold(fixture.take().unwrap()).unwrap();
        deliveries.settle(Settlement::Requeue { maybe_delivered: false });
        assert_eq!(fixture.take().unwrap().event().attempt, 2);
    }

    #[test]
    fn settled_early_stays_settled() {
        let fixture = Fixture::with_events(1);
        let deliveries = Deliveries::new(10);
        let delivery = deliveries.hold(fixture.take().unwrap()).unwrap();
        drop(delivery.claim().unwrap().settle(Settlement::Ack));
        assert_eq!(delivery.claim().unwrap_err(), StoreError::Settled);
        deliveries.settle(Settlement::Requeue { maybe_delivered: false });
        assert!(fixture.take().is_none());
    }

    #[test]
    fn letting_go_returns_only_what_was_not_seen() {
        let fixture = Fixture::with_events(2);
        let deliveries = Deliveries::new(10);
        let unseen = deliveries.hold(fixture.take().unwrap()).unwrap();
        let seen = deliveries.hold(fixture.take().unwrap()).unwrap();
        assert_eq!(seen.see().data, "1");
        unseen.release();
        seen.release();
        let back = fixture.take().unwrap();
        assert_eq!((back.event().data.as_ref(), back.event().attempt), (&b"0"[..], 1));
        assert!(fixture.take().is_none());
    }

    #[test]
    fn ended_request_holds_nothing() {
        let fixture = Fixture::with_events(1);
        let deliveries = Deliveries::new(10);
        deliveries.settle(Settlement::Ack);
        assert_eq!(deliveries.hold(fixture.take().unwrap()).unwrap_err(), HoldError::Ended);
        assert_eq!(fixture.take().unwrap().event().attempt, 1);
    }

    #[test]
    fn full_request_makes_room_by_settling() {
        let fixture = Fixture::with_events(3);
        let deliveries = Deliveries::new(2);
        let first = deliveries.hold(fixture.take().unwrap()).unwrap();
        deliveries.hold(fixture.take().unwrap()).unwrap();
        assert_eq!(fixture.wait(&deliveries).unwrap_err(), HoldError::TooMany);
        assert_eq!(deliveries.hold(fixture.take().unwrap()).unwrap_err(), HoldError::TooMany);
        drop(first.claim().unwrap().settle(Settlement::Ack));
        deliveries.hold(fixture.take().unwrap()).unwrap();
    }

    #[test]
    fn wait_that_nobody_polls_is_given_up_with_its_request() {
        let fixture = Fixture::with_events(1);
        let deliveries = Deliveries::new(2);
        let wait = fixture.wait(&deliveries).unwrap();
        assert!(fixture.take().is_none(), "the event has arrived for the wait");
        deliveries.settle(Settlement::Ack);
        assert_eq!(fixture.take().unwrap().event().attempt, 1);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(wait.poll(&mut cx), Poll::Ready(None)));
        assert_eq!(fixture.wait(&deliveries).unwrap_err(), HoldError::Ended);
    }

    #[test]
    fn waits_of_a_request_are_bounded() {
        let fixture = Fixture::with_events(0);
        let deliveries = Deliveries::new(2);
        let first = fixture.wait(&deliveries).unwrap();
        let _second = fixture.wait(&deliveries).unwrap();
        assert_eq!(fixture.wait(&deliveries).unwrap_err(), HoldError::TooMany);
        drop(first);
        fixture.wait(&deliveries).unwrap();
    }
}
