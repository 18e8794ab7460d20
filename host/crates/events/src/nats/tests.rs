use async_nats::jetstream::consumer;
use bytes::Bytes;
use futures::{FutureExt as _, TryFutureExt as _};
use rustix::process::Signal;

use super::*;
use crate::{Lease, Settlement};

/// Longer than it takes to notice that NATS has lost a request: twice its sign of life.
const SOON: Duration = Duration::from_mins(2);

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn event(text: &str) -> NewEvent {
    NewEvent { data: Bytes::copy_from_slice(text.as_bytes()), content_type: None }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap()
}

/// A host that shares a server with others, and whose events return late if they are not given back.
fn host_with(
    server: &linger_nats_server::Nats,
    nats: &str,
    queues: &str,
) -> Result<Arc<NatsStore>, OpenError> {
    let nats = format!("servers = ['{}']\nack_wait = '1h'\n{nats}", server.url());
    let (nats, queues) = (toml::from_str(&nats).unwrap(), toml::from_str(queues).unwrap());
    NatsStore::open(&nats, queues, TopicsConfig::default())
}

fn host(server: &linger_nats_server::Nats) -> Arc<NatsStore> {
    host_with(server, "", "").unwrap()
}

async fn push(store: &Arc<NatsStore>, text: &str) {
    soon(store.clone().push(&name("q"), event(text), Schedule::default())).await.unwrap();
}

async fn take(store: &Arc<NatsStore>) -> Lease {
    soon(store.clone().take(&name("q"))).await.unwrap()
}

async fn put_back(lease: Lease, maybe_delivered: bool) {
    soon(lease.settle(Settlement::Requeue { maybe_delivered })).await.unwrap();
}

fn seen(lease: &Lease) -> (&[u8], u32, bool) {
    let event = lease.event();
    (&event.data, event.attempt, event.maybe_delivered)
}

/// What NATS says of the consumer of a queue.
async fn consumer_of(store: &Arc<NatsStore>) -> consumer::Info {
    let subject = format!(
        "CONSUMER.INFO.{}.linger",
        store.shared.link.names.stream(names::StreamKind::Queue, &name("q"))
    );
    soon(store.shared.link.ask(&subject)).await.unwrap()
}

/// Waits until NATS says this of the consumer.
async fn consumer_is(store: &Arc<NatsStore>, wanted: impl Fn(&consumer::Info) -> bool) {
    soon(async {
        while !wanted(&consumer_of(store).await) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

macro_rules! server {
    () => {
        match linger_nats_server::Nats::start() {
            Some(server) => server,
            None => return,
        }
    };
}

#[tokio::test]
async fn other_host_knows_what_became_of_an_event() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    push(&one, "a").await;
    let lease = take(&one).await;
    assert_eq!(seen(&lease), (&b"a"[..], 1, false));
    drop(lease);
    // Nobody had seen it.
    let lease = take(&other).await;
    assert_eq!(seen(&lease), (&b"a"[..], 1, false));
    put_back(lease, false).await;
    let lease = take(&one).await;
    assert_eq!(seen(&lease), (&b"a"[..], 2, false));
    put_back(lease, true).await;
    assert_eq!(seen(&take(&other).await), (&b"a"[..], 3, true));
}

#[tokio::test]
async fn host_that_goes_gives_back_at_once_what_it_has() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    push(&one, "a").await;
    drop(take(&one).await);
    drop(one);
    assert_eq!(seen(&take(&other).await), (&b"a"[..], 1, false));
}

#[tokio::test]
async fn host_that_dies_loses_what_it_has_after_the_ack_wait() {
    let server = server!();
    let brief = || host_with(&server, "[[queues]]\nname = 'q'\nack_wait = '1s'", "").unwrap();
    let (one, other) = (brief(), brief());
    push(&one, "a").await;
    let lease = take(&one).await;
    // While it lives it keeps the event, for longer than the ack wait.
    assert!(tokio::time::timeout(Duration::from_secs(3), other.clone().take(&name("q"))).await.is_err());
    // From here on nothing of it is heard.
    let Some(runtime) = &one.runtime.0 else { unreachable!() };
    let dead = runtime.handle().clone();
    let (stop, stopped) = channel::<()>();
    drop(dead.spawn(async move { stopped.recv().is_err() }));
    assert_eq!(seen(&take(&other).await), (&b"a"[..], 2, true));
    drop(stop);
    // It must not settle what another one has.
    assert_eq!(soon(lease.settle(Settlement::Ack)).await, Err(StoreError::Settled));
}

#[tokio::test]
async fn what_is_stored_outlives_a_crash_of_nats() {
    let mut server = server!();
    let one = host(&server);
    let (early, topic) = (one.clone().take(&name("r")), one.clone().read(&name("t"), None, 10));
    let mut reads = tokio::task::JoinSet::new();
    reads.spawn(topic);
    push(&one, "a").await;
    server.kill();
    server.restart();
    assert_eq!(seen(&take(&one).await), (&b"a"[..], 1, false));
    // Who waited does so still.
    soon(one.clone().push(&name("r"), event("b"), Schedule::default())).await.unwrap();
    assert_eq!(seen(&soon(early).await.unwrap()).0, b"b");
    soon(one.clone().publish(&name("t"), event("c"))).await.unwrap();
    assert_eq!(soon(reads.join_next()).await.unwrap().unwrap().unwrap().events[0].data.as_ref(), b"c");
}

#[tokio::test]
async fn stream_that_nobody_uses_goes() {
    let server = server!();
    let one = host_with(&server, "idle = '1s'", "").unwrap();
    push(&one, "a").await;
    let first = soon(one.clone().publish(&name("t"), event("a"))).await.unwrap();
    let lease = take(&one).await;
    let id = lease.event().id;
    soon(lease.settle(Settlement::Ack)).await.unwrap();
    let (queue, topic) = (names::StreamKind::Queue, names::StreamKind::Topic);
    let stream = one.shared.link.names.stream(queue, &name("q"));
    soon(async {
        while stream::info(&one.shared.link, &stream).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // It is made again, and its ids are others.
    push(&one, "b").await;
    assert_ne!(take(&one).await.event().id, id);
    // One with events stays.
    let stream = one.shared.link.names.stream(topic, &name("t"));
    one.shared.retire(topic, &name("t")).await.unwrap();
    assert!(stream::info(&one.shared.link, &stream).await.unwrap().is_some());
    assert_eq!(soon(one.clone().publish(&name("t"), event("b"))).await.unwrap().next, first.next + 1);
}

#[tokio::test]
async fn nothing_is_lost_in_a_stream_that_goes() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    for round in 0..4_u64 {
        let lease = one.clone().take(&name("q"));
        push(&one, "used").await;
        soon(soon(lease).await.unwrap().settle(Settlement::Ack)).await.unwrap();
        let pushed = async {
            // Before, while and after it is off its subject.
            tokio::time::sleep(Duration::from_millis(round * 400)).await;
            push(&one, "a").await;
        };
        let queue = name("q");
        let retired = other.shared.retire(names::StreamKind::Queue, &queue);
        let ((), retired) = tokio::join!(pushed, retired);
        retired.unwrap();
        let lease = take(&other).await;
        assert_eq!(seen(&lease), (&b"a"[..], 1, false));
        soon(lease.settle(Settlement::Ack)).await.unwrap();
    }
}

#[tokio::test]
async fn takers_of_a_host_share_one_request() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    let waits: Vec<_> = (0..2000).map(|_| one.clone().take(&name("q"))).collect();
    let _elsewhere = other.clone().take(&name("q"));
    soon(async { while one.shared.ensure_queue(&name("q")).await.is_err() {} }).await;
    consumer_is(&one, |consumer| consumer.num_waiting == 2).await;
    drop(waits);
    consumer_is(&one, |consumer| consumer.num_waiting == 1).await;
}

#[tokio::test]
async fn event_is_not_fetched_for_nobody() {
    let server = server!();
    let one = host(&server);
    let mut waits: Vec<_> = (0..10).map(|_| one.clone().take(&name("q"))).collect();
    push(&one, "a").await;
    let lease = soon(waits.remove(0)).await.unwrap();
    soon(lease.settle(Settlement::Ack)).await.unwrap();
    consumer_is(&one, |consumer| consumer.num_waiting == 1).await;
    drop(waits);
    consumer_is(&one, |consumer| consumer.num_waiting == 0).await;
    push(&one, "b").await;
    let consumer = consumer_of(&one).await;
    assert_eq!(
        (consumer.num_pending, consumer.num_ack_pending, consumer.delivered.consumer_sequence),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn event_that_comes_as_its_takers_leave_goes_back_at_once() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    for round in 0..200_u32 {
        let waits: Vec<_> = (0..=round % 3).map(|_| one.clone().take(&name("q"))).collect();
        let pushed = other.clone().push(&name("q"), event("a"), Schedule::default());
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        drop(waits);
        soon(pushed).await.unwrap();
        let lease = take(&other).await;
        assert_eq!(seen(&lease), (&b"a"[..], 1, false), "round {round}");
        soon(lease.settle(Settlement::Ack)).await.unwrap();
    }
}

#[tokio::test]
async fn stream_that_does_not_fit_is_refused_with_the_difference() {
    let server = server!();
    push(&host_with(&server, "", "max_events = 5").unwrap(), "a").await;
    // One that fits is adopted.
    drop(take(&host_with(&server, "", "max_events = 5").unwrap()).await);
    let other = host_with(&server, "", "max_events = 6").unwrap();
    let pushed = soon(other.clone().push(&name("q"), event("b"), Schedule::default())).await.unwrap_err();
    let taken = soon(other.take(&name("q"))).await.unwrap_err();
    for error in [pushed, taken] {
        let said = error.to_string();
        for part in ["linger-q-q", "`max_msgs` is 5, not 6", "nats stream edit"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[tokio::test]
async fn server_that_cannot_be_used_is_named() {
    let server = server!();
    let url = server.url();
    drop(server);
    let config = NatsConfig { servers: vec![url.clone()], ..NatsConfig::default() };
    let said =
        NatsStore::open(&config, QueuesConfig::default(), TopicsConfig::default()).err().unwrap().to_string();
    assert!(said.contains(&url) && said.contains("events.nats.servers"), "{said}");
}

#[tokio::test]
async fn prefixes_keep_hosts_apart() {
    let server = server!();
    let (one, other) = (host(&server), host_with(&server, "prefix = 'other'", "").unwrap());
    push(&one, "a").await;
    push(&other, "b").await;
    assert_eq!(seen(&take(&other).await).0, b"b");
    assert_eq!(seen(&take(&one).await).0, b"a");
}

#[tokio::test]
async fn new_host_knows_what_there_is() {
    let server = server!();
    let one = host(&server);
    push(&one, "a").await;
    soon(one.clone().publish(&name("t"), event("b"))).await.unwrap();
    let usage = one.usage();
    assert_eq!((usage.queues, usage.events, usage.topics, usage.published), (1, 1, 1, 1));
    // What NATS counts is what was counted here.
    assert_eq!(host(&server).usage(), usage);
    assert_eq!(host(&server).queues(), one.queues());
    assert_eq!(host(&server).topics(), one.topics());
}

#[tokio::test]
async fn purge_leaves_what_is_held() {
    let server = server!();
    let one = host(&server);
    assert_eq!(soon(one.clone().purge(&name("q"))).await, Ok(0));
    for text in ["held", "b", "c"] {
        push(&one, text).await;
    }
    let held = take(&one).await;
    assert_eq!(soon(one.clone().purge(&name("q"))).await, Ok(2));
    put_back(held, false).await;
    assert_eq!(seen(&take(&one).await).0, b"held");
    assert!(one.clone().take(&name("q")).now_or_never().is_none());
}

#[tokio::test]
async fn readers_of_a_host_share_one_subscription() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..100 {
        reads.spawn(one.clone().read(&name("t"), None, 10));
    }
    soon(async {
        while one.usage().readers < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let cursor = soon(other.clone().publish(&name("t"), event("a"))).await.unwrap();
    while let Some(read) = soon(reads.join_next()).await {
        assert_eq!(read.unwrap().unwrap().next, cursor);
    }
    let stream = one.shared.link.names.stream(names::StreamKind::Topic, &name("t"));
    let info = soon(stream::info(&one.shared.link, &stream)).await.unwrap().unwrap();
    assert_eq!(info.state.consumer_count, 1);
    // A cursor is good at every host.
    soon(one.clone().publish(&name("t"), event("b"))).await.unwrap();
    let batch = soon(other.clone().read(&name("t"), Some(cursor), 10)).await.unwrap();
    assert_eq!((batch.events[0].data.as_ref(), batch.missed, batch.restarted), (&b"b"[..], 0, false));
}

#[tokio::test]
async fn reader_that_is_ahead_outlives_silence_of_nats() {
    let server = server!();
    let one = host_with(&server, "timeout = '1s'", "").unwrap();
    let first = soon(one.clone().publish(&name("t"), event("a"))).await.unwrap();
    soon(one.clone().read(&name("t"), None, 1)).await.unwrap();
    server.signal(Signal::STOP);
    // As another host gives it, of an event that is on its way.
    let ahead = Cursor { next: first.next + 1, ..first };
    let mut read = one.clone().read(&name("t"), Some(ahead), 1);
    assert!(tokio::time::timeout(Duration::from_secs(3), &mut read).await.is_err());
    server.signal(Signal::CONT);
    for _ in 0..2 {
        // What NATS does not respond in time it may have stored.
        while soon(one.clone().publish(&name("t"), event("b"))).await.is_err() {}
    }
    let batch = soon(read).await.unwrap();
    assert_eq!((batch.next.next, batch.missed, batch.restarted), (ahead.next + 1, 0, false));
}

#[tokio::test]
async fn those_who_push_at_once_make_one_stream() {
    let server = server!();
    let one = host(&server);
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut made = client.subscribe("$JS.API.STREAM.CREATE.>").await.unwrap();
    // How many have been asked for, as far as NATS had heard when this began.
    let mut asked = async || {
        client.publish("$JS.API.STREAM.CREATE.mark", Bytes::new()).await.unwrap();
        let mut count = 0;
        while !soon(made.next()).await.unwrap().subject.ends_with("mark") {
            count += 1;
        }
        count
    };
    assert_eq!(asked().await, 0);
    let mut pushes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        pushes.spawn(one.clone().push(&name("q"), event("a"), Schedule::default()));
        pushes.spawn(one.clone().publish(&name("t"), event("a")).map_ok(|_| EventId { epoch: 0, number: 0 }));
    }
    while let Some(pushed) = soon(pushes.join_next()).await {
        pushed.unwrap().unwrap();
    }
    assert_eq!(asked().await, 2);
    assert_eq!(one.shared.topics.lock().published, 100);
}

#[tokio::test]
async fn stream_that_has_gone_is_made_again_though_others_listen() {
    let server = server!();
    let one = host_with(&server, "timeout = '1m'", "").unwrap();
    push(&one, "a").await;
    let before = soon(one.clone().publish(&name("t"), event("a"))).await.unwrap();
    // NATS does not say then that nobody stores what is sent.
    let client = async_nats::connect(server.url()).await.unwrap();
    let _everything = client.subscribe(">").await.unwrap();
    client.flush().await.unwrap();
    delete_streams(&one).await;
    let ((), after) = tokio::join!(push(&one, "b"), soon(one.clone().publish(&name("t"), event("b"))));
    assert_ne!(after.unwrap().epoch, before.epoch);
    assert_eq!(seen(&take(&one).await).0, b"b");
}

/// Sends an event to a queue and to a topic, and gives the epochs of their streams.
async fn epochs(store: &Arc<NatsStore>) -> [u32; 2] {
    let pushed = soon(store.clone().push(&name("q"), event("a"), Schedule::default())).await.unwrap();
    [pushed.epoch, soon(store.clone().publish(&name("t"), event("a"))).await.unwrap().epoch]
}

async fn delete_streams(store: &Arc<NatsStore>) {
    for (kind, of) in [(names::StreamKind::Queue, "q"), (names::StreamKind::Topic, "t")] {
        let gone = format!("STREAM.DELETE.{}", store.shared.link.names.stream(kind, &name(of)));
        soon(store.shared.link.ask::<serde::de::IgnoredAny>(&gone)).await.unwrap();
    }
}

#[tokio::test]
async fn streams_that_another_host_made_anew_are_found_by_who_looks_around() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    let before = epochs(&one).await;
    delete_streams(&one).await;
    let anew = epochs(&other).await;
    assert!(anew[0] != before[0] && anew[1] != before[1]);
    soon(one.shared.look_around()).await.unwrap();
    assert_eq!(epochs(&one).await, anew);
}

#[tokio::test]
async fn topic_that_another_host_made_anew_is_found_by_its_readers() {
    let server = server!();
    let (one, other) = (host(&server), host(&server));
    epochs(&one).await;
    let first = soon(one.clone().read(&name("t"), None, 1)).await.unwrap();
    delete_streams(&one).await;
    let anew = epochs(&other).await[1];
    let batch = soon(one.clone().read(&name("t"), Some(first.next), 1)).await.unwrap();
    assert_eq!((batch.next.epoch, batch.restarted), (anew, true));
    assert_eq!(soon(one.clone().publish(&name("t"), event("b"))).await.unwrap().epoch, anew);
}

#[tokio::test]
async fn readers_are_told_that_nats_does_not_want_their_topic() {
    let server = server!();
    // A server of its own does not do that.
    let one = host_with(&server, "replicas = 3", "").unwrap();
    let last = Cursor { epoch: 1, next: 1 };
    for after in [None, Some(last)] {
        let error = soon(one.clone().read(&name("t"), after, 1)).await.unwrap_err();
        assert!(error.to_string().contains("replicas > 1 not supported"), "{error}");
    }
    assert_eq!(one.usage().readers, 0);
}
