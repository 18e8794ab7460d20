//! Clients that stop to read an answer, or read it slowly.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{ADMIN_TCP, Http1, Request, Server, both, eventually};

both!("longpoll", "longpoll-p2":
    event_of_a_stalled_reader_returns_and_never_arrives,
    event_of_a_stalled_reader_of_a_unix_socket_returns,
    slow_reader_gets_its_event_and_nobody_else_does,
);

/// The shortest bound that there is.
const GRACE: &str = "[detection]\nclient_timeout = '6s'\n";

/// More than the buffers of a client that reads nothing, and less than those of the server's kernel.
const LARGE: usize = 400_000;

/// How long a test waits for what takes the grace, what a reader may have in its buffers, and a busy machine.
const WAIT: &str = "/poll/q?wait=50";

async fn push(server: &Server) {
    let event = Request::post("/push/q", vec![b'x'; LARGE]);
    Http1::connect(server.address()).await.ask(&event).await.expect(202);
}

/// It comes again, flagged.
async fn returned(server: &Server) {
    let answer = server.get(WAIT).await;
    assert_eq!(answer.status, 200, "the event is away");
    assert_eq!(answer.body.len(), LARGE);
    assert_eq!(answer.header("maybe-delivered"), Some("true"));
}

/// How much arrives until the end, and whether the connection was reset.
async fn rest_of(mut stream: impl tokio::io::AsyncRead + Unpin) -> (usize, bool) {
    let mut arrived = Vec::new();
    let reset = stream.read_to_end(&mut arrived).await.is_err();
    (arrived.len(), reset)
}

async fn event_of_a_stalled_reader_returns_and_never_arrives(longpoll: &str) {
    let config = format!("{GRACE}min_read_rate = '1MiB'\n[apps.app]\ncomponent = '{{{longpoll}}}'\n");
    let server = Server::with_config_and_access_log(&config).await;
    let stalled = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
    push(&server).await;
    stalled.arrived(1000).await;
    returned(&server).await;
    server.log.line(&["/poll/q", "after the last byte"]).await;
    let (read, _) = rest_of(stalled.into_stream()).await;
    assert!(read < LARGE, "it got what another was given");
}

async fn event_of_a_stalled_reader_of_a_unix_socket_returns(longpoll: &str) {
    let config = format!(
        "{GRACE}min_read_rate = '1MiB'\n[[listeners]]\naddress = '127.0.0.1:0'\n\
         [[listeners]]\naddress = 'unix:app.sock'\n[apps.app]\ncomponent = '{{{longpoll}}}'\n"
    );
    let server = Server::with_config(&config).await;
    let mut stalled = Http1::at(&server.folder().join("app.sock")).await;
    stalled.send_request(&Request::get("/poll/q?wait=60")).await;
    push(&server).await;
    // It has the event before another asks for it.
    stalled.arrived(1000).await;
    returned(&server).await;
}

fn is_whole(read: &[u8]) -> bool {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    head.is_some_and(|head| read.len() == head + 4 + LARGE)
}

/// The kernel of a client that reads this slowly keeps its window closed for longer than `client_timeout`.
async fn slow_reader_gets_its_event_and_nobody_else_does(longpoll: &str) {
    const PIECE: usize = 2_000;
    let config = format!("{GRACE}confirm_window = '20s'\n[apps.app]\ncomponent = '{{{longpoll}}}'\n");
    let server = Server::with_config(&config).await;
    let slow = Http1::open(server.address(), &Request::get("/poll/q?wait=60")).await;
    push(&server).await;
    slow.arrived(1000).await;
    let mut stream = slow.into_stream();
    let (mut read, start) = (Vec::new(), Instant::now());
    let mut piece = [0; PIECE];
    // 10,000 bytes a second for as long as it takes to see that it is kept, then the rest.
    while !is_whole(&read) {
        if start.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "it was cut after {} bytes", read.len());
        read.extend_from_slice(&piece[..count]);
    }
    drop(stream);
    Http1::connect(server.address()).await.ask(&Request::get("/poll/q?wait=1")).await.expect(204);
}

/// One whose answer the server has whole.
#[tokio::test]
async fn deadline_ends_an_answer_that_is_not_read() {
    const SIZE: usize = 32 * 1024 * 1024;
    let server = Server::with_config(&format!(
        "{ADMIN_TCP}[apps.app]\ncomponent = '{{whole}}'\ninstances.max_memory = '256MiB'\n\
         [[routes]]\napp = 'app'\ndeadline = '2s'\ngrace = '1s'\n"
    ))
    .await;
    let mut admin = Http1::connect(server.admin_address().await).await;
    let mut is_listed =
        async || admin.ask(&Request::get("/requests").host("localhost")).await.expect(200).contains("/large");
    let stalled = Http1::open(server.address(), &Request::get(&format!("/large?{SIZE}"))).await;
    stalled.arrived(1000).await;
    assert!(is_listed().await, "it is no more in the list");
    eventually("it is given up", async || (!is_listed().await).then_some(())).await;
    let (read, reset) = rest_of(stalled.into_stream()).await;
    assert!(reset && read < SIZE, "{read} bytes, reset: {reset}");
}

/// Whoever sends little needs not be read fast.
#[tokio::test]
async fn stream_of_small_events_is_no_slow_reader() {
    let server =
        Server::with_config(&format!("{GRACE}min_read_rate = '1MiB'\n[apps.app]\ncomponent = '{{echo}}'\n"))
            .await;
    let mut client = Http1::over(TcpStream::connect(server.address()).await.unwrap());
    client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let start = Instant::now();
    client.send("3\r\none\r\n").await;
    client.head().await;
    client.chunk().await.unwrap().unwrap();
    while start.elapsed() < Duration::from_secs(9) {
        client.send("3\r\none\r\n").await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), "one");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
