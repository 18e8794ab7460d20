//! Answers that are there before the body of their request: the connection goes on behind it, or is said to end.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::harness::{Answer, H1, Http1, Request, Server, eventually, write_config};

/// Fits into one packet; is read ahead; is more than is read for nothing.
const SIZES: [usize; 3] = [1_000, 100_000, 3_000_000];

/// Whether the answer says that it is the last one.
fn says_close(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// A client as there are many: it sends all of a request, then reads, and keeps its connection unless it is told not to.
struct EarlyClient {
    server: std::net::SocketAddr,
    connection: Option<Http1>,
    closed: usize,
}

impl EarlyClient {
    fn of(server: &Server) -> Self {
        Self { server: server.address(), connection: None, closed: 0 }
    }

    /// None if that fails.
    async fn ask(&mut self, request: &Request) -> Option<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Http1::connect(self.server).await,
        };
        let answer = connection.try_ask(request).await?;
        if says_close(&answer) {
            self.closed += 1;
        } else {
            self.connection = Some(connection);
        }
        Some(answer)
    }
}

/// Sends so many posts, from several clients at a time, each of which is answered so.
async fn post(server: &Server, target: &str, size: usize, count: usize, status: u16) -> usize {
    const CLIENTS: usize = 6;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (mut client, request) = (EarlyClient::of(server), Request::post(target, vec![b'x'; size]));
        let target = target.to_owned();
        clients.spawn(async move {
            for number in 0..count / CLIENTS {
                let answer = client.ask(&request).await;
                let answer =
                    answer.unwrap_or_else(|| panic!("{target}, {size} bytes, number {number} failed"));
                assert_eq!(answer.status, status, "{target}");
            }
            client.closed
        });
    }
    let mut closed = 0;
    while let Some(ended) = clients.join_next().await {
        closed += ended.unwrap();
    }
    closed
}

#[tokio::test]
async fn posts_that_the_guest_does_not_read_never_fail() {
    for component in ["witness", "witness-p2"] {
        let server = Server::start(component).await;
        for size in SIZES {
            let closed = post(&server, "/instance", size, 102, 200).await;
            // What is bounded is read, and the connection stays.
            assert!(size > 1 << 20 || closed == 0, "{component}, {size} bytes: {closed} were closed");
        }
    }
}

#[tokio::test]
async fn posts_that_the_host_answers_never_fail() {
    let config = "[apps.app]\ncomponent = '{witness}'\n[[routes]]\napp = 'app'\npath = '/instance'\nmethods = ['GET']\n";
    let server = Server::with_config(config).await;
    for size in SIZES {
        for (target, status) in [("/nowhere", 404), ("/instance", 405)] {
            let closed = post(&server, target, size, 30, status).await;
            assert!(size > 1 << 20 || closed == 0, "{target}, {size} bytes: {closed} were closed");
        }
    }
}

#[tokio::test]
async fn posts_that_are_refused_or_out_of_time_never_fail() {
    for (component, keys, target, status) in [
        ("witness", "[limits]\nmax_requests = 1\n", "/instance", 503),
        ("faulty", "", "/hang", 504),
        ("faulty-p2", "", "/hang", 504),
        ("faulty", "", "/panic", 500),
    ] {
        let server = Server::with_config(&format!(
            "{keys}[apps.app]\ncomponent = '{{{component}}}'\n[[routes]]\napp = 'app'\ndeadline = '1h'\n\
             [[routes]]\napp = 'app'\npath = '/hang'\ndeadline = '1ms'\ngrace = '1ms'\n"
        ))
        .await;
        let _first =
            if status == 503 { Some(server.occupy(H1, "/stream/me", "/instance").await) } else { None };
        for size in SIZES {
            post(&server, target, size, 12, status).await;
        }
    }
}

#[tokio::test]
async fn too_large_body_is_413_and_the_next_request_is_answered() {
    for component in ["longpoll", "longpoll-p2"] {
        let server = Server::start(component).await;
        for size in [1_500_000, 3_000_000] {
            post(&server, "/push/q", size, 12, 413).await;
        }
    }
}

#[tokio::test]
async fn rest_of_a_body_does_not_delay_the_answer_and_the_next_request_is_behind_it() {
    for component in ["witness", "witness-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        for _ in 0..5 {
            client.send("POST /instance HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await;
            client.send("x".repeat(40_000)).await;
            let answer = client.answer().await;
            answer.expect(200);
            assert!(!says_close(&answer));
            client.send("x".repeat(60_000)).await;
            client.send("GET /instance HTTP/1.1\r\nhost: x\r\n\r\n").await;
            client.answer().await.expect(200);
        }
    }
}

#[tokio::test]
async fn pipelined_requests_behind_bodies_that_nobody_reads_are_answered() {
    for component in ["witness", "witness-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        let body = "x".repeat(50_000);
        let post =
            format!("POST /instance HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let nowhere = post.replace("/instance", "/park-nowhere/at/all");
        client
            .send([post.as_str(), &nowhere, &post, "GET /instance HTTP/1.1\r\nhost: x\r\n\r\n"].concat())
            .await;
        for status in [200, 404, 200, 200] {
            let answer = client.answer().await;
            assert_eq!(answer.status, status);
            assert!(!says_close(&answer));
        }
    }
}

#[tokio::test]
async fn rest_that_does_not_come_ends_the_connection() {
    let server =
        Server::with_config("[limits]\nbody_timeout = '300ms'\n[apps.app]\ncomponent = '{witness}'\n").await;
    for target in ["/instance", "/nowhere"] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nsome")).await;
        client.answer().await;
        client.closed().await;
    }
}

#[tokio::test]
async fn unread_expectation_and_unending_chunks_end_the_connection_with_a_word() {
    for component in ["witness", "witness-p2"] {
        let server = Server::start(component).await;
        for target in ["/instance", "/nowhere"] {
            for head in ["expect: 100-continue\r\ncontent-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
                let mut client = Http1::connect(server.address()).await;
                client.send(format!("POST {target} HTTP/1.1\r\nhost: x\r\n{head}\r\n")).await;
                if head.starts_with("transfer") {
                    client.send("5\r\nhello\r\n").await;
                }
                let answer = client.answer().await;
                assert!(says_close(&answer), "{component} {target} {head:?}: {:?}", answer.headers);
                client.closed().await;
                assert_eq!(client.unread(), b"");
            }
        }
    }
}

#[tokio::test]
async fn short_chunked_body_that_is_there_keeps_the_connection() {
    let server = Server::start("witness").await;
    let mut client = Http1::connect(server.address()).await;
    for target in ["/instance", "/nowhere"] {
        for _ in 0..10 {
            client
                .send(format!("POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"))
                .await;
            let answer = client.answer().await;
            assert!(!says_close(&answer), "{target}: {:?}", answer.headers);
        }
    }
}

#[tokio::test]
async fn answer_whose_guest_still_reads_goes_on() {
    for component in ["echo", "echo-p2"] {
        let server = Server::start(component).await;
        let mut client = Http1::connect(server.address()).await;
        client.send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        let head = client.head().await;
        assert_eq!(head.header("connection"), Some("close"), "{component}");
        assert_eq!(client.chunk().await.unwrap().unwrap(), "a");
        for piece in ["b", "c", "d"] {
            client.send(format!("1\r\n{piece}\r\n")).await;
            assert_eq!(client.chunk().await.unwrap().unwrap(), piece);
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.rest().await.unwrap().0, "");
        client.closed().await;
    }
}

#[tokio::test]
async fn client_that_asks_for_the_end_gets_it_at_once() {
    let server = Server::start("witness").await;
    for head in ["POST /instance HTTP/1.1\r\nhost: x\r\nconnection: close", "POST /instance HTTP/1.0"] {
        let mut client = Http1::connect(server.address()).await;
        client.send(format!("{head}\r\ncontent-length: 1000\r\n\r\nsome")).await;
        client.answer().await.expect(200);
        client.closed().await;
    }
}

#[tokio::test]
async fn who_leaves_while_the_rest_is_read_leaves_nothing_behind() {
    let server = Server::start("witness").await;
    server.get("/instance").await.expect(200);
    let before = server.sockets();
    for reset in [false, true] {
        let mut client = Http1::connect(server.address()).await;
        client.send("POST /instance HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nsome").await;
        client.answer().await.expect(200);
        if reset {
            client.reset();
        }
    }
    eventually("the connections have ended", async || (server.sockets() <= before).then_some(())).await;
}

#[tokio::test]
async fn server_that_stops_does_not_wait_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_config(folder.path(), "[apps.app]\ncomponent = '{witness}'\n");
    let mut server = Server::of_folder(folder, &file).await;
    let mut client = Http1::connect(server.address()).await;
    client.send("POST /instance HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nsome").await;
    client.answer().await.expect(200);
    server.signal(rustix::process::Signal::TERM);
    let status = tokio::time::timeout(Duration::from_secs(8), server.exit()).await.expect("in time");
    assert!(status.success(), "{status}");
}

/// Behind proxies that keep connections and use them for whoever comes next. (`make proxies` sends more.)
mod behind {
    use crate::harness::{Request, Server, TestProxy};

    use super::{SIZES, says_close};

    const CONFIG: &str = "[apps.app]\ncomponent = '{witness}'\n[[routes]]\napp = 'app'\npath = '/instance'\n";

    #[tokio::test]
    async fn nginx() {
        let server = Server::with_config(CONFIG).await;
        match TestProxy::nginx(server.address()).await {
            Some(proxy) => posts_never_fail(&proxy).await,
            None => println!("skipped: there is no nginx"),
        }
    }

    #[tokio::test]
    async fn haproxy() {
        let server = Server::with_config(CONFIG).await;
        match TestProxy::haproxy(server.address(), "http-reuse always").await {
            Some(proxy) => posts_never_fail(&proxy).await,
            None => println!("skipped: there is no HAProxy"),
        }
    }

    async fn posts_never_fail(proxy: &TestProxy) {
        let mut client = proxy.connect().await;
        for number in 0..300 {
            let (target, status) = [("/instance", 200), ("/nowhere", 404)][number % 2];
            let size = SIZES[number % SIZES.len()];
            client.send_request(&Request::post(target, vec![b'x'; size])).await;
            let answer = client.try_answer().await;
            let answer = answer.unwrap_or_else(|_| panic!("{target}, {size} bytes: {}", proxy.log()));
            assert_eq!(answer.status, status, "{target}, {size} bytes: {}", proxy.log());
            if says_close(&answer) {
                client = proxy.connect().await;
            }
        }
    }
}
