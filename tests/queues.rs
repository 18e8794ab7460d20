//! Queues beyond the plain contract: times, dead letters, and deliveries that clients commit.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Answer, ClientLeave, H1, Http1, Protocol, Request, Server, both, crossed, eventually};

both!("longpoll", "longpoll-p2":
    delayed_event_comes_when_its_time_has_come,
    event_of_no_more_use_does_not_come,
    names_of_queues_that_are_empty_cost_nothing,
    bad_time_is_400_with_a_sentence,
    too_many_waiters_are_429,
    event_that_never_arrives_becomes_a_dead_letter,
);

crossed!("longpoll", "longpoll-p2":
    client_commits_by_its_next_request,
    event_that_no_client_commits_returns_flagged,
    client_that_left_commits_nothing,
);

async fn configured(component: &str, queues: &str) -> Server {
    Server::with_config(&format!("[queues]\n{queues}\n[apps.app]\ncomponent = '{{{component}}}'\n")).await
}

async fn push(server: &Server, target: &str, data: &str) {
    server.send(H1, &Request::post(target, data.to_owned())).await.expect(202);
}

async fn delayed_event_comes_when_its_time_has_come(component: &str) {
    let server = Server::start(component).await;
    let began = Instant::now();
    push(&server, "/push/q?delay=1", "late").await;
    let poll = server.park(H1, &Request::get("/poll/q?wait=60")).await;
    push(&server, "/push/q", "early").await;
    assert_eq!(poll.answer().await.expect(200), "early");
    assert_eq!(server.get("/poll/q?wait=60").await.expect(200), "late");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

async fn event_of_no_more_use_does_not_come(component: &str) {
    let server = configured(component, "max_events = 1").await;
    push(&server, "/push/q?ttl=0", "too late").await;
    // It makes room when its time is over, whether anybody polls or not.
    eventually("the event is gone", async || {
        let answer = server.send(H1, &Request::post("/push/q?ttl=60", "in time")).await;
        (answer.status == 202).then_some(())
    })
    .await;
    assert_eq!(server.get("/poll/q?wait=60").await.expect(200), "in time");
}

async fn names_of_queues_that_are_empty_cost_nothing(component: &str) {
    let server = configured(component, "max_queues = 2").await;
    for number in 0..10 {
        push(&server, &format!("/push/q{number}?ttl=0"), "too late").await;
    }
}

async fn bad_time_is_400_with_a_sentence(component: &str) {
    let server = Server::start(component).await;
    for (name, value) in [("delay", "-1"), ("ttl", "1.5"), ("delay", "2592001"), ("ttl", "")] {
        let answer = server.send(H1, &Request::post(&format!("/push/q?{name}={value}"), "x")).await;
        let text = answer.expect(400);
        assert!(text.starts_with(&format!("{name} is a whole number of seconds")), "{text}");
    }
    server.get("/poll/q?wait=0").await.expect(204);
}

async fn too_many_waiters_are_429(component: &str) {
    let server = configured(component, "max_waiters = 2").await;
    let poll = Request::get("/poll/q?wait=60");
    let mut waiting = server.fill(2, "/poll/q?wait=0", async |_| server.open(H1, &poll).await).await;
    let refused = server.get("/poll/q?wait=0").await;
    assert!(refused.expect(429).contains("wait"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    let _connection = waiting.remove(0).leave(ClientLeave::Close).await;
    push(&server, "/push/q", "x").await;
    assert_eq!(waiting.remove(0).answer().await.expect(200), "x");
}

async fn event_that_never_arrives_becomes_a_dead_letter(component: &str) {
    let server = configured(component, "max_attempts = 2").await;
    push(&server, "/push/q", &"x".repeat(800_000)).await;
    for _ in 0..2 {
        // It reads a part of the answer.
        let mut client = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
        client.head().await;
        client.reset();
    }
    let dead = server.get("/poll/q.dead?wait=60").await;
    assert_eq!((dead.expect(200).len(), dead.header("maybe-delivered")), (800_000, Some("true")));
    server.get("/poll/q?wait=0").await.expect(204);
    server.log.line(&["dead letters in q.dead"]).await;
}

const CLIENT: &str = "commit = 'client'\nlease = '1s'";

async fn poll(server: &Server, protocol: Protocol) -> (Answer, String) {
    let answer = server.send(protocol, &Request::get("/poll/q?wait=60")).await;
    answer.expect(200);
    let token = answer.header("linger-delivery").expect("a token").to_owned();
    (answer, token)
}

async fn client_commits_by_its_next_request(component: &str, protocol: Protocol) {
    let server = configured(component, "commit = 'client'").await;
    for event in ["one", "two"] {
        push(&server, "/push/q", event).await;
    }
    let (one, token) = poll(&server, protocol).await;
    assert_eq!(one.text(), "one");
    // The next poll confirms the last one.
    let next = Request::get("/poll/q?wait=60").header("linger-ack", &token);
    let two = server.send(protocol, &next).await;
    assert_eq!((two.expect(200), two.header("linger-ack")), ("two", Some("committed")));
    let last = two.header("linger-delivery").unwrap();
    assert_ne!(last, token);
    // Any request will do, and a token is good once.
    for (token, outcome) in [(last, "committed"), (last, "unknown"), (&*token, "unknown"), ("x", "unknown")] {
        let other = server.send(protocol, &Request::get("/nothing").header("linger-ack", token)).await;
        assert_eq!((other.status.as_u16(), other.header("linger-ack")), (404, Some(outcome)));
    }
    let none = server.get("/poll/q?wait=0").await;
    none.expect(204);
    assert_eq!((none.header("linger-delivery"), none.header("linger-ack")), (None, None));
}

async fn event_that_no_client_commits_returns_flagged(component: &str, protocol: Protocol) {
    let server = configured(component, CLIENT).await;
    push(&server, "/push/q", "one").await;
    let (_, token) = poll(&server, protocol).await;
    let (again, _) = poll(&server, protocol).await;
    assert_eq!((again.text(), again.header("maybe-delivered")), ("one", Some("true")));
    let late = server.send(protocol, &Request::get("/nothing").header("linger-ack", &token)).await;
    assert_eq!(late.header("linger-ack"), Some("unknown"));
}

async fn client_that_left_commits_nothing(component: &str, protocol: Protocol) {
    let server = configured(component, "commit = 'client'").await;
    let open = server.park(protocol, &Request::get("/poll/q?wait=60")).await;
    let _connection = open.leave(ClientLeave::Close).await;
    push(&server, "/push/q", "one").await;
    // It does not wait for a lease to run out.
    let (answer, _) = poll(&server, protocol).await;
    assert_eq!(answer.text(), "one");
}
