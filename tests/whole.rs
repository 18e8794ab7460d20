//! `linger:host/whole`: responses and bodies in one call.

use http::Method;

use crate::harness::{H1, Http1, Protocol, Request, Server};

macro_rules! both_protocols {
    ($($test:ident),* $(,)?) => { $(
        mod $test {
            use crate::harness::{H1, H2, Server};

            #[tokio::test]
            async fn http1() {
                super::$test(Server::start("whole").await, H1).await;
            }

            #[tokio::test]
            async fn http2() {
                super::$test(Server::start("whole").await, H2).await;
            }
        }
    )* };
}

both_protocols! {
    response_has_its_status_header_and_body,
    response_without_a_body_has_none,
    answer_to_head_has_the_length_only,
    refused_response_says_why,
    body_is_given_within_its_limit,
    body_beyond_its_limit_is_refused,
    body_is_given_once,
    unused_responses_leave_nothing_behind,
    contents_can_be_sent_on,
}

async fn response_has_its_status_header_and_body(server: Server, protocol: Protocol) {
    let request = Request::post("/respond?418", "short and stout")
        .header("x-name", "x-kind")
        .header("x-value", "teapot");
    let answer = server.send(protocol, &request).await;
    assert_eq!(answer.expect(418), "short and stout");
    assert_eq!(answer.header("x-kind"), Some("teapot"));
    assert_eq!(answer.header("content-length"), Some("15"));
}

async fn response_without_a_body_has_none(server: Server, protocol: Protocol) {
    // Over HTTP/2 the head says that it is the end.
    let zero = (protocol == Protocol::Http1).then_some("0");
    for (target, status, length) in
        [("/respond?200", 200, zero), ("/respond?204", 204, None), ("/respond?304", 304, None)]
    {
        let answer = server.send(protocol, &Request::get(target)).await;
        assert_eq!(answer.expect(status), "");
        assert_eq!(answer.header("content-length"), length, "{target}");
    }
}

async fn answer_to_head_has_the_length_only(server: Server, protocol: Protocol) {
    let head = |target| Request::new(Method::HEAD, target);
    let answer = server.send(protocol, &head("/eleven-long")).await;
    assert_eq!((answer.expect(200), answer.header("content-length")), ("", Some("12")));
    // The guest knows the length, and does not make the body.
    let known = head("/respond?200").header("x-name", "content-length").header("x-value", "1234");
    let answer = server.send(protocol, &known).await;
    assert_eq!((answer.expect(200), answer.header("content-length")), ("", Some("1234")));
}

async fn refused_response_says_why(server: Server, protocol: Protocol) {
    for (target, name, value, error) in [
        ("/refuse?99", "x-ok", "ok", "InvalidStatus"),
        ("/refuse?101", "x-ok", "ok", "InvalidStatus"),
        ("/refuse?600", "x-ok", "ok", "InvalidStatus"),
        ("/refuse?200", "not a name", "ok", "InvalidHeader(\"not a name\")"),
        ("/refuse?200", "connection", "close", "ForbiddenHeader(\"connection\")"),
        ("/refuse?200", "Transfer-Encoding", "chunked", "ForbiddenHeader(\"Transfer-Encoding\")"),
        ("/refuse?200", "content-length", "3", "InvalidHeader(\"content-length\")"),
        ("/refuse?200", "content-length", "+4", "InvalidHeader(\"content-length\")"),
    ] {
        let request = Request::post(target, "four").header("x-name", name).header("x-value", value);
        let answer = server.send(protocol, &request).await;
        assert!(answer.expect(200).contains(error), "{error}: {}", answer.text());
    }
}

async fn body_is_given_within_its_limit(server: Server, protocol: Protocol) {
    for length in [0, 1, 4096, 1 << 20] {
        let request = Request::post(&format!("/body?{length}"), vec![b'x'; length]);
        assert_eq!(server.send(protocol, &request).await.expect(200), length.to_string());
    }
}

async fn body_beyond_its_limit_is_refused(server: Server, protocol: Protocol) {
    // A client of HTTP/2 is told to stop in the middle of a long one.
    for length in if protocol == Protocol::Http1 { [11, 1 << 20] } else { [11, 12] } {
        let answer = server.send(protocol, &Request::post("/body?10", vec![b'x'; length])).await;
        assert_eq!(answer.expect(200), "BodyError::TooLarge(10)");
    }
}

async fn body_is_given_once(server: Server, protocol: Protocol) {
    let answer = server.send(protocol, &Request::post("/twice", "once")).await;
    assert_eq!(answer.expect(200), "Ok(4) Err(BodyError::Consumed)");
}

async fn unused_responses_leave_nothing_behind(server: Server, protocol: Protocol) {
    for _ in 0..5 {
        assert_eq!(server.send(protocol, &Request::get("/unused")).await.expect(200), "dropped");
    }
}

async fn contents_can_be_sent_on(server: Server, protocol: Protocol) {
    assert_eq!(server.send(protocol, &Request::get("/forward")).await.expect(200), "forwarded");
}

#[tokio::test]
async fn guest_learns_that_a_body_broke_off() {
    let server = Server::start("whole").await;
    // More is announced than comes.
    let mut client = Http1::connect(server.address()).await;
    client.send(b"POST /tell HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this").await;
    server.log.line(&["waits for the body"]).await;
    drop(client);
    server.log.line(&["got Err(BodyError::Broken)"]).await;
}

#[tokio::test]
async fn chunked_body_is_given_whole() {
    let server = Server::start("whole").await;
    let mut client = Http1::connect(server.address()).await;
    client
        .send(b"POST /body?100 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.expect(200), "7");
}

#[tokio::test]
async fn bodies_of_an_instance_are_bounded_together() {
    let server =
        Server::with_config("[apps.app]\ncomponent = '{whole}'\ninstances.max_memory = '2MiB'\n").await;
    // More than an instance may have memory: so no limit that its guest gives is above.
    let answer = server.send(H1, &Request::post("/body?1000000000", vec![b'x'; 3 << 20])).await;
    assert_eq!(answer.expect(200), format!("BodyError::TooLarge({})", 2 << 20));
}
