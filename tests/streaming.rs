//! Bodies in both directions at once: in order, with their trailers, and no faster than they are read.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;

use crate::harness::{ABSENCE, H1, Http1, Http2, Protocol, Request, SOON, Server, both, combinations};

combinations!("echo", "echo-p2":
    body_of_any_size_comes_back,
    chunk_comes_back_before_the_next_is_sent,
    trailers_come_back,
    head_has_no_body,
);

both!("echo", "echo-p2":
    chunked_request_comes_back_whole,
    client_that_stops_reading_http1_stops_the_flow,
    client_that_stops_reading_http2_stops_the_flow,
);

combinations!("longpoll", "longpoll-p2": no_content_leaves_the_connection_usable);

fn byte_at(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap()
}

/// Bytes that differ from place to place, so that what is lost or doubled is seen.
fn pattern(length: usize) -> Bytes {
    (0..length).map(byte_at).collect()
}

async fn body_of_any_size_comes_back(server: Server, protocol: Protocol) {
    for size in [0, 1, 1000, 65_536, 65_537, 5_000_000] {
        let data = pattern(size);
        // Both ways at once: a server that reads all before it writes would do too, up to the windows.
        let request = Request::post("/", data.clone()).header("content-type", "a/b");
        let answer = match protocol {
            Protocol::Http1 => {
                let (reading, mut writing) = Http1::connect(server.address()).await.split();
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: a/b\r\ncontent-length: {size}\r\n\r\n"
                );
                let mut reading = reading;
                let write = async {
                    writing.write_all(head.as_bytes()).await.unwrap();
                    writing.write_all(&data).await.unwrap();
                };
                tokio::join!(write, reading.answer()).1
            }
            Protocol::Http2 => {
                let mut client = Http2::connect(server.address()).await;
                let mut stream = client.start(&request, size == 0).await;
                let (sending, receiving) = stream.split();
                let send = async {
                    if size > 0 {
                        sending.data(&data, true).await;
                    }
                };
                tokio::join!(send, receiving.answer()).1
            }
        };
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-method"), Some("POST"));
        assert_eq!(answer.header("content-type"), Some("a/b"));
        assert!(answer.body == data, "{size} bytes became others: {}", answer.body.len());
    }
}

async fn chunk_comes_back_before_the_next_is_sent(server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
            client.head().await;
            assert_eq!(client.chunk().await.unwrap().unwrap(), "one");
            for number in 100..150 {
                client.send(format!("3\r\n{number}\r\n")).await;
                assert_eq!(client.chunk().await.unwrap().unwrap(), number.to_string());
            }
            client.send("0\r\n\r\n").await;
            assert_eq!(client.rest().await.unwrap().0, "");
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/", ""), false).await;
            let (sending, receiving) = stream.split();
            sending.data(b"one", false).await;
            receiving.head().await;
            assert_eq!(receiving.chunk().await.unwrap().unwrap(), "one");
            for number in 100..150 {
                sending.data(number.to_string().as_bytes(), false).await;
                assert_eq!(receiving.chunk().await.unwrap().unwrap(), number.to_string());
            }
            sending.data(b"end", true).await;
            assert_eq!(receiving.rest().await.unwrap().0, "end");
        }
    }
}

async fn trailers_come_back(server: Server, protocol: Protocol) {
    let answer = match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            let head = "POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntransfer-encoding: chunked\r\n";
            client.send(format!("{head}trailer: x-sum, x-more\r\n\r\n5\r\nhello\r\n")).await;
            client.send("0\r\nx-sum: 42\r\nx-more: yes\r\n\r\n").await;
            client.answer().await
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            let mut stream = client.start(&Request::post("/", "").header("te", "trailers"), false).await;
            let (sending, receiving) = stream.split();
            sending.data(b"hello", false).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("42"));
            trailers.insert("x-more", HeaderValue::from_static("yes"));
            sending.trailers(trailers);
            receiving.answer().await
        }
    };
    assert_eq!(answer.expect(200), "hello");
    assert_eq!(answer.trailers.get("x-sum").unwrap(), "42");
    assert_eq!(answer.trailers.get("x-more").unwrap(), "yes");
}

async fn head_has_no_body(server: Server, protocol: Protocol) {
    let answer = server.send(protocol, &Request::new(Method::HEAD, "/")).await;
    assert_eq!(answer.expect(200), "");
    assert_eq!(answer.header("x-method"), Some("HEAD"));
    if protocol == H1 {
        // Nor does anything follow that could be taken for the next answer.
        let mut client = Http1::connect(server.address()).await;
        for _ in 0..3 {
            assert_eq!(client.ask(&Request::new(Method::HEAD, "/")).await.header("x-method"), Some("HEAD"));
            assert_eq!(client.ask(&Request::post("/", "x")).await.expect(200), "x");
        }
    }
}

async fn no_content_leaves_the_connection_usable(server: Server, protocol: Protocol) {
    match protocol {
        Protocol::Http1 => {
            let mut client = Http1::connect(server.address()).await;
            for _ in 0..3 {
                let answer = client.ask(&Request::get("/poll/q?wait=0")).await;
                answer.expect(204);
                assert_eq!(answer.header("transfer-encoding"), None);
                client.ask(&Request::get("/nothing")).await.expect(404);
            }
        }
        Protocol::Http2 => {
            let mut client = Http2::connect(server.address()).await;
            for _ in 0..3 {
                client.ask(&Request::get("/poll/q?wait=0")).await.expect(204);
                client.ask(&Request::get("/nothing")).await.expect(404);
            }
        }
    }
}

async fn chunked_request_comes_back_whole(echo: &str) {
    let server = Server::start(echo).await;
    let mut client = Http1::connect(server.address()).await;
    client.send("PUT /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    // In pieces that end anywhere.
    for piece in ["5;x=y\r\nhel", "lo\r\n1", "0\r\n0123456789abc", "def\r\n0\r\n", "\r\n"] {
        client.send(piece).await;
    }
    let answer = client.answer().await;
    assert_eq!(answer.expect(200), "hello0123456789abcdef");
    assert_eq!(answer.header("x-method"), Some("PUT"));
}

/// More than all buffers on the way can hold, and more than the server may grow by.
const LARGE: usize = 64 * 1024 * 1024;
const GROWTH: u64 = 24 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;

async fn client_that_stops_reading_http1_stops_the_flow(echo: &str) {
    let server = Server::start(echo).await;
    let before = warm_memory(&server).await;
    let (mut reading, mut writing) = Http1::connect(server.address()).await.split();
    writing
        .write_all(format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let sent = AtomicUsize::new(0);
    let write = send_large(&mut writing, &sent);
    let read = async {
        standstill(&sent).await;
        assert_bounded(&server, before);
        reading.head().await;
        let mut received = 0;
        while let Some(chunk) = reading.chunk().await.unwrap() {
            check(&chunk, &mut received);
        }
        received
    };
    let ((), received) = tokio::join!(write, read);
    assert_eq!(received, LARGE);
    assert_bounded(&server, before);
}

async fn send_large(writing: &mut OwnedWriteHalf, sent: &AtomicUsize) {
    for place in (0..LARGE).step_by(CHUNK) {
        writing.write_all(&chunk_at(place)).await.unwrap();
        sent.store(place + CHUNK, Ordering::Relaxed);
    }
}

async fn client_that_stops_reading_http2_stops_the_flow(echo: &str) {
    let server = Server::start(echo).await;
    let before = warm_memory(&server).await;
    let mut client = Http2::connect(server.address()).await;
    let mut stream = client.start(&Request::post("/", ""), false).await;
    let (sending, receiving) = stream.split();
    let sent = AtomicUsize::new(0);
    let write = async {
        for place in (0..LARGE).step_by(CHUNK) {
            sending.patient_data(&chunk_at(place), place + CHUNK == LARGE).await;
            sent.store(place + CHUNK, Ordering::Relaxed);
        }
    };
    let read = async {
        standstill(&sent).await;
        assert_bounded(&server, before);
        receiving.head().await;
        let mut received = 0;
        while let Some(chunk) = receiving.chunk().await.unwrap() {
            check(&chunk, &mut received);
        }
        received
    };
    let ((), received) = tokio::join!(write, read);
    assert_eq!(received, LARGE);
    assert_bounded(&server, before);
}

/// The memory of a server that has served before.
async fn warm_memory(server: &Server) -> u64 {
    for _ in 0..4 {
        server.send(H1, &Request::post("/", "warm")).await.expect(200);
    }
    server.memory()
}

fn chunk_at(place: usize) -> Bytes {
    (place..place + CHUNK).map(byte_at).collect()
}

#[track_caller]
fn check(chunk: &[u8], received: &mut usize) {
    let wrong = chunk.iter().zip(*received..).find(|&(&byte, place)| byte != byte_at(place));
    assert_eq!(wrong, None, "another byte came back");
    *received += chunk.len();
}

/// Waits until nothing more can be sent, though not all has been.
async fn standstill(sent: &AtomicUsize) {
    let start = tokio::time::Instant::now();
    let mut last = 0;
    loop {
        tokio::time::sleep(2 * ABSENCE).await;
        let now = sent.load(Ordering::Relaxed);
        assert!(now < LARGE, "all was sent, though nobody reads");
        if now == last && now > 0 {
            return;
        }
        last = now;
        assert!(start.elapsed() < SOON, "it never stands still");
    }
}

#[track_caller]
fn assert_bounded(server: &Server, before: u64) {
    let now = server.memory();
    assert!(now < before + GROWTH, "from {before} bytes of memory to {now}");
}
