//! Answers whose body the host does not send: what was taken for them has reached nobody.

use http::Method;

use crate::harness::{Answer, H1, Protocol, Request, Server, assert_serves, combinations, crossed};

combinations!("careless", "careless-p2":
    head_takes_no_event,
    answer_without_a_body_takes_no_event,
    acknowledged_event_is_gone_without_a_body,
);

crossed!("careless", "careless-p2":
    head_is_no_attempt,
    answer_without_a_body_is_an_attempt,
    answer_without_a_body_has_no_token,
);

/// All that the host sends no body with.
const BODILESS: [u16; 3] = [204, 205, 304];

async fn push(server: &Server, event: &str) {
    server.get(&format!("/push/q?text={event}")).await.expect(204);
}

async fn with_queues(component: &str, queues: &str) -> Server {
    Server::with_config(&format!("[queues]\n{queues}\n[apps.app]\ncomponent = '{{{component}}}'\n")).await
}

fn head(target: &str) -> Request {
    Request::new(Method::HEAD, target)
}

/// Sends a request before or after there is an event, and gives its answer.
async fn ask(server: &Server, protocol: Protocol, request: &Request, event: &str, parked: bool) -> Answer {
    if parked {
        let open = server.park(protocol, request).await;
        push(server, event).await;
        return open.answer().await;
    }
    push(server, event).await;
    server.send(protocol, request).await
}

/// The next that asks gets it as if it were the first.
async fn comes_to_the_next(server: &Server, event: &str, attempt: &str) {
    let answer = server.get("/take/q").await;
    assert_eq!(answer.expect(200), event);
    assert_eq!((answer.header("attempt"), answer.header("maybe-delivered")), (Some(attempt), Some("false")));
}

async fn head_takes_no_event(server: Server, protocol: Protocol) {
    for (round, parked) in [false, true, false, true].into_iter().enumerate() {
        let event = format!("event{round}");
        let answer = ask(&server, protocol, &head("/take/q"), &event, parked).await;
        assert_eq!(answer.expect(200), "");
        comes_to_the_next(&server, &event, "1").await;
    }
    server.get("/take/q?wait=1").await.expect(204);
}

async fn answer_without_a_body_takes_no_event(server: Server, protocol: Protocol) {
    for status in BODILESS {
        let request = Request::get(&format!("/take/q?status={status}"));
        for parked in [false, true] {
            let answer = ask(&server, protocol, &request, "event", parked).await;
            assert_eq!(answer.expect(status), "");
            comes_to_the_next(&server, "event", "2").await;
        }
    }
    server.get("/take/q?wait=1").await.expect(204);
}

async fn acknowledged_event_is_gone_without_a_body(server: Server, protocol: Protocol) {
    push(&server, "one").await;
    assert_eq!(server.send(protocol, &head("/take/q?ack=yes")).await.expect(200), "");
    for status in BODILESS {
        push(&server, "other").await;
        let request = Request::get(&format!("/take/q?ack=yes&status={status}"));
        assert_eq!(server.send(protocol, &request).await.expect(status), "");
    }
    server.get("/take/q?wait=1").await.expect(204);
}

async fn head_is_no_attempt(component: &str, protocol: Protocol) {
    let server = with_queues(component, "max_attempts = 2").await;
    push(&server, "event").await;
    for status in [200, 200, 204, 500, 500] {
        let answer = server.send(protocol, &head(&format!("/take/q?status={status}"))).await;
        assert_eq!((answer.expect(status), answer.header("attempt")), ("", Some("1")));
    }
    comes_to_the_next(&server, "event", "1").await;
}

async fn answer_without_a_body_is_an_attempt(component: &str, protocol: Protocol) {
    let server = with_queues(component, "max_attempts = 2").await;
    push(&server, "event").await;
    for attempt in ["1", "2"] {
        let answer = server.send(protocol, &Request::get("/take/q?status=204")).await;
        assert_eq!((answer.expect(204), answer.header("attempt")), ("", Some(attempt)));
    }
    assert_eq!(server.get("/take/q.dead").await.expect(200), "event");
}

async fn answer_without_a_body_has_no_token(component: &str, protocol: Protocol) {
    let server = with_queues(component, "commit = 'client'").await;
    push(&server, "event").await;
    for request in [head("/take/q"), Request::get("/take/q?status=204"), Request::get("/take/q?status=304")] {
        let answer = server.send(protocol, &request).await;
        assert_eq!((answer.text(), answer.header("linger-delivery")), ("", None));
    }
    // It does not wait for a lease to run out.
    let answer = server.get("/take/q").await;
    assert_eq!((answer.expect(200), answer.header("maybe-delivered")), ("event", Some("false")));
    assert!(answer.header("linger-delivery").is_some());
}

#[tokio::test]
async fn reset_content_has_no_length_of_a_body() {
    for component in ["careless", "careless-p2"] {
        let server = Server::start(component).await;
        push(&server, "event").await;
        let answer = server.send(H1, &Request::get("/take/q?status=205")).await;
        assert_eq!((answer.expect(205), answer.header("content-length")), ("", Some("0")), "{component}");
    }
}

/// Whoever tries a component again and again must not bring an event to its last attempt.
#[tokio::test]
async fn probe_is_no_attempt() {
    let probe = "probe = { path = '/take/q?wait=5' }\n[queues]\nmax_attempts = 1\n";
    let server = Server::operated(&format!("component = '{{careless}}'\n{probe}")).await;
    push(&server, "event").await;
    for (generation, component) in (2..6).zip(["careless-p2", "careless"].into_iter().cycle()) {
        assert_serves(&server.deploy(component).await, generation);
    }
    comes_to_the_next(&server, "event", "1").await;
}
