//! What hosts do when NATS restarts, stands still, is slow, moves its leaders, or has no room.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    ADMIN_TCP, Answer, Cluster, H1, KeptConnection, Nats, Open, Request, Server, eventually,
};
use crate::store::Mount;

fn config(servers: &str, keys: &str) -> String {
    format!(
        "{ADMIN_TCP}[detection]\nconfirm_window = '20s'\n[events]\nstore = 'nats'\n\
         [events.nats]\nservers = [{servers}]\ntimeout = '3s'\n{keys}\n[apps.app]\ncomponent = '{{longpoll}}'\n"
    )
}

async fn host(nats: &Nats) -> Server {
    Server::with_config(&config(&format!("'{}'", nats.url()), "")).await
}

/// How long NATS may take: a cluster of 2.9 on a busy machine finds a leader only after half a minute, now and then.
const PATIENCE: Duration = Duration::from_mins(3);

/// Tries until it gives something.
async fn patiently<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tried = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    tried.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A client of the admin listener, with a connection for each question: the listener closes one that is idle for 10 s, and
/// NATS may take longer between two of them.
struct Operator(SocketAddr);

impl Operator {
    async fn of(server: &Server) -> Self {
        Self(server.admin_address().await)
    }

    async fn ask(&self, target: &str) -> Answer {
        KeptConnection::connect(H1, self.0).await.ask(&Request::get(target).host("localhost")).await
    }

    async fn says_ready(&self) -> bool {
        self.ask("/readyz").await.status == 200
    }

    async fn is_ready(&self, wanted: bool) {
        let what = if wanted { "the host is ready" } else { "the host is not ready" };
        patiently(what, async || (self.says_ready().await == wanted).then_some(())).await;
    }

    async fn metric(&self, name: &str) -> f64 {
        let answer = self.ask("/metrics").await;
        let line = answer.expect(200).lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).parse().unwrap()
    }
}

/// What is said of an event that is accepted. One that is not may be stored all the same.
async fn sent(server: &Server, target: &str, event: &str) -> Option<String> {
    let answer = server.send(H1, &Request::post(target, event.to_owned())).await;
    if answer.status != 202 {
        assert_eq!(answer.expect(503), "the store is unavailable\n");
        return None;
    }
    Some(answer.expect(202).trim_end().to_owned())
}

/// Whether a push is accepted.
async fn push(server: &Server, queue: &str, event: &str) -> bool {
    sent(server, &format!("/push/{queue}"), event).await.is_some()
}

/// Pushes until it is accepted.
async fn push_at_last(server: &Server, queue: &str, event: &str) {
    patiently("a push is accepted", async || push(server, queue, event).await.then_some(())).await;
}

/// Publishes until it is accepted, and gives the cursor after the event.
async fn publish_at_last(server: &Server, topic: &str, event: &str) -> String {
    let target = format!("/publish/{topic}");
    patiently("an event is published", async || sent(server, &target, event).await).await
}

macro_rules! nats {
    ($start:expr) => {
        match $start {
            Some(nats) => nats,
            None => return,
        }
    };
}

const POLLS: u32 = 300;

async fn park_all(server: &Server) -> Vec<Open> {
    let mut parked = Vec::new();
    for number in 0..POLLS {
        parked.push(server.open(H1, &Request::get(&format!("/poll/q{}?wait=60", number % 30))).await);
    }
    parked
}

#[tokio::test]
async fn parked_polls_resume_when_nats_restarts() {
    let mut nats = nats!(Nats::start());
    let server = host(&nats).await;
    let operator = Operator::of(&server).await;
    let parked = park_all(&server).await;
    let polls = "linger_parked{place=\"queues\"}";
    eventually("all are parked", async || (operator.metric(polls).await >= f64::from(POLLS)).then_some(()))
        .await;
    // All who wait at a queue share one request.
    eventually("they share requests", async || {
        (operator.metric("linger_nats_requests").await <= 30.0).then_some(())
    })
    .await;
    nats.kill();
    operator.is_ready(false).await;
    // Nobody is sent away meanwhile.
    assert!(operator.metric(polls).await >= f64::from(POLLS));
    nats.restart();
    operator.is_ready(true).await;
    for number in 0..POLLS {
        push_at_last(&server, &format!("q{}", number % 30), "an event").await;
    }
    for poll in parked {
        assert_eq!(poll.answer().await.expect(200), "an event");
    }
    // No storm: one connection more, and not more requests than queues.
    assert!(operator.metric("linger_nats_connections_total{to=\"nats\"}").await <= 3.0);
    assert!(operator.metric("linger_nats_requests").await <= 30.0);
}

#[tokio::test]
async fn nats_that_stands_still_is_an_error_within_a_bound() {
    let nats = nats!(Nats::start());
    let server = host(&nats).await;
    let operator = Operator::of(&server).await;
    push_at_last(&server, "q", "before").await;
    assert_eq!(server.get("/poll/q?wait=5").await.expect(200), "before");
    let parked = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    nats.signal(Signal::STOP);
    assert!(!push(&server, "other", "meanwhile").await);
    server.log.line(&["NATS did not respond in time"]).await;
    operator.is_ready(false).await;
    nats.signal(Signal::CONT);
    operator.is_ready(true).await;
    push_at_last(&server, "q", "after").await;
    assert_eq!(parked.answer().await.expect(200), "after");
}

#[tokio::test]
async fn slow_nats_loses_nothing() {
    let nats = nats!(Nats::start());
    let (one, other) = (host(&nats).await, host(&nats).await);
    let mut taken = Vec::new();
    for number in 0..20_u32 {
        let parked = other.open(H1, &Request::get("/poll/q?wait=60")).await;
        nats.signal(Signal::STOP);
        let event = number.to_string();
        let pushed = push(&one, "q", &event);
        let goes_on = async {
            tokio::time::sleep(Duration::from_millis(u64::from(number) * 10)).await;
            nats.signal(Signal::CONT);
        };
        assert!(tokio::join!(pushed, goes_on).0);
        let answer = parked.answer().await;
        assert_eq!(answer.header("maybe-delivered"), None);
        taken.push(answer.expect(200).to_owned());
    }
    assert_eq!(taken, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn full_disk_of_nats_is_an_error_until_there_is_room() {
    let Some(disk) = Mount::new("size=64m") else {
        println!("skipped: a disk cannot be full here (it takes root to make one)");
        return;
    };
    let mut nats = nats!(Nats::storing_in(&disk.path().join("store")));
    let server = Server::with_config(&format!(
        "[queues]\nmax_bytes = '20MiB'\n{}",
        config(&format!("'{}'", nats.url()), "")
    ))
    .await;
    let operator = Operator::of(&server).await;
    let event = |number: usize| format!("{number:07}").repeat(20_000);
    let mut accepted = BTreeSet::new();
    push_at_last(&server, "q", &event(0)).await;
    accepted.insert(0);
    disk.change("size=2m");
    let mut number = 0;
    // Each finds the disk a little fuller, until NATS gives up.
    patiently("NATS cannot store", async || {
        number += 1;
        let pushed = push(&server, "q", &event(number)).await;
        accepted.extend(pushed.then_some(number));
        (!operator.says_ready().await).then_some(())
    })
    .await;
    assert!(!push(&server, "q", &event(number)).await);
    disk.change("size=64m");
    // NATS gives up its store when its disk is full, and wants to be started again.
    nats.kill();
    nats.restart();
    operator.is_ready(true).await;
    push_at_last(&server, "q", &event(number + 1)).await;
    accepted.insert(number + 1);
    let mut got = BTreeSet::new();
    while !accepted.is_subset(&got) {
        let answer = server.get("/poll/q?wait=20").await;
        got.insert(answer.expect(200)[..7].parse().unwrap());
    }
}

#[tokio::test]
async fn limits_of_nats_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, "jetstream { max_file_store: 1MB }").unwrap();
    let nats = nats!(Nats::with_options(&["--config", file.to_str().unwrap()]));
    let server = host(&nats).await;
    // A queue may have 256 MiB, which NATS would have to reserve.
    assert!(!push(&server, "q", "an event").await);
    server.log.line(&["NATS is out of storage", "queues.max_bytes"]).await;
}

#[tokio::test]
async fn cluster_goes_on_without_any_one_of_its_servers() {
    let mut cluster = nats!(Cluster::start());
    let config = config(&cluster.urls(), "replicas = 3\nack_wait = '5s'");
    let (one, other) = (Server::with_config(&config).await, Server::with_config(&config).await);
    let operators = [Operator::of(&one).await, Operator::of(&other).await];
    push_at_last(&one, "q", "first").await;
    comes(&other, "first").await;
    for number in 0..cluster.0.len() {
        let cursor = publish_at_last(&one, "t", "news").await;
        let poll = other.park(H1, &Request::get("/poll/q?wait=60")).await;
        let follow = Request::get(&format!("/follow/t?wait=60&after={cursor}"));
        let follower = other.park(H1, &follow).await;
        cluster.0[number].kill();
        let event = format!("without {number}");
        push_at_last(&one, "q", &event).await;
        publish_at_last(&one, "t", &event).await;
        if !is_event(&answered(poll).await, &event) {
            comes(&other, &event).await;
        }
        follows(&other, answered(follower).await, cursor, &event).await;
        cluster.0[number].restart();
        for operator in &operators {
            operator.is_ready(true).await;
        }
        // The one that came back has to catch up before the next may go: all three have the event then.
        let again = format!("with {number}");
        push_at_last(&one, "q", &again).await;
        comes(&one, &again).await;
    }
}

/// What one who waits is answered.
async fn answered(waiting: Open) -> Answer {
    let Open::One(connection) = &waiting else { panic!("it is not of HTTP/1.1") };
    patiently("an answer", async || connection.has_something().await.then_some(())).await;
    waiting.answer().await
}

/// Whether it is this event. A wait that took so long that it came to its end in order is none, nor is an event of before
/// that NATS had stored although it was refused.
fn is_event(answer: &Answer, event: &str) -> bool {
    answer.status != 204 && answer.expect(200) == event
}

/// Follows on until this event comes. What was refused may have been stored, so the news may come once more before.
async fn follows(server: &Server, first: Answer, mut cursor: String, event: &str) {
    let mut answer = first;
    patiently("what was published comes", async || {
        if is_event(&answer, event) {
            return Some(());
        }
        if answer.status == 200 {
            assert_eq!(answer.text(), "news");
            answer.header("event-cursor").unwrap().clone_into(&mut cursor);
        }
        answer = server.get(&format!("/follow/t?wait=20&after={cursor}")).await;
        None
    })
    .await;
}

/// Polls until this event comes. What was refused may have been stored, and comes first.
async fn comes(server: &Server, event: &str) {
    patiently("what was pushed comes", async || {
        let answer = server.get("/poll/q?wait=20").await;
        (answer.status == 200 && answer.expect(200) == event).then_some(())
    })
    .await;
}
