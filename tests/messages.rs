//! Requests as clients send them, right and wrong: what guests see of them, and what is answered to those that are none.

use crate::harness::{H1, H2, Http1, Http2, Protocol, Request, Server, both, combinations};

combinations!("faulty", "faulty-p2":
    pieces_of_a_cookie_are_one,
    names_that_could_be_taken_for_those_of_the_host_go,
);

combinations!("echo", "echo-p2": request_trailers_are_seen_apart);

both!("faulty", "faulty-p2":
    only_chunks_are_taken_off_a_body,
    connection_says_nothing_to_the_guest,
    length_beside_chunks_does_not_count,
);

both!("echo", "echo-p2": malformed_chunks_are_400_and_no_departure);

/// The lines of a header, as the guest sees them.
fn seen<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!("{name}: ");
    text.lines().filter_map(|line| line.strip_prefix(&start)).collect()
}

async fn pieces_of_a_cookie_are_one(server: Server, protocol: Protocol) {
    let request = Request::get("/see")
        .header("cookie", "a=1")
        .header("accept", "text/html")
        .header("cookie", "b=2; c=3")
        .header("accept", "*/*")
        .header("cookie", "d=4");
    let answer = server.send(protocol, &request).await;
    let text = answer.expect(200);
    assert_eq!(seen(text, "cookie"), ["a=1; b=2; c=3; d=4"], "{text}");
    assert_eq!(seen(text, "accept"), ["text/html", "*/*"], "{text}");
}

async fn names_that_could_be_taken_for_those_of_the_host_go(server: Server, protocol: Protocol) {
    let request = Request::get("/see")
        .header("x_forwarded_for", "1.1.1.1")
        .header("x-forwarded_proto", "https")
        .header("x_real_ip", "1.1.1.1")
        .header("api_key", "stays");
    let answer = server.send(protocol, &request).await;
    let text = answer.expect(200);
    assert!(!text.contains("1.1.1.1") && !text.contains("https"), "{text}");
    assert_eq!(seen(text, "api_key"), ["stays"]);
    assert_eq!(seen(text, "x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test]
async fn several_lines_of_a_header_are_one_for_the_sdk() {
    let server = Server::start("faulty").await;
    for protocol in [H1, H2] {
        let request = Request::get("/header/accept").header("accept", "text/html").header("accept", "*/*");
        assert_eq!(server.send(protocol, &request).await.expect(200), "text/html, */*");
    }
}

async fn only_chunks_are_taken_off_a_body(component: &str) {
    let server = Server::start(component).await;
    for (codings, status) in [
        ("transfer-encoding: chunked\r\n", 200),
        ("Transfer-Encoding: CHUNKED\r\n", 200),
        ("transfer-encoding: gzip, chunked\r\n", 501),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
        ("transfer-encoding: identity, chunked\r\n", 501),
        ("transfer-encoding: chunked, chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: chunked, gzip\r\n", 400),
        ("transfer-encoding: gzip\r\n", 400),
        ("transfer-encoding: chunked;q=1\r\n", 400),
        ("transfer-encoding: xchunked\r\n", 400),
        ("transfer-encoding: \"chunked\"\r\n", 400),
        ("transfer-encoding:\r\n", 400),
        ("content-length: 5, 5\r\n", 400),
        ("content-length: 5\r\ncontent-length: 6\r\n", 400),
        ("content-length: +5\r\n", 400),
        ("content-length: -0\r\n", 400),
        ("content-length: 0x5\r\n", 400),
        ("content-length: 18446744073709551616\r\n", 400),
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("POST /see HTTP/1.1\r\nhost: x\r\n{codings}\r\n5\r\nhello\r\n0\r\n\r\n")).await;
        let answer = client.answer().await;
        let text = answer.expect(status);
        assert!(answer.header("x-request-id").is_some(), "{codings}");
        assert!(!text.contains("transfer-encoding:"), "{text}");
    }
    let mut client = Http1::connect(server.address()).await;
    client.send("POST /see HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    client.closed().await;
}

async fn connection_says_nothing_to_the_guest(component: &str) {
    let server = Server::start(component).await;
    let mut client = Http1::connect(server.address()).await;
    client
        .send(
            "GET /see HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
             te: trailers, gzip\r\nupgrade: h2c\r\nproxy-connection: close\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    let text = answer.expect(200);
    for name in ["connection", "keep-alive", "upgrade", "proxy-connection", "host"] {
        assert!(seen(text, name).is_empty(), "{name}: {text}");
    }
    // It stays: a client must not have the host remove what others said of it.
    assert_eq!(seen(text, "x-hop"), ["1"]);
    // And the connection.
    client.ask(&Request::get("/see")).await.expect(200);
}

async fn length_beside_chunks_does_not_count(component: &str) {
    let server = Server::start(component).await;
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for fields in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
    ] {
        let mut client = Http1::connect(server.address()).await;
        let head = format!("POST /see HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
        client.send(format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = client.answer().await;
        assert!(seen(answer.expect(200), "content-length").is_empty(), "{}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"), "{fields}");
        client.closed().await;
        assert_eq!(client.unread(), b"");
    }
}

async fn malformed_chunks_are_400_and_no_departure(component: &str) {
    let server =
        Server::with_config_and_access_log(&format!("[apps.app]\ncomponent = '{{{component}}}'\n")).await;
    for chunks in [
        "zz\r\n",
        "5\r\nhello!!\r\n",
        "-1\r\n",
        "10000000000000000\r\n",
        "5;\0\n\r\n",
        "0\r\nno colon\r\n\r\n",
    ] {
        let mut client = Http1::connect(server.address()).await;
        client
            .send(format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
            .await;
        let answer = client.answer().await;
        assert!(answer.expect(400).contains("malformed"), "{chunks:?}: {}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"));
        client.closed().await;
        let id = format!("request={}", answer.header("x-request-id").unwrap());
        let line = server.log.line(&["POST / ", &id]).await;
        assert!(line.contains("400: failed") && !line.contains("disconnected"), "{line}");
    }
    // An answer that has begun breaks off, with what the guest has echoed of the body.
    let mut client = Http1::connect(server.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.unwrap().unwrap(), "hello");
    client.send("zz\r\n").await;
    assert!(client.rest().await.is_err(), "it was passed off as whole");
}

async fn request_trailers_are_seen_apart(server: Server, protocol: Protocol) {
    if protocol == H2 {
        let mut client = Http2::connect(server.address()).await;
        let request = Request::post("/", "x").header("content-type", "text/plain");
        let mut stream = client.start(&request, false).await;
        let (sending, receiving) = stream.split();
        sending.data(b"hello", false).await;
        sending.trailers([("x-sum".parse().unwrap(), "5".parse().unwrap())].into_iter().collect());
        let answer = receiving.answer().await;
        assert_eq!(answer.expect(200), "hello");
        assert_eq!(answer.trailers.get("x-sum").map(http::HeaderValue::as_bytes), Some(&b"5"[..]));
        return;
    }
    let mut client = Http1::connect(server.address()).await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\
             content-type: text/plain\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\nContent-Type: text/html\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.expect(200), "hello");
    assert_eq!(answer.header("content-type"), Some("text/plain"), "a trailer is no header");
    assert_eq!(answer.trailers.get("x-sum").map(http::HeaderValue::as_bytes), Some(&b"5"[..]));
}
