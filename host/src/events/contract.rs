//! What every store promises, tried on each.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use futures::FutureExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Durability;
use crate::events::DiskStore;

/// How long to see that something does not happen.
const ABSENCE: Duration = Duration::from_millis(50);

const SOON: Duration = Duration::from_secs(30);

struct Fixture {
    store: Arc<dyn EventStore>,
    /// Where it writes.
    _folder: Option<TempDir>,
}

fn memory(limits: QueueLimits) -> Fixture {
    Fixture { store: MemoryStore::new(limits), _folder: None }
}

fn disk(limits: QueueLimits) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::open(folder.path(), Durability::Buffered, limits).unwrap();
    Fixture { store, _folder: Some(folder) }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            #[tokio::test]
            async fn memory() {
                super::$test(super::memory).await;
            }

            #[tokio::test]
            async fn disk() {
                super::$test(super::disk).await;
            }
        }
    )* };
}

contract!(
    events_leave_in_the_order_in_which_they_came,
    put_back_returns_to_its_place_whatever_the_order,
    dropped_lease_leaves_no_trace,
    dropped_wait_takes_nothing,
    waiters_are_served_in_the_order_in_which_they_came,
    limits_refuse_and_keep_what_is_there,
    bytes_of_a_queue_are_bounded,
    bytes_of_all_queues_are_bounded,
    lease_settles_once,
);

fn limits() -> QueueLimits {
    QueueLimits::default()
}

fn name(name: &str) -> QueueName {
    name.parse().unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}

impl Fixture {
    async fn push(&self, queue: &str, text: &str) -> Result<Arc<str>, StoreError> {
        let event = NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: None };
        soon(self.store.clone().push(&name(queue), event)).await
    }

    fn wait(&self, queue: &str) -> StoreFuture<Lease> {
        self.store.clone().take(&name(queue))
    }

    async fn take(&self, queue: &str) -> Lease {
        soon(self.wait(queue)).await.unwrap()
    }

    async fn has_nothing(&self, queue: &str) -> bool {
        tokio::time::timeout(ABSENCE, self.wait(queue)).await.is_err()
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }
}

/// Pushes and takes something else, which is written after all that came before.
async fn settle_all(f: &Fixture) {
    f.push("other", "").await.unwrap();
    settle(f.take("other").await, Settlement::Commit).await;
}

async fn settle(lease: Lease, settlement: Settlement) {
    soon(lease.settle(settlement)).await.unwrap();
}

/// Makes a store with these limits.
type Make = fn(QueueLimits) -> Fixture;

async fn events_leave_in_the_order_in_which_they_came(make: Make) {
    let f = make(limits());
    for text in ["a", "b", "c"] {
        f.push("q", text).await.unwrap();
    }
    assert_eq!(f.usage(), Usage { queues: 1, events: 3, bytes: 3 * (OVERHEAD + 1) });
    for text in ["a", "b", "c"] {
        let lease = f.take("q").await;
        assert_eq!(lease.event().data, text);
        settle(lease, Settlement::Commit).await;
    }
    assert!(f.has_nothing("q").await);
    assert_eq!(f.usage(), Usage::default());
}

async fn put_back_returns_to_its_place_whatever_the_order(make: Make) {
    let f = make(limits());
    for text in ["a", "b", "c"] {
        f.push("q", text).await.unwrap();
    }
    let (a, b) = (f.take("q").await, f.take("q").await);
    settle(a, Settlement::PutBack { maybe_delivered: false }).await;
    settle(b, Settlement::PutBack { maybe_delivered: true }).await;
    let (a, b) = (f.take("q").await, f.take("q").await);
    let seen =
        |lease: &Lease| (lease.event().data.clone(), lease.event().attempt, lease.event().maybe_delivered);
    assert_eq!(seen(&a), (Bytes::from_static(b"a"), 2, false));
    assert_eq!(seen(&b), (Bytes::from_static(b"b"), 2, true));
}

async fn dropped_lease_leaves_no_trace(make: Make) {
    let f = make(limits());
    f.push("q", "a").await.unwrap();
    drop(f.take("q").await);
    assert_eq!(f.take("q").await.event().attempt, 1);
}

async fn dropped_wait_takes_nothing(make: Make) {
    let f = make(limits());
    let mut early = f.wait("q");
    assert!((&mut early).now_or_never().is_none());
    drop(early);
    assert_eq!(f.usage(), Usage::default());
    // This one is given the event, and is dropped before it looks.
    let unseen = f.wait("q");
    f.push("q", "a").await.unwrap();
    let next = f.wait("q");
    drop(unseen);
    let lease = soon(next).await.unwrap();
    assert_eq!((lease.event().data.as_ref(), lease.event().attempt), (&b"a"[..], 1));
}

async fn waiters_are_served_in_the_order_in_which_they_came(make: Make) {
    let f = make(limits());
    let waits: Vec<_> = (0..5).map(|_| f.wait("q")).collect();
    for number in 0..5 {
        f.push("q", &number.to_string()).await.unwrap();
    }
    for (number, wait) in waits.into_iter().enumerate() {
        let lease = soon(wait).await.unwrap();
        assert_eq!(lease.event().data, number.to_string());
        settle(lease, Settlement::Commit).await;
    }
}

async fn limits_refuse_and_keep_what_is_there(make: Make) {
    let mut limits = limits();
    limits.max_events = 2;
    limits.max_event_size = ByteSize::b(4);
    limits.max_queues = 1;
    let f = make(limits);
    assert_eq!(f.push("q", "12345").await, Err(StoreError::TooLarge { limit: 4 }));
    assert_eq!(f.usage(), Usage::default());
    f.push("q", "1").await.unwrap();
    f.push("q", "2").await.unwrap();
    let lease = f.take("q").await;
    // A leased event still counts: it may return.
    assert_eq!(f.push("q", "3").await, Err(StoreError::Full));
    assert_eq!(f.push("other", "3").await, Err(StoreError::Full));
    settle(lease, Settlement::Commit).await;
    f.push("q", "3").await.unwrap();
}

async fn bytes_of_a_queue_are_bounded(make: Make) {
    let mut limits = limits();
    limits.max_bytes = ByteSize::b(2 * (OVERHEAD + 10));
    let f = make(limits);
    f.push("q", "0123456789").await.unwrap();
    f.push("q", "0123456789").await.unwrap();
    assert_eq!(f.push("q", "").await, Err(StoreError::Full));
    settle(f.take("q").await, Settlement::Commit).await;
    f.push("q", "0123456789").await.unwrap();
}

async fn bytes_of_all_queues_are_bounded(make: Make) {
    let mut limits = limits();
    limits.max_total_bytes = ByteSize::b(2 * (OVERHEAD + 10));
    let f = make(limits);
    f.push("a", "0123456789").await.unwrap();
    f.push("b", "0123456789").await.unwrap();
    assert_eq!(f.push("c", "").await, Err(StoreError::Full));
    settle(f.take("a").await, Settlement::Commit).await;
    f.push("c", "0123456789").await.unwrap();
}

async fn lease_settles_once(make: Make) {
    let f = make(limits());
    f.push("q", "a").await.unwrap();
    let lease = f.take("q").await;
    let id = lease.id.clone();
    settle(lease, Settlement::Commit).await;
    assert_eq!(soon(f.store.clone().settle(&id, Settlement::Commit)).await, Err(StoreError::Settled));
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

fn number(data: &Bytes) -> u64 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

/// Whatever the order of things, every event is committed once or still there, oldest first.
async fn no_event_is_lost_or_doubled(f: Fixture, steps: Vec<Step>) {
    let mut pushed = 0u64;
    let mut committed = Vec::new();
    let mut waits = VecDeque::new();
    let mut leases: Vec<Lease> = Vec::new();
    for step in steps {
        match step {
            Step::Push => {
                f.push("q", &pushed.to_string()).await.unwrap();
                pushed += 1;
            }
            Step::Take => waits.push_back(f.wait("q")),
            Step::Abandon(index) if !waits.is_empty() => {
                waits.remove(index % waits.len());
            }
            Step::Settle(index, settlement) if !leases.is_empty() => {
                let lease = leases.swap_remove(index % leases.len());
                if settlement == Settlement::Commit {
                    committed.push(lease.event().data.clone());
                }
                settle(lease, settlement).await;
            }
            Step::Abandon(_) | Step::Settle(..) => {}
        }
        waits.retain_mut(|wait| match wait.now_or_never() {
            Some(lease) => {
                leases.push(lease.unwrap());
                false
            }
            None => true,
        });
    }
    waits.clear();
    leases.clear();
    // By then all has been written that was on its way: what nobody took is back.
    settle_all(&f).await;
    let mut rest = Vec::new();
    while f.usage().events > 0 {
        let lease = f.take("q").await;
        rest.push(lease.event().data.clone());
        settle(lease, Settlement::Commit).await;
    }
    assert!(rest.iter().map(number).is_sorted(), "{rest:?}");
    let mut all: Vec<_> = committed.iter().chain(&rest).map(number).collect();
    all.sort_unstable();
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
    assert_eq!(f.usage(), Usage::default());
}

fn run(make: Make, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(no_event_is_lost_or_doubled(make(limits()), steps));
}

proptest! {
    #[test]
    fn no_event_is_lost_or_doubled_in_memory(steps in proptest::collection::vec(step(), 0..200)) {
        run(memory, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_event_is_lost_or_doubled_on_disk(steps in proptest::collection::vec(step(), 0..100)) {
        run(disk, steps);
    }
}
