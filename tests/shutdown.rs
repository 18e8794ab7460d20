//! The server stops: nobody is left hanging, and neither is the process.

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{
    ABSENCE, H1, Http1, Http2, Open, Protocol, Request, Server, both, combinations, crossed, eventually,
    places,
};

crossed!("longpoll", "longpoll-p2":
    shutdown_answers_parked_polls_with_503,
    interrupt_stops_as_well,
);

combinations!("longpoll", "longpoll-p2": shutdown_closes_idle_connections);

combinations!("echo", "echo-p2": running_request_ends_in_order_after_the_signal);

both!("faulty", "faulty-p2":
    deaf_guest_delays_the_exit_by_the_shutdown_timeout_only,
    second_signal_exits_at_once,
);

async fn shutdown_answers_parked_polls_with_503(component: &str, protocol: Protocol) {
    let mut server = Server::with_config(&format!("[apps.app]\n{}", places(component, 10))).await;
    let open = async |number| server.open(protocol, &Request::get(&format!("/poll/q{number}?wait=60"))).await;
    let polls = server.fill(10, "/nothing", open).await;
    server.signal(Signal::TERM);
    for poll in polls {
        let answer = Open::answer(poll).await;
        assert!(answer.expect(503).contains("stopping"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("0"));
    }
    assert_eq!(server.exit().await.code(), Some(0));
    server.log.line(&["INFO stopped"]).await;
}

async fn interrupt_stops_as_well(component: &str, protocol: Protocol) {
    let mut server = Server::with_config(&format!("[apps.app]\n{}", places(component, 1))).await;
    let poll = server.occupy(protocol, "/poll/q?wait=60", "/nothing").await;
    server.signal(Signal::INT);
    poll.answer().await.expect(503);
    assert_eq!(server.exit().await.code(), Some(0));
}

async fn shutdown_closes_idle_connections(mut server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut used = Http1::connect(server.address()).await;
            used.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
            server.signal(Signal::TERM);
            used.closed().await;
            assert_eq!(used.unread(), b"");
        }
        Protocol::Http2 => {
            let mut used = Http2::connect(server.address()).await;
            used.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
            server.signal(Signal::TERM);
            used.closed().await;
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn clients_that_have_said_nothing_do_not_delay_the_exit() {
    let config = "shutdown_timeout = '1h'\n[apps.app]\ncomponent = '{hello}'\n";
    let mut server = Server::with_config(config).await;
    let mut clients = Vec::new();
    for beginning in ["", "G", "PRI * HT"] {
        let mut client = Http1::connect(server.address()).await;
        client.send(beginning).await;
        clients.push(client);
    }
    server.get("/").await.expect(200);
    server.signal(Signal::TERM);
    for mut client in clients {
        client.closed().await;
    }
    assert_eq!(server.exit().await.code(), Some(0));
    server.log.line(&["INFO stopped"]).await;
}

async fn running_request_ends_in_order_after_the_signal(mut server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nfirst").await;
            client.head().await;
            assert_eq!(client.chunk().await.unwrap().unwrap(), "first");
            stop_accepting(&server).await;
            client.send("later").await;
            assert_eq!(client.rest().await.unwrap().0, "later");
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/", ""), false).await;
            let (sending, receiving) = stream.split();
            sending.data(b"first", false).await;
            receiving.head().await;
            assert_eq!(receiving.chunk().await.unwrap().unwrap(), "first");
            stop_accepting(&server).await;
            sending.data(b"later", true).await;
            assert_eq!(receiving.rest().await.unwrap().0, "later");
        }
    }
    assert_eq!(server.exit().await.code(), Some(0));
}

/// Sends the signal, and waits until new connections are refused.
async fn stop_accepting(server: &Server) {
    server.signal(Signal::TERM);
    eventually("connections are refused", async || TcpStream::connect(server.address()).await.err()).await;
}

async fn deaf_guest_delays_the_exit_by_the_shutdown_timeout_only(faulty: &str) {
    let mut server = Server::with_config(&config(faulty, "1s")).await;
    let hanging = server.occupy(H1, "/hang", "/ok").await;
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
    server.log.line(&["WARN", "before all requests and guests had ended"]).await;
    drop(hanging);
}

async fn second_signal_exits_at_once(faulty: &str) {
    let mut server = Server::with_config(&config(faulty, "1h")).await;
    let hanging = server.occupy(H1, "/hang", "/ok").await;
    server.signal(Signal::TERM);
    server.log.line(&["stopping; a second signal ends the process at once"]).await;
    tokio::time::sleep(ABSENCE).await;
    server.assert_running();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(130));
    drop(hanging);
}

/// Guests have an hour after a signal, so that only the server's own bounds end it.
fn config(faulty: &str, shutdown_timeout: &str) -> String {
    format!(
        "shutdown_timeout = '{shutdown_timeout}'\n[apps.app]\n{}[[routes]]\napp = 'app'\ngrace = '1h'\n",
        places(faulty, 1)
    )
}
