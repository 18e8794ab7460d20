//! Several hosts that share their events in NATS `JetStream`.

use rustix::process::Signal;

use crate::harness::{
    Answer, ClientLeave, H1, Http1, Nats, Request, Server, assert_refused, component, serve_in_vain,
    write_config,
};

/// A host that shares a server with others. Events that are not given back return late.
async fn host(nats: &Nats, more: &str) -> Server {
    host_with(nats, "ack_wait = '1h'", more).await
}

async fn host_with(nats: &Nats, keys: &str, more: &str) -> Server {
    // A machine that stands still for a while does not make an answer one that was read.
    let patient = if more.contains("confirm_window") { "" } else { "detection.confirm_window = '20s'" };
    Server::with_config(&format!(
        "{patient}\n{more}\n[events]\nstore = 'nats'\n[events.nats]\nservers = ['{}']\n{keys}\n\
         [apps.app]\ncomponent = '{{longpoll}}'\n",
        nats.url()
    ))
    .await
}

async fn push(server: &Server, queue: &str, event: &str) {
    let request =
        Request::post(&format!("/push/{queue}"), event.to_owned()).header("content-type", "text/plain");
    server.send(H1, &request).await.expect(202);
}

fn is_flagged(answer: &Answer) -> bool {
    answer.header("maybe-delivered") == Some("true")
}

macro_rules! nats {
    () => {
        match Nats::start() {
            Some(nats) => nats,
            None => return,
        }
    };
}

/// Its client has the event, and has yet to say so.
const UNCONFIRMED: &str = "[queues]\ncommit = 'client'\nlease = '1h'";

#[tokio::test]
async fn push_on_one_host_wakes_a_poll_on_another() {
    let nats = nats!();
    let (one, other) = (host(&nats, "").await, host(&nats, "").await);
    let parked = other.park(H1, &Request::get("/poll/orders.eu?wait=60")).await;
    push(&one, "orders.eu", "an event").await;
    let answer = parked.answer().await;
    assert_eq!((answer.expect(200), answer.header("content-type")), ("an event", Some("text/plain")));
    assert!(!is_flagged(&answer));
    for host in [one, other] {
        host.get("/poll/orders.eu?wait=0").await.expect(204);
    }
}

#[tokio::test]
async fn poll_that_left_one_host_takes_nothing_from_another() {
    let nats = nats!();
    let (one, other) = (host(&nats, "").await, host(&nats, "").await);
    for how in [ClientLeave::Close, ClientLeave::Reset] {
        let parked = one.park(H1, &Request::get("/poll/q?wait=60")).await;
        drop(parked.leave(how).await);
        push(&one, "q", "an event").await;
        let answer = other.get("/poll/q?wait=60").await;
        assert_eq!(answer.expect(200), "an event");
        assert!(!is_flagged(&answer));
    }
}

#[tokio::test]
async fn events_of_a_killed_host_return_flagged() {
    let nats = nats!();
    let one = host_with(&nats, "ack_wait = '1s'", UNCONFIRMED).await;
    let other = host_with(&nats, "ack_wait = '1s'", "").await;
    push(&other, "q", "an event").await;
    let mut client = Http1::connect(one.address()).await;
    let answer = client.ask(&Request::get("/poll/q?wait=60")).await;
    assert_eq!(answer.expect(200), "an event");
    assert!(!is_flagged(&answer));
    let parked = other.park(H1, &Request::get("/poll/q?wait=60")).await;
    one.signal(Signal::KILL);
    let answer = parked.answer().await;
    assert_eq!(answer.expect(200), "an event");
    assert!(is_flagged(&answer));
}

#[tokio::test]
async fn events_of_a_host_that_drains_return_at_once() {
    let nats = nats!();
    let brief = format!("detection.confirm_window = '200ms'\n{UNCONFIRMED}");
    let (mut one, other) = (host(&nats, &brief).await, host(&nats, "").await);
    push(&other, "q", "an event").await;
    let mut client = Http1::connect(one.address()).await;
    client.ask(&Request::get("/poll/q?wait=60")).await.expect(200);
    let (left, parked) = (
        one.park(H1, &Request::get("/poll/r?wait=60")).await,
        other.park(H1, &Request::get("/poll/q?wait=60")).await,
    );
    one.signal(Signal::TERM);
    left.answer().await.expect(503);
    let answer = parked.answer().await;
    assert_eq!(answer.expect(200), "an event");
    assert!(is_flagged(&answer));
    assert!(one.exit().await.success());
    // Nobody is in the way of what comes now.
    push(&other, "r", "the next").await;
    assert_eq!(other.get("/poll/r?wait=60").await.expect(200), "the next");
}

#[tokio::test]
async fn parked_poll_outlives_a_crash_of_nats() {
    let mut nats = nats!();
    let (one, other) = (host(&nats, "").await, host(&nats, "").await);
    let parked = one.park(H1, &Request::get("/poll/q?wait=60")).await;
    nats.kill();
    nats.restart();
    push(&other, "q", "an event").await;
    assert_eq!(parked.answer().await.expect(200), "an event");
}

#[tokio::test]
async fn publish_on_one_host_wakes_followers_on_all() {
    let nats = nats!();
    let hosts = [host(&nats, "").await, host(&nats, "").await];
    let mut parked = Vec::new();
    for host in &hosts {
        parked.push(host.park(H1, &Request::get("/follow/t?wait=60")).await);
    }
    hosts[0].send(H1, &Request::post("/publish/t", "one")).await.expect(202);
    let mut cursors = Vec::new();
    for parked in parked {
        let answer = parked.answer().await;
        assert_eq!(answer.expect(200), "one");
        cursors.push(answer.header("event-cursor").unwrap().to_owned());
    }
    assert_eq!(cursors[0], cursors[1]);
    hosts[1].send(H1, &Request::post("/publish/t", "two")).await.expect(202);
    for host in &hosts {
        let answer = host.get(&format!("/follow/t?wait=60&after={}", cursors[0])).await;
        assert_eq!((answer.expect(200), answer.header("events-missed")), ("two", None));
    }
}

#[tokio::test]
async fn host_without_its_servers_does_not_start() {
    let nats = nats!();
    let url = nats.url();
    drop(nats);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[events]\nstore = 'nats'\nnats.servers = ['{url}']\n[apps.app]\ncomponent = '{}'\n",
        component("longpoll").display()
    );
    let file = write_config(folder.path(), &text);
    let output = tokio::task::spawn_blocking(move || serve_in_vain(&file, &[])).await.unwrap();
    assert_refused(&output, &[&url, "events.nats.servers"]);
}
