use std::collections::VecDeque;

use bytes::Bytes;
use bytesize::ByteSize;
use futures::FutureExt;
use proptest::prelude::*;

use super::*;

fn limits() -> QueueLimits {
    QueueLimits::default()
}

fn name(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn event(text: &str) -> NewEvent {
    NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: None }
}

fn push(store: &Arc<MemoryStore>, queue: &str, text: &str) -> Result<Arc<str>, StoreError> {
    store.clone().push(&name(queue), event(text)).now_or_never().unwrap()
}

fn take(store: &Arc<MemoryStore>, queue: &str) -> Option<Lease> {
    store.clone().take(&name(queue)).now_or_never().map(Result::unwrap)
}

fn settle(lease: Lease, settlement: Settlement) {
    lease.settle(settlement).now_or_never().unwrap().unwrap();
}

fn queues(store: &MemoryStore) -> usize {
    store.state().queues.len()
}

#[test]
fn events_leave_in_the_order_in_which_they_came() {
    let store = MemoryStore::new(limits());
    for text in ["a", "b", "c"] {
        push(&store, "q", text).unwrap();
    }
    for text in ["a", "b", "c"] {
        let lease = take(&store, "q").unwrap();
        assert_eq!(lease.event().data, text);
        settle(lease, Settlement::Commit);
    }
    assert!(take(&store, "q").is_none());
    assert_eq!(queues(&store), 0);
}

#[test]
fn put_back_returns_to_its_place_whatever_the_order() {
    let store = MemoryStore::new(limits());
    for text in ["a", "b", "c"] {
        push(&store, "q", text).unwrap();
    }
    let (a, b) = (take(&store, "q").unwrap(), take(&store, "q").unwrap());
    settle(a, Settlement::PutBack { maybe_delivered: false });
    settle(b, Settlement::PutBack { maybe_delivered: true });
    let a = take(&store, "q").unwrap();
    let b = take(&store, "q").unwrap();
    assert_eq!(
        (a.event().data.as_ref(), a.event().attempt, a.event().maybe_delivered),
        (&b"a"[..], 2, false)
    );
    assert_eq!((b.event().data.as_ref(), b.event().attempt, b.event().maybe_delivered), (&b"b"[..], 2, true));
}

#[test]
fn dropped_lease_leaves_no_trace() {
    let store = MemoryStore::new(limits());
    push(&store, "q", "a").unwrap();
    drop(take(&store, "q").unwrap());
    assert_eq!(take(&store, "q").unwrap().event().attempt, 1);
}

#[test]
fn dropped_wait_takes_nothing() {
    let store = MemoryStore::new(limits());
    let mut early = store.clone().take(&name("q"));
    assert!((&mut early).now_or_never().is_none());
    drop(early);
    assert_eq!(queues(&store), 0);
    // This one is given the event, and is dropped before it looks.
    let unseen = store.clone().take(&name("q"));
    push(&store, "q", "a").unwrap();
    let next = store.clone().take(&name("q"));
    drop(unseen);
    let lease = next.now_or_never().expect("the event is passed on").unwrap();
    assert_eq!((lease.event().data.as_ref(), lease.event().attempt), (&b"a"[..], 1));
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let store = MemoryStore::new(limits());
    let waits: Vec<_> = (0..5).map(|_| store.clone().take(&name("q"))).collect();
    for number in 0..5 {
        push(&store, "q", &number.to_string()).unwrap();
    }
    for (number, wait) in waits.into_iter().enumerate() {
        let lease = wait.now_or_never().unwrap().unwrap();
        assert_eq!(lease.event().data, number.to_string());
        settle(lease, Settlement::Commit);
    }
}

#[test]
fn limits_refuse_and_keep_what_is_there() {
    let mut limits = limits();
    limits.max_events = 2;
    limits.max_event_size = ByteSize::b(4);
    limits.max_queues = 1;
    let store = MemoryStore::new(limits);
    assert_eq!(push(&store, "q", "12345"), Err(StoreError::TooLarge { limit: 4 }));
    assert_eq!(queues(&store), 0);
    push(&store, "q", "1").unwrap();
    push(&store, "q", "2").unwrap();
    let lease = take(&store, "q").unwrap();
    // A leased event still counts: it may return.
    assert_eq!(push(&store, "q", "3"), Err(StoreError::Full));
    assert_eq!(push(&store, "other", "3"), Err(StoreError::Full));
    settle(lease, Settlement::Commit);
    push(&store, "q", "3").unwrap();
}

#[test]
fn bytes_of_a_queue_are_bounded() {
    let mut limits = limits();
    limits.max_bytes = ByteSize::b(2 * (OVERHEAD + 10));
    let store = MemoryStore::new(limits);
    push(&store, "q", "0123456789").unwrap();
    push(&store, "q", "0123456789").unwrap();
    assert_eq!(push(&store, "q", ""), Err(StoreError::Full));
    settle(take(&store, "q").unwrap(), Settlement::Commit);
    push(&store, "q", "0123456789").unwrap();
}

#[test]
fn bytes_of_all_queues_are_bounded() {
    let mut limits = limits();
    limits.max_total_bytes = ByteSize::b(2 * (OVERHEAD + 10));
    let store = MemoryStore::new(limits);
    push(&store, "a", "0123456789").unwrap();
    push(&store, "b", "0123456789").unwrap();
    assert_eq!(push(&store, "c", ""), Err(StoreError::Full));
    settle(take(&store, "a").unwrap(), Settlement::Commit);
    push(&store, "c", "0123456789").unwrap();
}

#[test]
fn lease_settles_once() {
    let store = MemoryStore::new(limits());
    push(&store, "q", "a").unwrap();
    let lease = take(&store, "q").unwrap();
    let id = lease.id.clone();
    settle(lease, Settlement::Commit);
    assert_eq!(store.settle_now(&id, Settlement::Commit), Err(StoreError::Settled));
}

#[derive(Clone, Debug)]
enum Step {
    Push,
    Take,
    Abandon(usize),
    Settle(usize, Settlement),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        3 => Just(Step::Take),
        1 => any::<usize>().prop_map(Step::Abandon),
        2 => (any::<usize>(), prop_oneof![
            Just(Settlement::Commit),
            Just(Settlement::Untaken),
            any::<bool>().prop_map(|maybe_delivered| Settlement::PutBack { maybe_delivered }),
        ]).prop_map(|(index, settlement)| Step::Settle(index, settlement)),
    ]
}

proptest! {
    /// Whatever the order of things, every event is committed once or still there, oldest first.
    #[test]
    fn no_event_is_lost_or_doubled(steps in proptest::collection::vec(step(), 0..200)) {
        let store = MemoryStore::new(limits());
        let mut pushed = 0u64;
        let mut committed = Vec::new();
        let mut waits = VecDeque::new();
        let mut leases: Vec<Lease> = Vec::new();
        for step in steps {
            match step {
                Step::Push => {
                    push(&store, "q", &pushed.to_string()).unwrap();
                    pushed += 1;
                }
                Step::Take => waits.push_back(store.clone().take(&name("q"))),
                Step::Abandon(index) if !waits.is_empty() => {
                    waits.remove(index % waits.len());
                }
                Step::Settle(index, settlement) if !leases.is_empty() => {
                    let lease = leases.swap_remove(index % leases.len());
                    if settlement == Settlement::Commit {
                        committed.push(lease.event().data.clone());
                    }
                    settle(lease, settlement);
                }
                Step::Abandon(_) | Step::Settle(..) => {}
            }
            waits.retain_mut(|wait| match wait.now_or_never() {
                Some(lease) => { leases.push(lease.unwrap()); false }
                None => true,
            });
        }
        waits.clear();
        leases.clear();
        let mut rest = Vec::new();
        while let Some(lease) = take(&store, "q") {
            rest.push(lease.event().data.clone());
            settle(lease, Settlement::Commit);
        }
        let number = |data: &Bytes| std::str::from_utf8(data).unwrap().parse::<u64>().unwrap();
        prop_assert!(rest.iter().map(number).is_sorted());
        let mut all: Vec<_> = committed.iter().chain(&rest).map(number).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..pushed).collect::<Vec<_>>());
        prop_assert_eq!((queues(&store), store.state().bytes), (0, 0));
    }
}
