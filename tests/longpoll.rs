//! The contract of the examples `longpoll` and `longpoll-p2`, as long as everybody behaves.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use crate::harness::{H1, Http1, Open, Protocol, Request, Server, both, combinations, eventually};

combinations!("longpoll", "longpoll-p2":
    event_while_parked_answers_the_poll,
    event_before_the_poll_answers_it_at_once,
    event_goes_to_one_of_two_polls,
    events_come_in_the_order_of_their_pushes,
    bytes_and_content_type_come_back_as_pushed,
    wait_without_an_event_ends_with_204,
    poll_that_does_not_wait_ends_with_204_or_an_event,
    queues_are_apart,
    unknown_path_is_404,
    wrong_method_is_405_and_says_the_right_one,
    bad_wait_is_400_with_a_sentence,
    bad_queue_name_is_400_with_a_sentence,
    bad_content_type_is_400,
);

both!("longpoll", "longpoll-p2":
    wait_is_five_seconds_if_not_said,
    full_queue_is_429_until_an_event_is_taken,
    too_many_bytes_are_a_full_queue,
    too_large_event_is_413,
    too_many_queues_are_507,
    two_hundred_polls_park_at_once,
);

async fn push(server: &Server, protocol: Protocol, queue: &str, data: &str) {
    let request = Request::post(&format!("/push/{queue}"), data.to_owned());
    server.send(protocol, &request).await.expect(202);
}

/// Pushes as soon as there is room: what was taken makes it a moment after its answer was seen.
async fn push_once_there_is_room(server: &Server, queue: &str, data: &str) {
    eventually("there is room", async || {
        let request = Request::post(&format!("/push/{queue}"), data.to_owned());
        (server.send(H1, &request).await.status == 202).then_some(())
    })
    .await;
}

async fn event_while_parked_answers_the_poll(server: Server, protocol: Protocol) {
    let poll = server.park(protocol, &Request::get("/poll/q?wait=60")).await;
    push(&server, protocol, "q", "hello").await;
    let answer = poll.answer().await;
    assert_eq!(answer.expect(200), "hello");
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn event_before_the_poll_answers_it_at_once(server: Server, protocol: Protocol) {
    push(&server, protocol, "q", "hello").await;
    let start = Instant::now();
    let answer = server.send(protocol, &Request::get("/poll/q?wait=60")).await;
    assert_eq!(answer.expect(200), "hello");
    assert!(start.elapsed() < Duration::from_secs(30), "it waited");
    // And it is gone with that.
    server.send(protocol, &Request::get("/poll/q?wait=0")).await.expect(204);
}

async fn event_goes_to_one_of_two_polls(server: Server, protocol: Protocol) {
    let polls = [
        server.open(protocol, &Request::get("/poll/q?wait=60")).await,
        server.park(protocol, &Request::get("/poll/q?wait=60")).await,
    ];
    push(&server, protocol, "q", "one").await;
    push(&server, protocol, "q", "two").await;
    let mut bodies = Vec::new();
    for poll in polls {
        bodies.push(poll.answer().await.expect(200).to_owned());
    }
    bodies.sort();
    assert_eq!(bodies, ["one", "two"]);
}

async fn events_come_in_the_order_of_their_pushes(server: Server, protocol: Protocol) {
    for number in 0..50 {
        push(&server, protocol, "q", &number.to_string()).await;
    }
    for number in 0..50 {
        let answer = server.send(protocol, &Request::get("/poll/q?wait=30")).await;
        assert_eq!(answer.expect(200), number.to_string());
    }
}

async fn bytes_and_content_type_come_back_as_pushed(server: Server, protocol: Protocol) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1024 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (data, kind) in [
        (Bytes::new(), Some("text/plain; charset=utf-8")),
        (Bytes::from(every_byte), Some("application/x-every-byte")),
        (Bytes::from_static(b"{}"), None),
        (Bytes::from(large), Some("image/png")),
    ] {
        let mut request = Request::post("/push/q", data.clone());
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        server.send(protocol, &request).await.expect(202);
        let answer = server.send(protocol, &Request::get("/poll/q?wait=30")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(kind.unwrap_or("application/octet-stream")));
        assert_eq!(answer.header("content-length"), Some(data.len().to_string().as_str()));
        assert!(answer.body == data, "{kind:?}: {} bytes became {}", data.len(), answer.body.len());
    }
}

async fn wait_without_an_event_ends_with_204(server: Server, protocol: Protocol) {
    let start = Instant::now();
    let answer = server.send(protocol, &Request::get("/poll/q?wait=1")).await;
    let elapsed = start.elapsed();
    assert_eq!(answer.expect(204), "");
    assert!(elapsed >= Duration::from_secs(1), "it waited for {elapsed:?} only");
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn poll_that_does_not_wait_ends_with_204_or_an_event(server: Server, protocol: Protocol) {
    let start = Instant::now();
    server.send(protocol, &Request::get("/poll/q?wait=0")).await.expect(204);
    assert!(start.elapsed() < Duration::from_secs(5), "it waited for the default time");
    push(&server, protocol, "q", "hello").await;
    assert_eq!(server.send(protocol, &Request::get("/poll/q?wait=0")).await.expect(200), "hello");
}

async fn queues_are_apart(server: Server, protocol: Protocol) {
    let poll = server.park(protocol, &Request::get("/poll/a?wait=60")).await;
    push(&server, protocol, "b", "for b").await;
    push(&server, protocol, "a", "for a").await;
    assert_eq!(poll.answer().await.expect(200), "for a");
    assert_eq!(server.send(protocol, &Request::get("/poll/b?wait=30")).await.expect(200), "for b");
}

async fn unknown_path_is_404(server: Server, protocol: Protocol) {
    for target in ["/", "/nothing", "/poll", "/poll/q/more", "/push/"] {
        let answer = server.send(protocol, &Request::get(target)).await;
        // `/push/` is a queue without a name: whatever it is, it is not served.
        assert!(answer.status.is_client_error(), "{target}: {}", answer.status);
    }
    server.send(protocol, &Request::get("/nothing")).await.expect(404);
}

async fn wrong_method_is_405_and_says_the_right_one(server: Server, protocol: Protocol) {
    for (method, target, allowed) in [
        (Method::GET, "/push/q", "POST"),
        (Method::DELETE, "/push/q", "POST"),
        (Method::POST, "/poll/q", "GET"),
        (Method::PUT, "/poll/q", "GET"),
    ] {
        let answer = server.send(protocol, &Request::new(method.clone(), target)).await;
        assert_eq!(answer.status, 405, "{method} {target}");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {target}");
    }
}

async fn bad_wait_is_400_with_a_sentence(server: Server, protocol: Protocol) {
    for wait in ["61", "-1", "x", "1.5", "", "1s", "99999999999999999999"] {
        let answer = server.send(protocol, &Request::get(&format!("/poll/q?wait={wait}"))).await;
        let text = answer.expect(400);
        assert!(text.starts_with("wait is a whole number of seconds from 0 to 60"), "{wait}: {text}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

async fn bad_queue_name_is_400_with_a_sentence(server: Server, protocol: Protocol) {
    let long = "x".repeat(129);
    for name in ["-x", ".x", "a%20b", "a:b", "%C3%A4", long.as_str()] {
        let push = Request::post(&format!("/push/{name}"), "x");
        let poll = Request::get(&format!("/poll/{name}?wait=0"));
        for request in [push, poll] {
            let answer = server.send(protocol, &request).await;
            let text = answer.expect(400);
            assert!(text.contains("name") && text.contains("128"), "{name}: {text}");
        }
    }
    let longest = "x".repeat(128);
    push(&server, protocol, &longest, "fits").await;
    let poll = Request::get(&format!("/poll/{longest}?wait=30"));
    assert_eq!(server.send(protocol, &poll).await.expect(200), "fits");
}

async fn bad_content_type_is_400(server: Server, protocol: Protocol) {
    let request = Request::post("/push/q", "x").header("content-type", &"x".repeat(257));
    let answer = server.send(protocol, &request).await;
    assert!(answer.expect(400).contains("content type"), "{}", answer.text());
    server.send(protocol, &Request::get("/poll/q?wait=0")).await.expect(204);
}

async fn wait_is_five_seconds_if_not_said(component: &str) {
    let server = Server::start(component).await;
    let start = Instant::now();
    server.get("/poll/q").await.expect(204);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(5), "it waited for {elapsed:?} only");
}

async fn full_queue_is_429_until_an_event_is_taken(component: &str) {
    let server = limited(component, "max_events = 2").await;
    push(&server, H1, "q", "one").await;
    push(&server, H1, "q", "two").await;
    let refused = server.send(H1, &Request::post("/push/q", "three")).await;
    assert!(refused.expect(429).contains("as many events"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200), "one");
    push_once_there_is_room(&server, "q", "four").await;
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200), "two");
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200), "four");
}

async fn too_many_bytes_are_a_full_queue(component: &str) {
    // 256 bytes are added for each event.
    let server = limited(component, "max_bytes = '1KiB'").await;
    push(&server, H1, "q", &"x".repeat(600)).await;
    server.send(H1, &Request::post("/push/q", "y")).await.expect(429);
    push(&server, H1, "another", "y").await;
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200).len(), 600);
    push_once_there_is_room(&server, "q", "y").await;
}

async fn too_large_event_is_413(component: &str) {
    let server = limited(component, "max_event_size = '1KiB'").await;
    push(&server, H1, "q", &"x".repeat(1024)).await;
    let refused = server.send(H1, &Request::post("/push/q", "x".repeat(1025))).await;
    assert!(refused.expect(413).contains("1024"), "{}", refused.text());
    // Beyond what the guest itself reads.
    let refused = server.send(H1, &Request::post("/push/q", "x".repeat(1024 * 1024 + 1))).await;
    refused.expect(413);
    assert_eq!(server.get("/poll/q?wait=30").await.expect(200).len(), 1024);
    server.get("/poll/q?wait=0").await.expect(204);
}

async fn too_many_queues_are_507(component: &str) {
    let server = limited(component, "max_queues = 2").await;
    push(&server, H1, "a", "x").await;
    push(&server, H1, "b", "x").await;
    server.send(H1, &Request::post("/push/c", "x")).await.expect(507);
    server.get("/poll/c?wait=5").await.expect(507);
    // An empty queue costs nothing.
    server.get("/poll/a?wait=30").await.expect(200);
    push_once_there_is_room(&server, "c", "x").await;
}

async fn two_hundred_polls_park_at_once(component: &str) {
    let server = Server::start(component).await;
    let mut polls = Vec::new();
    for number in 0..200 {
        polls.push(server.open(H1, &Request::get(&format!("/poll/q{number}?wait=60"))).await);
    }
    server.overtake().await;
    let mut client = Http1::connect(server.address()).await;
    for number in (0..200).rev() {
        let request = Request::post(&format!("/push/q{number}"), number.to_string());
        client.ask(&request).await.expect(202);
    }
    for (number, poll) in polls.into_iter().enumerate() {
        assert_eq!(Open::answer(poll).await.expect(200), number.to_string());
    }
}

async fn limited(component: &str, limit: &str) -> Server {
    Server::with_config(&format!("[queues]\n{limit}\n[apps.longpoll]\ncomponent = '{{{component}}}'\n")).await
}
