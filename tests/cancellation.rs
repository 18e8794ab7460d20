//! The guest learns why it should stop, and nobody else does.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::harness::{
    ABSENCE, ClientLeave, H1, H2, Http1, Http2, Open, Protocol, Request, Server, both, combinations, crossed,
    eventually, places,
};

crossed!("witness", "witness-p2":
    client_that_closes_while_parked_is_told_as_closed,
    client_that_resets_while_parked_is_told_as_reset,
    one_of_fifty_leaves_and_only_its_guest_is_told,
    shutdown_tells_parked_and_streaming,
);

combinations!("witness", "witness-p2":
    idle_stream_is_told_of_the_close,
    idle_stream_is_told_of_the_reset,
);

both!("witness", "witness-p2":
    one_stream_of_a_connection_is_reset_and_only_its_guest_is_told,
    deadline_tells_the_guest_whose_answer_is_sent,
    deadline_tells_a_stream_which_ends_in_order,
    client_that_leaves_behind_unread_bytes_is_told,
    client_that_leaves_in_its_upload_is_told,
    client_that_answers_no_ping_is_told_as_unresponsive,
);

both!("faulty", "faulty-p2":
    deaf_guest_is_504_after_deadline_and_grace,
    deaf_guest_of_a_client_that_left_is_stopped,
);

/// What a witness has noted.
async fn told(server: &Server) -> String {
    server.get("/told").await.expect(200).to_owned()
}

/// Nobody notes anything for a while.
async fn nobody_is_told(server: &Server) {
    let mut told = server.open(H1, &Request::get("/told")).await;
    if let Ok(answer) = tokio::time::timeout(ABSENCE, told.try_answer()).await {
        panic!("somebody was told: {answer:?}");
    }
}

/// A witness with this many places for requests. Beside it, without a bound, one that says what was noted.
async fn witness_with(component: &str, count: usize) -> Server {
    Server::with_config(&format!(
        "[apps.app]\n{}[apps.told]\ncomponent = '{{{component}}}'\n\
         [[routes]]\napp = 'app'\n[[routes]]\napp = 'told'\npath = '/told'\n",
        places(component, count)
    ))
    .await
}

async fn client_that_closes_while_parked_is_told_as_closed(witness: &str, protocol: Protocol) {
    parked_client_leaves(witness, protocol, ClientLeave::Close).await;
}

async fn client_that_resets_while_parked_is_told_as_reset(witness: &str, protocol: Protocol) {
    parked_client_leaves(witness, protocol, ClientLeave::Reset).await;
}

async fn parked_client_leaves(witness: &str, protocol: Protocol, how: ClientLeave) {
    let server = witness_with(witness, 1).await;
    let parked = server.occupy(protocol, "/park/me", "/instance").await;
    let connection = parked.leave(how).await;
    assert_eq!(told(&server).await, format!("me {}", how.reason()));
    drop(connection);
}

async fn idle_stream_is_told_of_the_close(server: Server, protocol: Protocol) {
    stream_is_left(&server, protocol, ClientLeave::Close).await;
}

async fn idle_stream_is_told_of_the_reset(server: Server, protocol: Protocol) {
    stream_is_left(&server, protocol, ClientLeave::Reset).await;
}

async fn stream_is_left(server: &Server, protocol: Protocol, how: ClientLeave) {
    let mut stream = server.open(protocol, &Request::get("/stream/me")).await;
    assert_eq!(stream.head().await.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "data: hi\n\n");
    nobody_is_told(server).await;
    let connection = stream.leave(how).await;
    assert_eq!(told(server).await, format!("me {}", how.reason()));
    server.log.line(&["/stream/me", " 200", how.reason(), "during the body"]).await;
    drop(connection);
}

async fn one_of_fifty_leaves_and_only_its_guest_is_told(witness: &str, protocol: Protocol) {
    let mut server = witness_with(witness, 50).await;
    let open = async |number| server.open(protocol, &Request::get(&format!("/park/{number}"))).await;
    let mut parked = server.fill(50, "/instance", open).await;
    let connection = parked.remove(17).leave(ClientLeave::Close).await;
    assert_eq!(told(&server).await, "17 closed");
    nobody_is_told(&server).await;

    // The others can be told yet, and say which instance they were in.
    server.signal(Signal::TERM);
    let mut instances = HashSet::new();
    for (place, parked) in parked.into_iter().enumerate() {
        let number = if place < 17 { place } else { place + 1 };
        let answer = Open::answer(parked).await;
        assert_eq!(answer.expect(200), format!("{number} shutdown"));
        instances.insert(answer.header("x-instance").unwrap().to_owned());
    }
    assert_eq!(instances.len(), if witness == "witness" { 1 } else { 49 });
    assert!(server.exit().await.success());
    drop(connection);
}

async fn one_stream_of_a_connection_is_reset_and_only_its_guest_is_told(witness: &str) {
    let server = witness_with(witness, 50).await;
    let mut connection = Http2::connect(server.address()).await;
    let open = async |number| Open::Two(connection.stream(&Request::get(&format!("/park/{number}"))).await);
    let mut streams = server.fill(50, "/instance", open).await;
    let Open::Two(stream) = &mut streams[17] else { unreachable!("it was opened so") };
    stream.split().0.reset().await;
    assert_eq!(told(&server).await, "17 reset");
    nobody_is_told(&server).await;
    // Now the connection itself: all others are told, each once.
    connection.close().await;
    let mut notes = HashSet::new();
    for _ in 0..49 {
        notes.insert(told(&server).await);
    }
    let expected = (0..50).filter(|&number| number != 17).map(|number| format!("{number} closed")).collect();
    assert_eq!(notes, expected);
}

async fn client_that_leaves_behind_unread_bytes_is_told(witness: &str) {
    let server = witness_with(witness, 1).await;
    for (how, reason) in [(ClientLeave::Close, "me closed"), (ClientLeave::Reset, "me reset")] {
        let parked = server.occupy(H1, "/park/me", "/instance").await;
        let Open::One(mut client) = parked else { unreachable!("it was opened so") };
        // The next request, which the server will not read before it has answered this one.
        client.send_request(&Request::get("/park/nobody")).await;
        drop(Open::One(client).leave(how).await);
        assert_eq!(told(&server).await, reason);
    }
    nobody_is_told(&server).await;
}

async fn client_that_leaves_in_its_upload_is_told(witness: &str) {
    let server = witness_with(witness, 1).await;
    for (how, reason) in [(ClientLeave::Close, "me closed"), (ClientLeave::Reset, "me reset")] {
        let open = async |_| {
            let mut client = Http1::connect(server.address()).await;
            client.send("POST /park/me HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
            // The guest never reads it.
            client.send(vec![b'x'; 500_000]).await;
            Open::One(client)
        };
        let parked = server.fill(1, "/instance", open).await.remove(0);
        drop(parked.leave(how).await);
        assert_eq!(told(&server).await, reason);
    }
}

async fn client_that_answers_no_ping_is_told_as_unresponsive(witness: &str) {
    let config = format!("[detection]\nclient_timeout = '6s'\n[apps.app]\ncomponent = '{{{witness}}}'\n");
    let server = Server::with_config(&config).await;
    let start = Instant::now();
    let mut client = Http1::connect(server.address()).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // SETTINGS, its acknowledgement, and HEADERS of stream 1: GET http x /park/me.
    client.send(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0").await;
    client.send(b"\0\0\x0f\x01\x05\0\0\0\x01\x82\x86\x41\x01x\x04\x08/park/me").await;
    assert_eq!(told_within_a_minute(&server).await, "me unresponsive");
    assert!(start.elapsed() >= Duration::from_secs(4), "after {:?}", start.elapsed());
    // Its own kernel still answers.
    drop(client);
}

/// The same as [`told`], which waits for 5 seconds only.
async fn told_within_a_minute(server: &Server) -> String {
    for _ in 0..12 {
        let answer = server.get("/told").await;
        if answer.status != 204 {
            return answer.expect(200).to_owned();
        }
    }
    panic!("nobody was told");
}

async fn shutdown_tells_parked_and_streaming(witness: &str, protocol: Protocol) {
    let mut server = witness_with(witness, 2).await;
    let mut stream = server.open(protocol, &Request::get("/stream/s")).await;
    stream.head().await;
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "data: hi\n\n");
    let parked = server.occupy(protocol, "/park/p", "/instance").await;
    server.signal(Signal::TERM);
    assert_eq!(parked.answer().await.expect(200), "p shutdown");
    assert_eq!(stream.chunk().await.unwrap(), None, "the stream ends in order");
    assert!(server.exit().await.success());
}

async fn deadline_tells_the_guest_whose_answer_is_sent(witness: &str) {
    let server = Server::with_config(&with_deadline(witness, "300ms", "1h")).await;
    for protocol in [H1, H2] {
        let start = Instant::now();
        let answer = server.send(protocol, &Request::get("/park/me")).await;
        assert_eq!(answer.expect(200), "me deadline");
        assert!(start.elapsed() >= Duration::from_millis(300));
        assert_eq!(told(&server).await, "me deadline");
    }
}

async fn deadline_tells_a_stream_which_ends_in_order(witness: &str) {
    let server = Server::with_config(&with_deadline(witness, "300ms", "1h")).await;
    for protocol in [H1, H2] {
        let answer = server.send(protocol, &Request::get("/stream/me")).await;
        assert_eq!(answer.expect(200), "data: hi\n\n");
        assert_eq!(told(&server).await, "me deadline");
    }
}

async fn deaf_guest_is_504_after_deadline_and_grace(faulty: &str) {
    let server = Server::with_config(&with_deadline(faulty, "300ms", "300ms")).await;
    for protocol in [H1, H2] {
        let start = Instant::now();
        let answer = server.send(protocol, &Request::get("/hang")).await;
        answer.expect(504);
        assert!(start.elapsed() >= Duration::from_millis(600), "after {:?}", start.elapsed());
        let id = answer.header("x-request-id").unwrap();
        assert!(answer.text().contains(id), "{}", answer.text());
        server.log.line(&["request failed", "deadline", "app=\"app\"", id]).await;
        server.get("/ok").await.expect(200);
    }
}

async fn deaf_guest_of_a_client_that_left_is_stopped(faulty: &str) {
    let config = format!("[apps.app]\n{}[[routes]]\napp = 'app'\ngrace = '300ms'\n", places(faulty, 1));
    let server = Server::with_config(&config).await;
    let hanging = server.occupy(H1, "/hang", "/ok").await;
    drop(hanging.leave(ClientLeave::Close).await);
    eventually("the instance is free again", async || (server.get("/ok").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn deaf_guest_retires_its_instance_and_its_sibling_goes_on() {
    let server = Server::with_config(
        "[apps.longpoll]\ncomponent = '{longpoll}'\n\
         [apps.faulty]\ncomponent = '{faulty}'\ninstances.max = 1\n\
         [[routes]]\napp = 'faulty'\n\
         [[routes]]\napp = 'faulty'\npath = '/hang'\ndeadline = '300ms'\ngrace = '300ms'\n\
         [[routes]]\napp = 'longpoll'\npath = '/push'\n",
    )
    .await;
    // On a busy machine the first instance may be there later than a request waits for it.
    eventually("an instance", async || (server.get("/ok").await.status == 200).then_some(())).await;
    let mut sibling = server.park(H1, &Request::get("/take-hold/q")).await;
    server.get("/hang").await.expect(504);
    server.log.line(&["gets no more requests", "app=\"faulty\""]).await;
    // The retired instance takes nothing new, and is the only one that may be.
    let refused = server.get("/ok").await;
    refused.expect(503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.send(H1, &Request::post("/push/q", "precious")).await.expect(202);
    assert_eq!(sibling.head().await.status, 200);
    assert_eq!(sibling.chunk().await.unwrap().unwrap(), "prec");
    drop(sibling.leave(ClientLeave::Close).await);
    // With its last request it goes, and another can come.
    eventually("another instance", async || (server.get("/ok").await.status == 200).then_some(())).await;
}

fn with_deadline(component: &str, deadline: &str, grace: &str) -> String {
    format!(
        "[apps.app]\ncomponent = '{{{component}}}'\n[[routes]]\napp = 'app'\n\
         [[routes]]\napp = 'app'\npath = '/park'\ndeadline = '{deadline}'\ngrace = '{grace}'\n\
         [[routes]]\napp = 'app'\npath = '/stream'\ndeadline = '{deadline}'\ngrace = '{grace}'\n\
         [[routes]]\napp = 'app'\npath = '/hang'\ndeadline = '{deadline}'\ngrace = '{grace}'\n"
    )
}
