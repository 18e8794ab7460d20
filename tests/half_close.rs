//! Clients that close their direction of the connection: gone, or still reading.

use crate::harness::{ClientLeave, Http1, Open, Protocol, Request, Server, both};

both!("longpoll", "longpoll-p2":
    tolerant_listener_answers_a_half_closed_client,
    tolerant_listener_notices_a_close,
    tolerant_listener_notices_a_close_behind_a_pipelined_request,
    tolerant_listener_notices_a_reset,
    tolerant_listener_sends_old_clients_no_interim_response,
    tolerant_listener_takes_a_truncated_body_for_a_close,
    other_listener_takes_a_half_closed_client_for_gone,
);

async fn tolerant(component: &str) -> Server {
    Server::with_config(&format!(
        "[[listeners]]\naddress = '127.0.0.1:0'\neof = 'tolerant'\n[apps.app]\ncomponent = '{{{component}}}'\n"
    ))
    .await
}

async fn push(server: &Server, event: &str) {
    let request = Request::post("/push/q", event.to_owned());
    server.send(Protocol::Http1, &request).await.expect(202);
}

async fn next(server: &Server) -> String {
    server.get("/poll/q?wait=10").await.expect(200).to_owned()
}

fn poll() -> Request {
    Request::get("/poll/q?wait=60")
}

async fn tolerant_listener_answers_a_half_closed_client(longpoll: &str) {
    let server = tolerant(longpoll).await;
    for event in ["parked", "there before"] {
        if event != "parked" {
            push(&server, event).await;
        }
        let mut client = Http1::open(server.address(), &poll()).await;
        client.finish().await;
        if event == "parked" {
            // Whether it still reads is asked while it waits.
            assert_eq!(client.head().await.status, 100);
            push(&server, event).await;
        }
        let mut answer = client.answer().await;
        if answer.status == 100 {
            answer = client.answer().await;
        }
        assert_eq!(answer.expect(200), event);
        client.closed().await;
        assert_eq!(client.unread(), b"");
    }
    server.get("/poll/q?wait=2").await.expect(204);
}

async fn tolerant_listener_notices_a_close(longpoll: &str) {
    let server = tolerant(longpoll).await;
    for how in [ClientLeave::Close, ClientLeave::Reset] {
        let parked = server.park(Protocol::Http1, &poll()).await;
        drop(parked.leave(how).await);
        // Before there is an event to find it out with.
        server.log.line(&["/poll/q", " 499", how.reason(), "before the head"]).await;
        push(&server, "event").await;
        assert_eq!(next(&server).await, "event");
    }
}

async fn tolerant_listener_notices_a_close_behind_a_pipelined_request(longpoll: &str) {
    let server = tolerant(longpoll).await;
    let mut client = Http1::open(server.address(), &poll()).await;
    client.send_request(&poll()).await;
    server.overtake().await;
    drop(client);
    server.log.line(&["/poll/q", " 499", "closed", "before the head"]).await;
    push(&server, "event").await;
    assert_eq!(next(&server).await, "event");
}

async fn tolerant_listener_notices_a_reset(longpoll: &str) {
    let server = tolerant(longpoll).await;
    let mut client = Http1::open(server.address(), &poll()).await;
    client.finish().await;
    assert_eq!(client.head().await.status, 100);
    drop(Open::One(client).leave(ClientLeave::Reset).await);
    server.log.line(&["/poll/q", " 499", "before the head"]).await;
    push(&server, "event").await;
    assert_eq!(next(&server).await, "event");
}

async fn tolerant_listener_sends_old_clients_no_interim_response(longpoll: &str) {
    let server = tolerant(longpoll).await;
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /poll/q?wait=60 HTTP/1.0\r\n\r\n").await;
    client.finish().await;
    server.overtake().await;
    push(&server, "event").await;
    assert_eq!(client.answer().await.expect(200), "event");
}

async fn tolerant_listener_takes_a_truncated_body_for_a_close(longpoll: &str) {
    let server = tolerant(longpoll).await;
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /poll/q?wait=60 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.finish().await;
    server.log.line(&["/poll/q", " 499", "closed", "before the head"]).await;
    push(&server, "event").await;
    assert_eq!(next(&server).await, "event");
}

async fn other_listener_takes_a_half_closed_client_for_gone(longpoll: &str) {
    let server = Server::start(longpoll).await;
    let mut client = Http1::open(server.address(), &poll()).await;
    server.overtake().await;
    client.finish().await;
    server.log.line(&["/poll/q", " 499", "closed", "before the head"]).await;
    push(&server, "event").await;
    assert_eq!(next(&server).await, "event");
    client.closed().await;
    assert_eq!(client.unread(), b"", "nothing is sent to who is gone");
}
