//! What leaves: answers that guests get wrong, and those of the host itself.

use std::collections::HashSet;

use http::Method;

use crate::harness::{
    Answer, Certificate, H1, H2, Http1, Http2, Protocol, Request, Server, combinations, crossed,
};

combinations!("faulty", "faulty-p2":
    length_that_is_not_that_of_the_body_is_500,
    length_that_shows_late_breaks_the_answer_off,
    answer_that_breaks_off_at_once_is_500,
    status_that_is_none_is_500,
    answer_without_a_body_has_no_chunks,
    names_of_requests_are_those_of_the_host,
);

crossed!("faulty", "faulty-p2": answer_without_a_guest_is_named_and_logged);

async fn length_that_is_not_that_of_the_body_is_500(server: Server, protocol: Protocol) {
    for parts in ["10/3", "3/10", "10/3,3", "3/3,7", "1/0", "70000/35000,35001"] {
        let answer = server.send(protocol, &Request::get(&format!("/length/{parts}"))).await;
        assert!(answer.expect(500).contains("content-length"), "{parts}: {}", answer.text());
        let id = answer.header("x-request-id").unwrap();
        assert!(answer.text().contains(id), "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        server
            .log
            .line(&["request failed", "the guest's response is not valid", &format!("request={id}")])
            .await;
    }
    for (parts, length) in [("10/10", 10), ("10/3,7", 10), ("0/0", 0), ("70000/35000,35000", 70_000)] {
        let answer = server.send(protocol, &Request::get(&format!("/length/{parts}"))).await;
        assert_eq!(answer.expect(200).len(), length, "{parts}");
        assert_eq!(answer.header("content-length"), Some(&*length.to_string()), "{parts}");
    }
    // Whose body is not sent may say what another one's would be.
    let head = Request::new(Method::HEAD, "/length/10/0");
    let answer = server.send(protocol, &head).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-length")), (200, Some("10")));
}

async fn length_that_shows_late_breaks_the_answer_off(server: Server, protocol: Protocol) {
    for parts in ["10/3,3", "10/3,17"] {
        let mut open = server.open(protocol, &Request::get(&format!("/slow-length/{parts}"))).await;
        assert_eq!(open.head().await.status, 200, "{parts}");
        assert_eq!(open.chunk().await.unwrap().unwrap(), "xxx", "{parts}");
        let mut next = open.chunk().await;
        while let Ok(Some(_)) = next {
            next = open.chunk().await;
        }
        assert!(next.is_err(), "{parts}: it was passed off as whole");
    }
    let answer = server.send(protocol, &Request::get("/slow-length/10/3,7")).await;
    assert_eq!(answer.expect(200).len(), 10);
}

async fn answer_that_breaks_off_at_once_is_500(server: Server, protocol: Protocol) {
    let answer = server.send(protocol, &Request::get("/broken")).await;
    assert!(answer.expect(500).contains("cut off"), "{}", answer.text());
}

async fn status_that_is_none_is_500(server: Server, protocol: Protocol) {
    for status in [100, 101, 103, 199, 600, 999] {
        let answer = server.send(protocol, &Request::get(&format!("/status/{status}"))).await;
        assert!(
            answer.expect(500).contains(&format!("status {status}"))
                || answer.text().contains(&format!("status is {status}")),
            "{}",
            answer.text()
        );
    }
    for status in [200, 299, 418, 599] {
        assert_eq!(server.send(protocol, &Request::get(&format!("/status/{status}"))).await.status, status);
    }
    for status in [204, 304] {
        let answer = server.send(protocol, &Request::get(&format!("/status/{status}"))).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, ""));
        assert_eq!(answer.header("content-length"), None, "{status}");
        assert_eq!(answer.header("transfer-encoding"), None, "{status}");
    }
}

async fn answer_without_a_body_has_no_chunks(server: Server, protocol: Protocol) {
    let answer = server.send(protocol, &Request::get("/nothing")).await;
    assert_eq!(answer.expect(200), "");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.header("content-length").unwrap_or("0"), "0");
    if protocol == H1 {
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

async fn names_of_requests_are_those_of_the_host(server: Server, protocol: Protocol) {
    let mut names = HashSet::new();
    for target in ["/ok", "/named", "/named", "/panic", "/no-response", "/length/3/10", "/status/204"] {
        let answer = server.send(protocol, &Request::get(target)).await;
        let name = answer.header("x-request-id").expect(target).to_owned();
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
        assert!(name.len() == 16 && names.insert(name.clone()), "{target}: {name}");
    }
}

#[track_caller]
fn assert_host_says(answer: &Answer, status: u16, says: &str) -> String {
    let text = answer.expect(status);
    assert!(text.contains(says) && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    answer.header("x-request-id").expect("an id").to_owned()
}

async fn answer_without_a_guest_is_named_and_logged(component: &str, protocol: Protocol) {
    let server = Server::with_config_and_access_log(&format!(
        "[limits]\nmax_head_size = '8KiB'\nmax_headers = 20\n[apps.app]\ncomponent = '{{{component}}}'\n\
         [[routes]]\napp = 'app'\npath = '/see'\nmethods = ['GET']\n[[routes]]\napp = 'app'\npath = '/see/admin'\n"
    ))
    .await;
    let mut many = Request::get("/see");
    for number in 0..30 {
        many = many.header(&format!("x-{number}"), "x");
    }
    let large = Request::get("/see").header("x-large", &"x".repeat(9_000));
    let limit = "too large; the limits are 8.0 KiB and 20 fields";
    for (request, status, says) in [
        (Request::get("/nothing/here"), 404, "no app is served"),
        (Request::post("/see", "x"), 405, "use GET"),
        (Request::get("/x/../see"), 400, "the path is ambiguous"),
        (many, 431, limit),
        (large, 431, limit),
    ] {
        let answer = server.send(protocol, &request).await;
        let id = assert_host_says(&answer, status, says);
        let (id, status) = (format!("request={id}"), format!("{status}: refused"));
        server.log.line(&[&id, &status, "client=127.0.0.1"]).await;
    }
}

#[tokio::test]
async fn head_that_cannot_be_read_is_answered_in_words() {
    let server = Server::with_config_and_access_log(
        "limits.max_head_size = '80KiB'\n[admin]\nlisten = '127.0.0.1:0'\n[apps.hello]\ncomponent = '{hello}'\n",
    )
    .await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100));
    for (sent, status, says) in [
        ("nonsense\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        ("GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        ("GET / HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        ("GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n", 400, "does not use TLS"),
        (&long, 414, "request target is too long"),
        (&many, 431, "the limits are 80.0 KiB and 100 fields"),
    ] {
        let mut client = Http1::connect(server.address()).await;
        // What was read before is answered as ever.
        if status != 414 && !says.contains("TLS") {
            client.ask(&Request::get("/")).await.expect(200);
        }
        client.send(sent).await;
        let answer = client.answer().await;
        let id = assert_host_says(&answer, status, says);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.header("date").is_some());
        client.closed().await;
        let (id, status) = (format!("request={id}"), format!("{status}: refused"));
        server.log.line(&[&id, &status, "client=127.0.0.1"]).await;
    }
}

#[tokio::test]
async fn words_of_a_guest_are_not_taken_for_those_of_hyper() {
    let server = Server::start("echo").await;
    let mut client = Http1::connect(server.address()).await;
    let text = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.ask(&Request::post("/", text)).await.expect(200), text);
    }
}

#[tokio::test]
async fn old_client_gets_a_stream_until_the_end_of_the_connection() {
    let server = Server::start("faulty").await;
    for (connection, target) in [("keep-alive", "/park/q"), ("keep-alive", "/ok")] {
        if target == "/park/q" {
            server.send(H1, &Request::post("/push/q", "event")).await.expect(204);
        }
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("GET {target} HTTP/1.0\r\nconnection: {connection}\r\n\r\n")).await;
        let answer = client.answer().await;
        assert!(!answer.expect(200).is_empty());
        assert_eq!(answer.header("connection"), Some("keep-alive"), "its length is known: {target}");
    }
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /slow-length/6/3,3 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.answer().await.expect(200), "xxxxxx");
    let server = Server::start("witness").await;
    let mut client = Http1::connect(server.address()).await;
    client.send("GET /stream/me HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert_eq!((head.header("transfer-encoding"), head.header("content-length")), (None, None));
    assert_eq!(head.header("connection"), Some("close"));
    assert!(client.chunk().await.unwrap().is_some());
}

#[tokio::test]
async fn plain_http_at_an_address_with_tls_is_told_so() {
    let certificate = Certificate::new();
    let server = Server::tolerant("hello", Some(&certificate)).await;
    for sent in [
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST / HTTP/1.0\r\ncontent-length: 10\r\n\r\n0123456789",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut client = Http1::connect(server.address()).await;
        client.send(sent).await;
        let answer = client.answer().await;
        assert_host_says(&answer, 400, "use https");
        assert_eq!(answer.header("connection"), Some("close"));
        client.finish().await;
        client.closed().await;
    }
    // Those who speak neither are none of these.
    let mut client = Http1::connect(server.address()).await;
    client.send("\0\0\0\0\0\0\0\0").await;
    client.closed().await;
    assert_eq!(client.unread(), b"");
}

#[tokio::test]
async fn many_fields_are_431_with_either_version() {
    let server = Server::start("hello").await;
    let fields = |count: usize| {
        let mut request = Request::get("/");
        for number in 0..count {
            request = request.header(&format!("x-{number}"), "x");
        }
        request
    };
    for protocol in [H1, H2] {
        // One of them is the host of HTTP/1.1.
        server.send(protocol, &fields(99)).await.expect(200);
        assert_eq!(server.send(protocol, &fields(101)).await.status, 431);
        assert_eq!(server.send(protocol, &fields(600)).await.status, 431);
    }
    let server = Server::with_config("limits.max_headers = 700\n[apps.hello]\ncomponent = '{hello}'\n").await;
    for protocol in [H1, H2] {
        server.send(protocol, &fields(600)).await.expect(200);
    }
    // A cookie is one, in however many pieces it comes.
    let server = Server::start("hello").await;
    let mut request = Request::get("/");
    for number in 0..150 {
        request = request.header("cookie", &format!("c{number}=x"));
    }
    let mut client = Http2::connect(server.address()).await;
    client.ask(&request).await.expect(200);
}
