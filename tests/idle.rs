//! How long connections are waited for: until a head has ended, and until a next one begins.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{Certificate, Http1, Http2, Protocol, Request, Server, crossed, soon};

crossed!("longpoll", "longpoll-p2": request_in_progress_is_not_idle);

/// Both are far from the other, so that a slow machine is on the right side of each.
const SHORT: Duration = Duration::from_secs(1);

const DEBUG: &str = "info,linger_http=debug";

async fn serve(limits: &str) -> Server {
    let config = format!("[limits]\n{limits}\n[apps.app]\ncomponent = '{{hello}}'\n");
    Server::with_config_and_log(&config, DEBUG).await
}

const IDLE: &str = "idle_timeout = '1s'\nhead_timeout = '1h'";
const HEAD: &str = "idle_timeout = '1h'\nhead_timeout = '1s'";

#[tokio::test]
async fn kept_connection_is_closed_when_it_was_idle() {
    let server = serve(IDLE).await;
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..2 {
        client.ask(&Request::get("/")).await.expect(200);
        sleep(SHORT / 4).await;
    }
    let start = Instant::now();
    client.ended().await;
    assert!(start.elapsed() >= SHORT / 2, "after {:?}", start.elapsed());
    server.log.line(&["DEBUG", "it was idle for 1s"]).await;
}

#[tokio::test]
async fn idle_connection_of_http2_is_closed() {
    let server = serve(IDLE).await;
    let mut client = Http2::connect(server.address()).await;
    client.ask(&Request::get("/")).await.expect(200);
    client.closed().await;
}

#[tokio::test]
async fn kept_connection_outlives_the_time_for_a_head() {
    let server = serve(HEAD).await;
    let mut client = Http1::connect(server.address()).await;
    let mut other = Http2::connect(server.address()).await;
    for _ in 0..2 {
        client.ask(&Request::get("/")).await.expect(200);
        other.ask(&Request::get("/")).await.expect(200);
        sleep(SHORT * 3 / 2).await;
    }
    client.ask(&Request::get("/")).await.expect(200);
    other.ask(&Request::get("/")).await.expect(200);
}

/// Sends a byte now and then, until the server does not take more. Gives how long that went on.
async fn dribble(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let (mut read, mut write) = stream.split();
    let dribbling = async {
        write.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.ok();
        while write.write_all(b"x").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    let ended = async {
        let mut answer = Vec::new();
        // It may be a reset, for it goes on to send.
        read.read_to_end(&mut answer).await.ok();
        assert_eq!(answer, b"", "half a head has no answer");
    };
    tokio::select! {
        () = soon("the end", dribbling) => {}
        () = soon("the end", ended) => {}
    }
    start.elapsed()
}

#[tokio::test]
async fn head_that_goes_on_and_on_ends_the_connection() {
    let server = serve(HEAD).await;
    let took = dribble(TcpStream::connect(server.address()).await.unwrap()).await;
    assert!(took >= SHORT / 2, "{took:?}");
    server.log.line(&["DEBUG", "a request head took longer than 1s"]).await;
}

#[tokio::test]
async fn next_head_that_goes_on_and_on_ends_the_connection() {
    let server = serve(HEAD).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 16];
    soon("the answer", stream.read_exact(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    // The rest of it, which is there by then.
    sleep(SHORT * 3 / 2).await;
    let mut rest = vec![0; 4096];
    soon("the rest", stream.read(&mut rest)).await.unwrap();
    let took = dribble(stream).await;
    assert!(took >= SHORT / 2, "its time begins with its first byte, not before: {took:?}");
    server.log.line(&["DEBUG", "a request head took longer than 1s"]).await;
}

#[tokio::test]
async fn handshake_has_the_time_of_a_head() {
    let certificate = Certificate::new();
    let server = Server::with_config(&format!(
        "[limits]\n{HEAD}\n[[listeners]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = '{}', key = '{}' }}\n\
         [apps.app]\ncomponent = '{{hello}}'\n",
        certificate.file().display(),
        certificate.key().display()
    ))
    .await;
    // Nothing, and half a record.
    for part in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let start = Instant::now();
        let mut client = Http1::connect(server.address()).await;
        client.send(part).await;
        client.closed().await;
        assert!(start.elapsed() >= SHORT / 2, "after {:?}", start.elapsed());
    }
}

async fn request_in_progress_is_not_idle(component: &str, protocol: Protocol) {
    let limits = "idle_timeout = '500ms'\nhead_timeout = '500ms'";
    let config = format!("[limits]\n{limits}\n[apps.app]\ncomponent = '{{{component}}}'\n");
    let server = Server::with_config(&config).await;
    server.send(protocol, &Request::get("/poll/q?wait=2")).await.expect(204);
    // The same on one connection, where bytes of a next request are there before it can be read.
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /poll/q?wait=2 HTTP/1.1\r\nhost: x\r\n\r\nGET /x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await.expect(204);
    client.answer().await.expect(404);
}

/// Asks again when the server is about to close: it is answered, or sees the end, and neither a reset nor half an answer.
async fn ask_again(server: std::net::SocketAddr, after: Duration) -> &'static str {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = vec![0; 4096];
    stream.write_all(request).await.unwrap();
    assert!(soon("an answer", stream.read(&mut answer)).await.unwrap() > 0);
    sleep(after).await;
    if stream.try_read(&mut answer).is_ok_and(|count| count == 0) {
        return "closed before";
    }
    stream.write_all(request).await.unwrap();
    match soon("an answer, or the end", stream.read(&mut answer)).await {
        Ok(0) => "closed",
        Ok(count) if answer[..count].starts_with(b"HTTP/1.1 200") => "answered",
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn request_at_the_last_moment_is_answered_or_sees_the_end() {
    let server = serve(IDLE).await;
    let mut clients = JoinSet::new();
    for number in 0..300_u32 {
        let after = SHORT.saturating_sub(Duration::from_millis(15)) + Duration::from_micros(100) * number;
        clients.spawn(ask_again(server.address(), after));
    }
    let mut counts = std::collections::BTreeMap::<_, usize>::new();
    while let Some(ended) = clients.join_next().await {
        *counts.entry(ended.unwrap()).or_default() += 1;
    }
    println!("{counts:?}");
    // While the end is on its way to a client, it can send: that is a moment.
    assert!(counts.get("closed").copied().unwrap_or_default() <= 30, "{counts:?}");
}
