//! What every store promises, tried on each.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

use linger_config::{Durability, QueuesConfig, TopicsConfig};

use super::local::OVERHEAD;
use super::*;

/// How long to see that something does not happen.
const ABSENCE: Duration = Duration::from_millis(50);

/// Longer than it takes to notice that NATS has lost a request: twice its sign of life.
const SOON: Duration = Duration::from_mins(2);

struct Limits {
    queues: QueuesConfig,
    topics: TopicsConfig,
}

struct ContractFixture {
    store: Arc<dyn EventStore>,
    /// Keeps its time.
    _tasks: JoinSet<()>,
    /// Where its events are.
    _place: Box<dyn Send>,
}

impl ContractFixture {
    fn new(store: Arc<dyn EventStore>, place: Box<dyn Send>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(store.clone().keep_time());
        Self { store, _tasks: tasks, _place: place }
    }
}

/// A kind of store, and how it counts.
#[derive(Clone, Copy)]
struct ContractKind {
    make: fn(Limits) -> ContractFixture,
    /// Bytes of an event beside its payload, in a queue or a topic whose name is one letter.
    overhead: u64,
    /// Whether hosts can share it. Then bytes are those that are sent, and the newest event of a topic has to fit too.
    is_shared: bool,
}

const MEMORY: ContractKind = ContractKind {
    make: |limits| ContractFixture::new(MemoryStore::new(limits.queues, limits.topics), Box::new(())),
    overhead: OVERHEAD,
    is_shared: false,
};

const DISK: ContractKind = ContractKind {
    make: |limits| {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path(), Durability::Buffered, limits.queues, limits.topics);
        ContractFixture::new(store.unwrap(), Box::new(folder))
    },
    overhead: OVERHEAD,
    is_shared: false,
};

#[cfg(feature = "nats")]
const NATS: ContractKind = ContractKind {
    make: |limits| {
        let server = linger_nats_server::Nats::start().unwrap();
        let config =
            linger_config::NatsConfig { servers: vec![server.url()], ..linger_config::NatsConfig::default() };
        let store = nats::NatsStore::open(&config, limits.queues, limits.topics);
        ContractFixture::new(store.unwrap(), Box::new(server))
    },
    overhead: 93,
    is_shared: true,
};

impl ContractKind {
    fn store(self, limits: Limits) -> ContractFixture {
        (self.make)(limits)
    }

    /// What these take, each in the queue of that name.
    fn bytes(self, events: &[(&str, &str)]) -> u64 {
        let bytes = |(queue, text): &(&str, &str)| {
            let name = if self.is_shared { queue.len() - 1 } else { 0 };
            self.overhead + (name + text.len()) as u64
        };
        events.iter().map(bytes).sum()
    }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            #[tokio::test]
            async fn memory() {
                super::$test(super::MEMORY).await;
            }

            #[tokio::test]
            async fn disk() {
                super::$test(super::DISK).await;
            }

            #[cfg(feature = "nats")]
            #[tokio::test]
            async fn nats() {
                if linger_nats_server::Nats::is_there() {
                    super::$test(super::NATS).await;
                }
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
    waiters_are_bounded,
    delayed_event_is_taken_when_its_time_has_come,
    event_of_no_more_use_is_gone,
    lease_that_runs_out_puts_back_and_is_settled,
    renewed_lease_holds_on,
    event_that_was_handed_out_too_often_goes_to_the_dead_letters,
    dead_letter_without_a_place_stays,
    readers_get_all_events_in_order,
    reader_waits_for_the_next_event,
    all_readers_share_one_event,
    dropped_read_leaves_no_trace,
    retention_tells_how_much_was_missed,
    old_events_are_dropped_by_time_and_so_is_the_topic,
    limits_of_topics_refuse_and_keep_what_is_there,
);

fn limits() -> Limits {
    Limits { queues: QueuesConfig::default(), topics: TopicsConfig::default() }
}

/// Limits for queues, as in a configuration.
fn queues(text: &str) -> Limits {
    Limits { queues: toml::from_str(text).unwrap(), ..limits() }
}

fn topics(text: &str) -> Limits {
    Limits { topics: toml::from_str(text).unwrap(), ..limits() }
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}

fn event(text: &str) -> NewEvent {
    NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: None }
}

fn seen(lease: &Lease) -> (&str, u32, bool) {
    let Event { data, attempt, maybe_delivered, .. } = lease.event();
    (std::str::from_utf8(data).unwrap(), *attempt, *maybe_delivered)
}

fn texts(batch: &TopicBatch) -> Vec<&str> {
    batch.events.iter().map(|event| std::str::from_utf8(&event.data).unwrap()).collect()
}

impl ContractFixture {
    async fn push(&self, queue: &str, text: &str) -> Result<EventId, StoreError> {
        self.push_scheduled(queue, text, Schedule::default()).await
    }

    async fn push_scheduled(
        &self,
        queue: &str,
        text: &str,
        schedule: Schedule,
    ) -> Result<EventId, StoreError> {
        soon(self.store.clone().push(&name(queue), event(text), schedule)).await
    }

    async fn publish(&self, topic: &str, text: &str) -> Result<Cursor, StoreError> {
        soon(self.store.clone().publish(&name(topic), event(text))).await
    }

    fn read(&self, topic: &str, after: Option<Cursor>) -> StoreFuture<TopicBatch> {
        self.store.clone().read(&name(topic), after, 100)
    }

    async fn end(&self, topic: &str) -> Cursor {
        soon(self.store.clone().end(&name(topic))).await.unwrap()
    }

    /// Waits until the store holds this.
    async fn holds(&self, wanted: impl Fn(&StoreUsage) -> bool) {
        soon(async {
            while !wanted(&self.usage()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
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

    fn usage(&self) -> StoreUsage {
        self.store.usage()
    }
}

/// Pushes and takes something else, which is written after all that came before.
async fn settle_all(f: &ContractFixture) {
    f.push("other", "").await.unwrap();
    settle(f.take("other").await, Settlement::Ack).await;
}

async fn settle(lease: Lease, settlement: Settlement) {
    soon(lease.settle(settlement)).await.unwrap();
}

async fn events_leave_in_the_order_in_which_they_came(kind: ContractKind) {
    let f = kind.store(limits());
    for text in ["a", "b", "c"] {
        f.push("q", text).await.unwrap();
    }
    let bytes = 3 * (kind.overhead + 1);
    assert_eq!(f.usage(), StoreUsage { queues: 1, events: 3, bytes, ..StoreUsage::default() });
    for text in ["a", "b", "c"] {
        let lease = f.take("q").await;
        assert_eq!(lease.event().data, text);
        settle(lease, Settlement::Ack).await;
    }
    assert!(f.has_nothing("q").await);
    assert_eq!(f.usage(), StoreUsage::default());
}

async fn put_back_returns_to_its_place_whatever_the_order(kind: ContractKind) {
    let f = kind.store(limits());
    for text in ["a", "b", "c"] {
        f.push("q", text).await.unwrap();
    }
    let (a, b) = (f.take("q").await, f.take("q").await);
    settle(a, Settlement::Requeue { maybe_delivered: false }).await;
    settle(b, Settlement::Requeue { maybe_delivered: true }).await;
    let (a, b) = (f.take("q").await, f.take("q").await);
    assert_eq!(seen(&a), ("a", 2, false));
    assert_eq!(seen(&b), ("b", 2, true));
}

async fn dropped_lease_leaves_no_trace(kind: ContractKind) {
    let f = kind.store(limits());
    f.push("q", "a").await.unwrap();
    drop(f.take("q").await);
    assert_eq!(f.take("q").await.event().attempt, 1);
}

async fn dropped_wait_takes_nothing(kind: ContractKind) {
    let f = kind.store(limits());
    let mut early = f.wait("q");
    assert!((&mut early).now_or_never().is_none());
    drop(early);
    assert_eq!(f.usage(), StoreUsage::default());
    // This one is given the event, and is dropped before it looks.
    let unseen = f.wait("q");
    f.push("q", "a").await.unwrap();
    let next = f.wait("q");
    drop(unseen);
    let lease = soon(next).await.unwrap();
    assert_eq!((lease.event().data.as_ref(), lease.event().attempt), (&b"a"[..], 1));
}

async fn waiters_are_served_in_the_order_in_which_they_came(kind: ContractKind) {
    let f = kind.store(limits());
    let waits: Vec<_> = (0..5).map(|_| f.wait("q")).collect();
    for number in 0..5 {
        f.push("q", &number.to_string()).await.unwrap();
    }
    for (number, wait) in waits.into_iter().enumerate() {
        let lease = soon(wait).await.unwrap();
        assert_eq!(lease.event().data, number.to_string());
        settle(lease, Settlement::Ack).await;
    }
}

fn over<T>(limit: LimitKind) -> Result<T, StoreError> {
    Err(StoreError::OverLimit(limit))
}

async fn limits_refuse_and_keep_what_is_there(kind: ContractKind) {
    let f = kind.store(queues("max_events = 2\nmax_event_size = '4B'\nmax_queues = 1"));
    assert_eq!(f.push("q", "12345").await, Err(StoreError::TooLarge { limit: 4 }));
    assert_eq!(f.usage(), StoreUsage::default());
    f.push("q", "1").await.unwrap();
    f.push("q", "2").await.unwrap();
    let lease = f.take("q").await;
    // A leased event still counts: it may return.
    assert_eq!(f.push("q", "3").await, over(LimitKind::Events));
    assert_eq!(f.push("other", "3").await, over(LimitKind::Names));
    assert_eq!(soon(f.wait("other")).await.err(), Some(StoreError::OverLimit(LimitKind::Names)));
    settle(lease, Settlement::Ack).await;
    f.push("q", "3").await.unwrap();
}

async fn bytes_of_a_queue_are_bounded(kind: ContractKind) {
    let f = kind.store(queues(&format!("max_bytes = '{}B'", 2 * (kind.overhead + 10))));
    f.push("q", "0123456789").await.unwrap();
    f.push("q", "0123456789").await.unwrap();
    assert_eq!(f.push("q", "").await, over(LimitKind::Bytes));
    settle(f.take("q").await, Settlement::Ack).await;
    f.push("q", "0123456789").await.unwrap();
}

async fn bytes_of_all_queues_are_bounded(kind: ContractKind) {
    let f = kind.store(queues(&format!("max_total_bytes = '{}B'", 2 * (kind.overhead + 10))));
    f.push("a", "0123456789").await.unwrap();
    f.push("b", "0123456789").await.unwrap();
    assert_eq!(f.push("c", "").await, over(LimitKind::TotalBytes));
    settle(f.take("a").await, Settlement::Ack).await;
    f.push("c", "0123456789").await.unwrap();
}

async fn lease_settles_once(kind: ContractKind) {
    let f = kind.store(limits());
    f.push("q", "a").await.unwrap();
    let lease = f.take("q").await;
    let id = lease.id.clone();
    settle(lease, Settlement::Ack).await;
    assert_eq!(soon(f.store.clone().settle(&id, Settlement::Ack)).await, Err(StoreError::Settled));
}

async fn waiters_are_bounded(kind: ContractKind) {
    let f = kind.store(queues("max_waiters = 1"));
    let first = f.wait("q");
    assert_eq!(soon(f.wait("q")).await.err(), Some(StoreError::OverLimit(LimitKind::Waiters)));
    let _elsewhere = f.wait("other");
    drop(first);
    let second = f.wait("q");
    f.push("q", "a").await.unwrap();
    soon(second).await.unwrap();
}

async fn delayed_event_is_taken_when_its_time_has_come(kind: ContractKind) {
    let f = kind.store(limits());
    let (began, delay) = (Instant::now(), Duration::from_millis(60));
    f.push_scheduled("q", "late", Schedule { delay: Some(delay), time_to_live: None }).await.unwrap();
    f.push("q", "a").await.unwrap();
    assert_eq!(f.usage().events, 2);
    // Its place is by its age.
    let (first, second) = (f.take("q").await, f.take("q").await);
    assert_eq!((seen(&first).0, seen(&second).0), ("a", "late"));
    assert!(began.elapsed() >= delay);
    settle(second, Settlement::Requeue { maybe_delivered: false }).await;
    drop(first);
    // It waits no second time.
    assert_eq!(seen(&f.take("q").await), ("late", 2, false));
}

async fn event_of_no_more_use_is_gone(kind: ContractKind) {
    let f = kind.store(limits());
    let brief = |delay| Schedule { delay, time_to_live: Some(Duration::from_millis(30)) };
    f.push_scheduled("q", "brief", brief(None)).await.unwrap();
    f.push_scheduled("q", "never", brief(Some(Duration::from_mins(1)))).await.unwrap();
    f.holds(|usage| *usage == StoreUsage::default()).await;
    // Its time can be over before it is written down.
    let over = Schedule { delay: None, time_to_live: Some(Duration::ZERO) };
    f.push_scheduled("r", "over", over).await.unwrap();
    f.holds(|usage| *usage == StoreUsage::default()).await;
    // One that is held can still be delivered, and does not return.
    f.push_scheduled("q", "held", Schedule { delay: None, time_to_live: Some(Duration::from_secs(3)) })
        .await
        .unwrap();
    let held = f.take("q").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(f.usage().events, 1);
    settle(held, Settlement::Requeue { maybe_delivered: false }).await;
    f.holds(|usage| *usage == StoreUsage::default()).await;
}

async fn lease_that_runs_out_puts_back_and_is_settled(kind: ContractKind) {
    let f = kind.store(queues("lease = '30ms'"));
    f.push("q", "a").await.unwrap();
    let forgotten = f.take("q").await;
    let again = f.take("q").await;
    assert_eq!(seen(&again), ("a", 2, true));
    // The first must not settle the second.
    assert_eq!(soon(forgotten.settle(Settlement::Ack)).await, Err(StoreError::Settled));
    assert_eq!(f.usage().events, 1);
}

async fn renewed_lease_holds_on(kind: ContractKind) {
    let f = kind.store(queues("lease = '10s'"));
    f.push("q", "a").await.unwrap();
    let lease = f.take("q").await;
    soon(f.store.clone().renew(&lease.id, Duration::from_millis(30))).await.unwrap();
    assert_eq!(seen(&f.take("q").await), ("a", 2, true));
    assert_eq!(soon(f.store.clone().renew(&lease.id, Duration::ZERO)).await, Err(StoreError::Settled));
}

async fn event_that_was_handed_out_too_often_goes_to_the_dead_letters(kind: ContractKind) {
    let f = kind.store(queues("max_attempts = 2"));
    let id = f.push("q", "poison").await.unwrap();
    f.push("q", "b").await.unwrap();
    for _ in 0..2 {
        let lease = f.take("q").await;
        assert_eq!(seen(&lease).0, "poison");
        settle(lease, Settlement::Requeue { maybe_delivered: false }).await;
    }
    assert_eq!(seen(&f.take("q").await).0, "b");
    for attempt in 3..6 {
        let dead = f.take("q.dead").await;
        assert_eq!((seen(&dead), &dead.event().id), (("poison", attempt, false), &id));
        settle(dead, Settlement::Requeue { maybe_delivered: false }).await;
    }
    assert_eq!(f.usage().queues, 2);
}

async fn dead_letter_without_a_place_stays(kind: ContractKind) {
    let f = kind.store(queues("max_attempts = 1\nmax_events = 1\ndead_letters = 'lost'"));
    f.push("lost", "one").await.unwrap();
    f.push("q", "poison").await.unwrap();
    for attempt in 1..4 {
        let lease = f.take("q").await;
        assert_eq!(seen(&lease), ("poison", attempt, false));
        settle(lease, Settlement::Requeue { maybe_delivered: false }).await;
    }
    // What is on its way to the dead letters counts until it is refused.
    let bytes = kind.bytes(&[("lost", "one"), ("q", "poison")]);
    f.holds(|usage| (usage.events, usage.bytes) == (2, bytes)).await;
}

async fn readers_get_all_events_in_order(kind: ContractKind) {
    let f = kind.store(limits());
    let mut cursors = Vec::new();
    for text in ["a", "b", "c"] {
        cursors.push(f.publish("t", text).await.unwrap());
    }
    let all = soon(f.read("t", None)).await.unwrap();
    assert_eq!((texts(&all), all.missed, all.restarted), (vec!["a", "b", "c"], 0, false));
    assert_eq!(all.events.iter().map(|event| event.cursor).collect::<Vec<_>>(), cursors);
    assert_eq!((all.next, f.end("t").await), (cursors[2], cursors[2]));
    let rest = soon(f.read("t", Some(cursors[0]))).await.unwrap();
    assert_eq!(texts(&rest), ["b", "c"]);
    let one = soon(f.store.clone().read(&name("t"), None, 0)).await.unwrap();
    assert_eq!((texts(&one), one.next), (vec!["a"], cursors[0]));
    assert_eq!(f.usage().published, 3);
}

async fn reader_waits_for_the_next_event(kind: ContractKind) {
    let f = kind.store(limits());
    // Before there is a topic, too.
    for (topic, after) in [("t", None), ("u", Some(f.end("u").await))] {
        let mut read = f.read(topic, after);
        assert!((&mut read).now_or_never().is_none());
        let cursor = f.publish(topic, "a").await.unwrap();
        let batch = soon(read).await.unwrap();
        assert_eq!((texts(&batch)[0], batch.next, batch.missed, batch.restarted), ("a", cursor, 0, false));
    }
    let mut next = f.read("t", Some(f.end("t").await));
    assert!((&mut next).now_or_never().is_none());
    f.publish("t", "b").await.unwrap();
    assert_eq!(texts(&soon(next).await.unwrap()), ["b"]);
}

async fn all_readers_share_one_event(kind: ContractKind) {
    let f = kind.store(limits());
    let mut reads: Vec<_> = (0..100).map(|_| f.read("t", None)).collect();
    for read in &mut reads {
        assert!(read.now_or_never().is_none());
    }
    assert_eq!(f.usage().readers, 100);
    f.publish("t", "a").await.unwrap();
    let mut events = Vec::new();
    for read in reads {
        events.extend(soon(read).await.unwrap().events);
    }
    assert!(events.iter().all(|event: &Arc<PublishedEvent>| Arc::ptr_eq(event, &events[0])));
    assert_eq!(f.usage().readers, 0);
}

async fn dropped_read_leaves_no_trace(kind: ContractKind) {
    let f = kind.store(limits());
    let mut read = f.read("t", None);
    assert!((&mut read).now_or_never().is_none());
    assert_eq!((f.usage().topics, f.usage().readers), (1, 1));
    drop(read);
    assert_eq!(f.usage(), StoreUsage::default());
    f.end("t").await;
    assert_eq!(f.usage(), StoreUsage::default());
}

async fn retention_tells_how_much_was_missed(kind: ContractKind) {
    // Where it can, the newest stays, whatever its size.
    let smallest = if kind.is_shared { kind.overhead + 3 } else { kind.overhead };
    let f =
        kind.store(topics(&format!("keep_events = 3\n[[rules]]\nname = 'b'\nkeep_bytes = '{smallest}B'")));
    let start = f.end("t").await;
    let first = f.publish("t", "0").await.unwrap();
    for number in 1..10 {
        f.publish("t", &number.to_string()).await.unwrap();
    }
    let batch = soon(f.read("t", Some(first))).await.unwrap();
    assert_eq!((texts(&batch), batch.missed, batch.restarted), (vec!["7", "8", "9"], 6, false));
    assert_eq!(soon(f.read("t", Some(start))).await.unwrap().missed, 7);
    assert_eq!(soon(f.read("t", None)).await.unwrap().missed, 0);
    for text in ["one", "two"] {
        f.publish("b", text).await.unwrap();
        assert_eq!(texts(&soon(f.read("b", None)).await.unwrap()), [text]);
    }
    assert_eq!(f.usage().published_bytes, 4 * kind.overhead + 6);
}

async fn old_events_are_dropped_by_time_and_so_is_the_topic(kind: ContractKind) {
    let f = kind.store(topics("keep_for = '40ms'"));
    let first = f.publish("t", "a").await.unwrap();
    f.holds(|usage| usage.published == 0).await;
    f.holds(|usage| usage.topics == 0).await;
    // A cursor is not taken for one of the topic's new life, if it has one.
    let mut read = f.read("t", Some(first));
    assert!((&mut read).now_or_never().is_none());
    f.publish("t", "b").await.unwrap();
    let batch = soon(read).await.unwrap();
    assert_eq!((texts(&batch), batch.restarted), (vec!["b"], !kind.is_shared));
    assert_ne!(batch.next, first);
}

async fn limits_of_topics_refuse_and_keep_what_is_there(kind: ContractKind) {
    let bytes = 2 * (kind.overhead + 1);
    let f = kind.store(topics(&format!(
        "max_topics = 1\nmax_event_size = '4B'\nmax_waiters = 1\nmax_total_bytes = '{bytes}B'\nkeep_bytes = '{bytes}B'"
    )));
    assert_eq!(f.publish("t", "12345").await, Err(StoreError::TooLarge { limit: 4 }));
    assert_eq!(f.publish("t", "1").await.map(|_| ()), Ok(()));
    assert_eq!(f.publish("other", "1").await, over(LimitKind::Names));
    assert_eq!(soon(f.read("other", None)).await, over(LimitKind::Names));
    // What goes makes room.
    for text in ["2", "3"] {
        f.publish("t", text).await.unwrap();
    }
    assert_eq!(texts(&soon(f.read("t", None)).await.unwrap()), ["2", "3"]);
    let count = kind.store(topics(&format!("keep_events = 2\nmax_total_bytes = '{bytes}B'")));
    for text in ["1", "2", "3"] {
        count.publish("t", text).await.unwrap();
    }
    let mut waits = f.read("t", Some(f.end("t").await));
    assert!((&mut waits).now_or_never().is_none());
    assert_eq!(soon(f.read("t", Some(f.end("t").await))).await, over(LimitKind::Waiters));
}

#[derive(Clone, Debug)]
enum ContractStep {
    Push,
    Take,
    Abandon(usize),
    Settle(usize, Settlement),
}

fn step() -> impl Strategy<Value = ContractStep> {
    prop_oneof![
        3 => Just(ContractStep::Push),
        3 => Just(ContractStep::Take),
        1 => any::<usize>().prop_map(ContractStep::Abandon),
        2 => (any::<usize>(), prop_oneof![
            Just(Settlement::Ack),
            Just(Settlement::Release),
            any::<bool>().prop_map(|maybe_delivered| Settlement::Requeue { maybe_delivered }),
        ]).prop_map(|(index, settlement)| ContractStep::Settle(index, settlement)),
    ]
}

fn number(data: &Bytes) -> u64 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

/// Whatever the order of things, every event is committed once or still there, oldest first.
async fn no_event_is_lost_or_doubled(kind: ContractKind, steps: Vec<ContractStep>) {
    let f = kind.store(limits());
    let mut pushed = 0u64;
    let mut committed = Vec::new();
    let mut waits = VecDeque::new();
    let mut leases: Vec<Lease> = Vec::new();
    for step in steps {
        match step {
            ContractStep::Push => {
                f.push("q", &pushed.to_string()).await.unwrap();
                pushed += 1;
            }
            ContractStep::Take => waits.push_back(f.wait("q")),
            ContractStep::Abandon(index) if !waits.is_empty() => {
                waits.remove(index % waits.len());
            }
            ContractStep::Settle(index, settlement) if !leases.is_empty() => {
                let lease = leases.swap_remove(index % leases.len());
                if settlement == Settlement::Ack {
                    committed.push(lease.event().data.clone());
                }
                settle(lease, settlement).await;
            }
            ContractStep::Abandon(_) | ContractStep::Settle(..) => {}
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
        settle(lease, Settlement::Ack).await;
    }
    // What hosts share returns in the order in which it was put back.
    assert!(kind.is_shared || rest.iter().map(number).is_sorted(), "{rest:?}");
    let mut all: Vec<_> = committed.iter().chain(&rest).map(number).collect();
    all.sort_unstable();
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
    assert_eq!(f.usage(), StoreUsage::default());
}

fn run(kind: ContractKind, steps: Vec<ContractStep>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { no_event_is_lost_or_doubled(kind, steps).await });
}

proptest! {
    #[test]
    fn no_event_is_lost_or_doubled_in_memory(steps in proptest::collection::vec(step(), 0..200)) {
        run(MEMORY, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_event_is_lost_or_doubled_on_disk(steps in proptest::collection::vec(step(), 0..100)) {
        run(DISK, steps);
    }
}

#[cfg(feature = "nats")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_event_is_lost_or_doubled_in_nats(steps in proptest::collection::vec(step(), 0..100)) {
        if linger_nats_server::Nats::is_there() {
            run(NATS, steps);
        }
    }
}
