//! HTTP at its edges: what clients send that they should not, and what the limits do.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{ABSENCE, ClientLeave, H1, H2, Http1, Http2, Request, Server, eventually, soon};

const HELLO: &str = "Hello, world!\n";

#[tokio::test]
async fn malformed_requests_are_400_and_the_server_goes_on() {
    let mut server = Server::start("hello").await;
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nbad\0name: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nx: \0\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n",
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(bytes).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{bytes:?}");
        client.closed().await;
    }
    server.assert_running();
    assert_eq!(server.get("/").await.expect(200), HELLO);
}

#[tokio::test]
async fn broken_http2_closes_its_connection_only() {
    let mut server = Server::start("hello").await;
    let mut well = Http2::connect(server.address()).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for frames in [
        &b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0"[..],
        b"\0\0\x01\x01\x05\0\0\0\x01\xff",
        b"GET / HTTP/1.1\r\n",
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(preface).await;
        client.send(frames).await;
        client.closed().await;
    }
    assert_eq!(well.ask(&Request::get("/")).await.expect(200), HELLO);
    server.assert_running();
}

#[tokio::test]
async fn first_bytes_may_come_in_pieces() {
    const SETTINGS: u8 = 4;
    let server = Server::start("hello").await;
    let mut client = TcpStream::connect(server.address()).await.unwrap();
    client.write_all(b"PRI * HT").await.unwrap();
    server.get("/").await.expect(200);
    client.write_all(b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    soon("a frame of HTTP/2", client.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], SETTINGS);
    let mut client = Http1::connect(server.address()).await;
    client.send("P").await;
    server.get("/").await.expect(200);
    client.send("UT / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.expect(200), HELLO);
}

#[tokio::test]
async fn bytes_that_end_early_end_the_connection() {
    let mut server = Server::start("hello").await;
    for part in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        for reset in [false, true] {
            let mut client = Http1::connect(server.address()).await;
            client.send(part).await;
            if reset {
                client.reset();
            }
        }
    }
    assert_eq!(server.get("/").await.expect(200), HELLO);
    server.assert_running();
}

#[tokio::test]
async fn too_large_head_is_431() {
    let server =
        Server::with_config("[limits]\nmax_head_size = '8KiB'\n[apps.hello]\ncomponent = '{hello}'\n").await;
    let fits = Request::get("/").header("x-long", &"x".repeat(7_000));
    let beyond = Request::get("/").header("x-long", &"x".repeat(9_000));
    assert_eq!(server.send(H1, &fits).await.expect(200), HELLO);
    assert_eq!(server.send(H1, &beyond).await.status, 431);
    assert_eq!(server.send(H2, &fits).await.expect(200), HELLO);
    assert_eq!(server.send(H2, &beyond).await.status, 431);
    let mut client = Http1::connect(server.address()).await;
    client.send(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9_000))).await;
    let status = client.answer().await.status;
    assert!(status == 431 || status == 414, "{status}");
}

#[tokio::test]
async fn host_header_is_required_once() {
    let server = Server::start("hello").await;
    for (hosts, status) in [
        ("", 400),
        ("host: a\r\nhost: b\r\n", 400),
        ("host: a b\r\n", 400),
        ("host: a\r\n", 200),
        ("HOST: a:80\r\n", 200),
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{hosts:?}");
        if status == 400 {
            assert!(answer.text().contains("host"), "{}", answer.text());
        }
    }
    let mut client = Http1::connect(server.address()).await;
    client.send("GET http://elsewhere/?name=you HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.expect(200), "Hello, you!\n");
}

#[tokio::test]
async fn old_http_is_answered_and_closed() {
    let server = Server::start("hello").await;
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /?name=you HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.expect(200), "Hello, you!\n");
    client.closed().await;
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.expect(200), HELLO);
        // It knows no chunks.
        assert_eq!(answer.header("transfer-encoding"), None);
        if answer.header("connection") != Some("keep-alive") {
            return client.closed().await;
        }
    }
}

#[tokio::test]
async fn connection_is_kept_until_the_client_asks_to_close() {
    let server = Server::start("hello").await;
    let mut client = Http1::connect(server.address()).await;
    for _ in 0..10 {
        assert_eq!(client.ask(&Request::get("/")).await.expect(200), HELLO);
    }
    let last = client.ask(&Request::get("/").header("connection", "close")).await;
    assert_eq!(last.expect(200), HELLO);
    client.closed().await;
    assert_eq!(client.unread(), b"");
}

#[tokio::test]
async fn client_that_asks_for_leave_is_told_to_send() {
    for component in ["longpoll", "longpoll-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        let head = "POST /push/q HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        client.send(head).await;
        assert_eq!(client.head().await.status, 100, "{component}");
        client.send("hello").await;
        client.answer().await.expect(202);
        assert_eq!(server.get("/poll/q?wait=30").await.expect(200), "hello");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    for component in ["longpoll", "longpoll-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        let post = "POST /push/q HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n";
        let poll = "GET /poll/q?wait=30 HTTP/1.1\r\nhost: x\r\n\r\n";
        client.send(format!("{post}a{post}b{poll}{poll}GET /x HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        client.answer().await.expect(202);
        client.answer().await.expect(202);
        assert_eq!(client.answer().await.expect(200), "a");
        assert_eq!(client.answer().await.expect(200), "b");
        client.answer().await.expect(404);
    }
}

#[tokio::test]
async fn request_sent_while_a_poll_is_parked_waits_for_it() {
    for component in ["longpoll", "longpoll-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        client.send_request(&Request::get("/poll/q?wait=60")).await;
        server.overtake().await;
        // More bytes are no sign that the client has left.
        client.send_request(&Request::get("/x")).await;
        server.overtake().await;
        server.send(H1, &Request::post("/push/q", "event")).await.expect(202);
        assert_eq!(client.answer().await.expect(200), "event");
        client.answer().await.expect(404);
    }
}

#[tokio::test]
async fn connection_beyond_the_limit_waits_for_its_turn() {
    let server =
        Server::with_config("[limits]\nmax_connections = 1\nmax_connections_per_client = 2\n[apps.hello]\ncomponent = '{hello}'\n").await;
    let mut first = Http1::connect(server.address()).await;
    assert_eq!(first.ask(&Request::get("/")).await.expect(200), HELLO);
    let mut second = Http1::open(server.address(), &Request::get("/?name=second")).await;
    let answered = tokio::time::timeout(ABSENCE, second.try_head()).await;
    assert!(answered.is_err(), "it was served beyond the limit: {answered:?}");
    assert_eq!(first.ask(&Request::get("/")).await.expect(200), HELLO);
    drop(first);
    assert_eq!(second.answer().await.expect(200), "Hello, second!\n");
}

#[tokio::test]
async fn request_beyond_the_limit_is_503() {
    for protocol in [H1, H2] {
        let server =
            Server::with_config("[limits]\nmax_requests = 1\n[apps.witness]\ncomponent = '{witness}'\n")
                .await;
        let mut stream = server.open(protocol, &Request::get("/stream/me")).await;
        assert_eq!(stream.head().await.status, 200);
        let refused = server.send(protocol, &Request::get("/instance")).await;
        refused.expect(503);
        assert_eq!(refused.header("retry-after"), Some("1"));
        drop(stream.leave(ClientLeave::Close).await);
        eventually("there is room again", async || {
            (server.get("/instance").await.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn head_that_takes_too_long_closes_the_connection() {
    let server =
        Server::with_config("[limits]\nhead_timeout = '300ms'\n[apps.longpoll]\ncomponent = '{longpoll}'\n")
            .await;
    for part in ["", "GET", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let start = Instant::now();
        let mut client = Http1::connect(server.address()).await;
        client.send(part).await;
        client.closed().await;
        assert!(start.elapsed() >= Duration::from_millis(250), "{part:?}: after {:?}", start.elapsed());
    }
    // One who waits for an answer is not meant.
    let answer = server.get("/poll/q?wait=1").await;
    answer.expect(204);
    let mut client = Http2::connect(server.address()).await;
    client.ask(&Request::get("/poll/q?wait=1")).await.expect(204);
}

#[tokio::test]
async fn ended_connections_leave_no_descriptors() {
    for component in ["longpoll", "longpoll-p2"] {
        let server = Server::start(component).await;
        server.overtake().await;
        let before = server.descriptors();
        for _ in 0..2 {
            let mut polls = Vec::new();
            for number in 0..100 {
                let protocol = if number % 2 == 0 { H1 } else { H2 };
                polls.push(server.open(protocol, &Request::get("/poll/q?wait=60")).await);
            }
            server.overtake().await;
            for (number, poll) in polls.into_iter().enumerate() {
                let how = if number % 3 == 0 { ClientLeave::Reset } else { ClientLeave::Close };
                drop(poll.leave(how).await);
            }
        }
        // A few for what the runtime keeps.
        eventually(
            &format!("{component}: the connections are closed, beside the {before} before"),
            async || (server.descriptors() <= before + 5).then_some(()),
        )
        .await;
    }
}

#[tokio::test]
async fn unusual_methods_reach_the_guest() {
    for component in ["echo", "echo-p2"] {
        let server = Server::start(component).await;
        for protocol in [H1, H2] {
            for method in [Method::OPTIONS, Method::PATCH, Method::DELETE, "BREW".parse().unwrap()] {
                let answer = server.send(protocol, &Request::new(method.clone(), "/")).await;
                assert_eq!(answer.header("x-method"), Some(method.as_str()), "{component} {protocol:?}");
            }
        }
    }
}
