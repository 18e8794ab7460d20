//! What a client did with an answer that it was sent decides over the event in it.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{
    Answer, ClientLeave, Http1, Http2, Open, Protocol, Request, Server, both, combinations,
};

combinations!("longpoll", "longpoll-p2":
    answer_that_was_read_does_not_come_again,
    client_and_event_in_the_same_turn_lose_nothing,
);

both!("longpoll", "longpoll-p2":
    unread_answer_comes_again_flagged,
    half_read_answer_comes_again_flagged,
    unread_answer_of_many_bytes_comes_again_flagged,
    unread_answer_over_http2_comes_again_flagged,
    next_request_takes_the_answer_for_read,
    request_sent_ahead_does_not_take_the_answer_for_read,
    silent_client_is_believed_after_the_window,
    refused_answer_comes_again,
    queue_goes_on_while_receipts_are_awaited,
    log_says_when_the_client_left,
    request_that_comes_with_the_end_of_its_connection_is_in_the_log,
    receipts_can_be_turned_off,
);

/// Of a kind.
const ROUNDS: usize = 200;

/// A window that a test stays within, on a machine that stands still for a second.
const STALLED: &str = "20s";

/// A poll whose answer has arrived in the client's kernel, and nothing of it was read.
async fn answered(server: &Server, client: &mut Http1, event: &str) -> Http1 {
    let poll = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
    push(client, event).await;
    // The head comes with the body.
    poll.arrived(event.len() as u64 + 1).await;
    poll
}

async fn push(client: &mut Http1, event: &str) {
    client.ask(&Request::post("/push/q", event.to_owned())).await.expect(202);
}

async fn poll(client: &mut Http1, wait: u64) -> Answer {
    client.ask(&Request::get(&format!("/poll/q?wait={wait}"))).await
}

/// The next poll gets it, flagged, and the one after gets nothing.
async fn comes_again(client: &mut Http1, event: &str) {
    let answer = poll(client, 10).await;
    assert_eq!(answer.status, 200, "event {event:?} is lost");
    assert_eq!(answer.text(), event);
    assert_eq!(answer.header("maybe-delivered"), Some("true"), "event {event:?}");
}

async fn unread_answer_comes_again_flagged(longpoll: &str) {
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    for round in 0..ROUNDS {
        let event = round.to_string();
        let poll = answered(&server, &mut client, &event).await;
        drop(poll);
        comes_again(&mut client, &event).await;
    }
    poll(&mut client, 0).await.expect(204);
}

async fn half_read_answer_comes_again_flagged(longpoll: &str) {
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    for round in 0..ROUNDS {
        let event = format!("{round:0100}");
        let mut poll = answered(&server, &mut client, &event).await;
        poll.read_part(80).await;
        drop(poll);
        comes_again(&mut client, &event).await;
    }
    poll(&mut client, 0).await.expect(204);
}

async fn unread_answer_of_many_bytes_comes_again_flagged(longpoll: &str) {
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    let event = "x".repeat(256 * 1024);
    for read in [0, 1000, 100_000] {
        for _ in 0..5 {
            let mut poll = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
            push(&mut client, &event).await;
            poll.arrived(1).await;
            poll.read_part(read).await;
            drop(poll);
            comes_again(&mut client, &event).await;
        }
    }
}

async fn unread_answer_over_http2_comes_again_flagged(longpoll: &str) {
    // SETTINGS and its acknowledgement; HEADERS of stream 1: GET http x /poll/q.
    const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0\
        \0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x04\x07/poll/q";
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    for round in 0..ROUNDS {
        let event = format!("{round:01000}");
        let mut poll = Http1::connect(server.address()).await;
        poll.send(REQUEST).await;
        push(&mut client, &event).await;
        poll.arrived(1000).await;
        drop(poll);
        comes_again(&mut client, &event).await;
    }
}

async fn answer_that_was_read_does_not_come_again(server: Server, protocol: Protocol) {
    let mut client = Http1::connect(server.address()).await;
    for round in 0..1000 {
        let event = round.to_string();
        let poll = server.open(protocol, &Request::get("/poll/q?wait=60")).await;
        push(&mut client, &event).await;
        let mut poll = poll;
        assert_eq!(poll.try_answer().await.expect("an answer").expect(200), event, "again");
        drop(poll.leave(ClientLeave::Close).await);
    }
    // The window is over by then.
    poll(&mut client, 2).await.expect(204);
}

/// The client leaves and the event comes at once, on two connections.
async fn client_and_event_in_the_same_turn_lose_nothing(server: Server, protocol: Protocol) {
    let mut client = Http1::connect(server.address()).await;
    for round in 0..1000 {
        let event = round.to_string();
        let leaving = server.open(protocol, &Request::get("/poll/q?wait=60")).await;
        let how = if round % 2 == 0 { ClientLeave::Close } else { ClientLeave::Reset };
        let (connection, ()) = if round % 4 < 2 {
            tokio::join!(leaving.leave(how), push(&mut client, &event))
        } else {
            let (pushed, connection) = tokio::join!(push(&mut client, &event), leaving.leave(how));
            (connection, pushed)
        };
        let answer = poll(&mut client, 10).await;
        assert_eq!(answer.status, 200, "event {event} is lost");
        assert_eq!(answer.text(), event);
        drop(connection);
    }
    poll(&mut client, 2).await.expect(204);
}

async fn next_request_takes_the_answer_for_read(longpoll: &str) {
    // Without the request it would not be final for long.
    let server = with_window(longpoll, "60s").await;
    let mut client = Http1::connect(server.address()).await;
    for round in 0..ROUNDS {
        let event = round.to_string();
        let mut poll = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
        push(&mut client, &event).await;
        assert_eq!(poll.answer().await.expect(200), event);
        poll.ask(&Request::get("/poll/other?wait=0")).await.expect(204);
        // It was read: what comes after cannot change that.
        poll.reset();
    }
    poll(&mut client, 2).await.expect(204);
}

async fn request_sent_ahead_does_not_take_the_answer_for_read(longpoll: &str) {
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    for round in 0..20 {
        let event = round.to_string();
        let mut poll = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
        poll.send_request(&Request::get("/poll/other?wait=60")).await;
        push(&mut client, &event).await;
        poll.arrived(event.len() as u64 + 1).await;
        drop(poll);
        comes_again(&mut client, &event).await;
    }
}

async fn silent_client_is_believed_after_the_window(longpoll: &str) {
    let server = with_window(longpoll, "200ms").await;
    let mut client = Http1::connect(server.address()).await;
    let parked = answered(&server, &mut client, "event").await;
    let line = server.log.line(&["GET", "/poll/q", " 200", "acknowledged"]).await;
    assert!(line.contains("delivered"), "{line}");
    drop(parked);
    poll(&mut client, 1).await.expect(204);
}

/// The client had closed before the answer was written, and nothing said so.
async fn refused_answer_comes_again(longpoll: &str) {
    let server = Server::with_config(&format!(
        "[[listeners]]\naddress = '127.0.0.1:0'\neof = 'tolerant'\n[apps.app]\ncomponent = '{{{longpoll}}}'\n"
    ))
    .await;
    let mut client = Http1::connect(server.address()).await;
    let mut poll = Http1::connect(server.address()).await;
    // Of HTTP/1.0, which knows no interim responses: so nothing tells that it is gone.
    poll.send("GET /poll/q?wait=60 HTTP/1.0\r\n\r\n").await;
    server.overtake().await;
    drop(poll);
    push(&mut client, "event").await;
    let answer = client.ask(&Request::get("/poll/q?wait=10")).await;
    assert_eq!(answer.expect(200), "event");
}

async fn queue_goes_on_while_receipts_are_awaited(longpoll: &str) {
    let server = with_window(longpoll, "60s").await;
    let mut client = Http1::connect(server.address()).await;
    let first = answered(&server, &mut client, "one").await;
    let second = answered(&server, &mut client, "two").await;
    drop(first);
    comes_again(&mut client, "one").await;
    drop(second);
    comes_again(&mut client, "two").await;
}

async fn log_says_when_the_client_left(longpoll: &str) {
    let server = with_window(longpoll, STALLED).await;
    let mut client = Http1::connect(server.address()).await;
    let parked = server.park(Protocol::Http1, &Request::get("/poll/before?wait=60")).await;
    drop(parked.leave(ClientLeave::Close).await);
    server.log.line(&["/poll/before", " 499", "closed", "before the head"]).await;
    let parked = server.park(Protocol::Http1, &Request::get("/poll/reset?wait=60")).await;
    drop(parked.leave(ClientLeave::Reset).await);
    server.log.line(&["/poll/reset", " 499", "reset", "before the head"]).await;
    drop(answered(&server, &mut client, "event").await);
    server.log.line(&["/poll/q", " 200", "unread", "after the last byte"]).await;
}

async fn request_that_comes_with_the_end_of_its_connection_is_in_the_log(longpoll: &str) {
    let server = Server::start(longpoll).await;
    // Both are there when the server looks.
    server.signal(Signal::STOP);
    for number in 0..10 {
        drop(Http1::open(server.address(), &Request::get(&format!("/poll/q{number}?wait=60"))).await);
    }
    server.signal(Signal::CONT);
    for number in 0..10 {
        server.log.line(&[&format!("/poll/q{number}?"), " 499", "closed", "before the head"]).await;
    }
}

async fn receipts_can_be_turned_off(longpoll: &str) {
    let server = with_window(longpoll, "none").await;
    let mut client = Http1::connect(server.address()).await;
    drop(answered(&server, &mut client, "event").await);
    poll(&mut client, 1).await.expect(204);
}

async fn with_window(longpoll: &str, window: &str) -> Server {
    let config =
        format!("[detection]\nconfirm_window = '{window}'\n[apps.app]\ncomponent = '{{{longpoll}}}'\n");
    Server::with_config_and_access_log(&config).await
}

/// A connection that ends while others of its client go on.
#[tokio::test]
async fn streams_of_a_connection_are_settled_with_it() {
    let server = Server::start("longpoll").await;
    let mut client = Http1::connect(server.address()).await;
    let mut connection = Http2::connect(server.address()).await;
    let mut streams = Vec::new();
    for number in 0..10 {
        streams.push(connection.stream(&Request::get(&format!("/poll/q{number}?wait=60"))).await);
    }
    for number in 0..10 {
        client.ask(&Request::post(&format!("/push/q{number}"), number.to_string())).await.expect(202);
    }
    for (number, stream) in streams.into_iter().enumerate() {
        assert_eq!(Open::Two(stream).answer().await.expect(200), number.to_string());
    }
    connection.close().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    for number in 0..10 {
        client.ask(&Request::get(&format!("/poll/q{number}?wait=0"))).await.expect(204);
    }
}
