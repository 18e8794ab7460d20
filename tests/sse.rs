//! The example `sse`: event streams as `EventSource` has them.

use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{H1, H2};
use crate::harness::{Open, Protocol, Request, Server, eventually, soon};

macro_rules! each_protocol {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            use crate::harness::{H1, H2};

            #[tokio::test]
            async fn http1() {
                super::$test(H1).await;
            }

            #[tokio::test]
            async fn http2() {
                super::$test(H2).await;
            }
        }
    )* };
}

each_protocol!(
    stream_has_every_event_with_its_cursor,
    stream_goes_on_after_the_last_event_id,
    idle_stream_opens_at_once,
    stream_tells_what_was_missed,
    stopping_server_ends_the_stream_in_order,
    stream_of_who_left_makes_room,
);

/// What has come of a stream.
struct SseStream {
    open: Open,
    text: String,
}

impl SseStream {
    async fn open(server: &Server, protocol: Protocol, request: &Request) -> Self {
        let mut open = server.open(protocol, request).await;
        let head = open.head().await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        Self { open, text: String::new() }
    }

    /// Reads until the text has this.
    async fn has(&mut self, part: &str) {
        soon("a part of the stream", async {
            while !self.text.contains(part) {
                let chunk = self.open.chunk().await.unwrap().expect("the stream goes on");
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        })
        .await;
    }
}

async fn publish(server: &Server, data: &str) -> String {
    let request = Request::post("/publish/t", data.to_owned());
    server.send(H1, &request).await.expect(202).trim_end().to_owned()
}

async fn stream_has_every_event_with_its_cursor(protocol: Protocol) {
    let server = Server::start("sse").await;
    let one = publish(&server, "one").await;
    let mut stream = SseStream::open(&server, protocol, &Request::get("/events/t")).await;
    stream.has(&format!("id: {one}\ndata: one\n\n")).await;
    assert!(stream.text.starts_with("retry: 1000\n"), "{}", stream.text);
    let two = publish(&server, "two\r\nlines\rand\n").await;
    stream.has(&format!("id: {two}\ndata: two\ndata: lines\ndata: and\ndata: \n\n")).await;
}

async fn stream_goes_on_after_the_last_event_id(protocol: Protocol) {
    let server = Server::start("sse").await;
    let one = publish(&server, "one").await;
    publish(&server, "two").await;
    // The header says where an `EventSource` was when it lost its connection.
    let request = Request::get("/events/t?after=now").header("last-event-id", &one);
    let mut stream = SseStream::open(&server, protocol, &request).await;
    stream.has("data: two").await;
    publish(&server, "three").await;
    stream.has("data: three").await;
    assert!(!stream.text.contains("one") && !stream.text.contains("missed"), "{}", stream.text);
}

async fn idle_stream_opens_at_once(protocol: Protocol) {
    let server = Server::start("sse").await;
    let mut stream = SseStream::open(&server, protocol, &Request::get("/events/t?after=now")).await;
    stream.has("retry: 1000\n").await;
    // By then it knows where it began.
    publish(&server, "one").await;
    stream.has("data: one").await;
}

async fn stream_tells_what_was_missed(protocol: Protocol) {
    let server = Server::with_config("[topics]\nkeep_events = 1\n[apps.sse]\ncomponent = '{sse}'\n").await;
    let first = publish(&server, "0").await;
    for number in 1..5 {
        publish(&server, &number.to_string()).await;
    }
    for (last, missed) in [(first.as_str(), "3"), ("00000001-1", "unknown"), ("nonsense", "unknown")] {
        let request = Request::get("/events/t").header("last-event-id", last);
        let mut stream = SseStream::open(&server, protocol, &request).await;
        stream.has("data: 4\n\n").await;
        assert!(
            stream.text.contains(&format!("event: missed\ndata: {missed}\n\n")),
            "{last}: {}",
            stream.text
        );
    }
}

async fn stopping_server_ends_the_stream_in_order(protocol: Protocol) {
    let mut server = Server::start("sse").await;
    let mut stream = SseStream::open(&server, protocol, &Request::get("/events/t")).await;
    publish(&server, "one").await;
    stream.has("data: one").await;
    server.signal(Signal::TERM);
    soon("the end of the stream", async { while stream.open.chunk().await.unwrap().is_some() {} }).await;
    drop(stream);
    assert!(server.exit().await.success());
}

async fn stream_of_who_left_makes_room(protocol: Protocol) {
    let server = Server::with_config("[topics]\nmax_waiters = 1\n[apps.sse]\ncomponent = '{sse}'\n").await;
    let stream = SseStream::open(&server, protocol, &Request::get("/events/t")).await;
    drop(stream);
    eventually("there is room", async || {
        // A stream without room breaks off, after its head or before.
        let mut next = server.open(H2, &Request::get("/events/t")).await;
        tokio::time::timeout(Duration::from_millis(100), next.try_answer()).await.is_err().then_some(())
    })
    .await;
}
