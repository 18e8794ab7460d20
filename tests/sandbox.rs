//! What a guest can reach: nothing, but for what its configuration grants.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::harness::{ClientLeave, H1, Http2, Request, SECRET, Server, both, soon};

both!("probe", "probe-p2":
    environment_is_empty,
    no_folder_is_open,
    sockets_are_refused,
    names_are_not_resolved,
    outgoing_http_is_denied,
    clock_and_randomness_work,
    granted_environment_is_seen_and_nothing_else,
    granted_folder_is_seen,
    granted_socket_connects_and_no_other,
    granted_host_is_fetched_and_no_other,
    output_becomes_log_lines_with_app_and_request,
    output_of_many_requests_keeps_their_names,
);

/// The same by the standard library and, where the guest is for WASI 0.3, by its own interfaces.
fn ways(probe: &str, target: &str) -> Vec<String> {
    let mut ways = vec![target.to_owned()];
    if probe == "probe" {
        ways.push(format!("/p3{target}"));
    }
    ways
}

async fn granting(probe: &str, grants: &str) -> Server {
    Server::with_config(&format!("[apps.probe]\ncomponent = '{{{probe}}}'\n{grants}\n")).await
}

async fn environment_is_empty(probe: &str) {
    let server = Server::start(probe).await;
    for target in ways(probe, "/env") {
        assert_eq!(server.get(&target).await.expect(200), "", "{target}");
    }
}

async fn no_folder_is_open(probe: &str) {
    let server = Server::start(probe).await;
    let answer = server.get("/preopens").await;
    let text = answer.expect(200);
    // The first line says that there is nothing to list; folders would follow.
    assert!(text.starts_with("error ") && text.lines().count() == 1, "{text}");
    if probe == "probe" {
        assert_eq!(server.get("/p3/preopens").await.expect(200), "");
    }
}

async fn sockets_are_refused(probe: &str) {
    let server = Server::start(probe).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for target in ways(probe, &format!("/tcp?addr={address}")) {
        let answer = server.get(&target).await;
        assert!(answer.expect(200).starts_with("error "), "{target}: {}", answer.text());
    }
    nobody_connected(&listener).await;
}

async fn names_are_not_resolved(probe: &str) {
    let server = Server::start(probe).await;
    for target in ways(probe, "/dns?name=localhost") {
        let answer = server.get(&target).await;
        assert!(answer.expect(200).starts_with("error "), "{target}: {}", answer.text());
    }
}

async fn outgoing_http_is_denied(probe: &str) {
    let server = Server::start(probe).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for host in [address.to_string(), format!("localhost:{}", address.port()), "example.com".to_owned()] {
        let answer = server.get(&format!("/fetch?url=http://{host}/")).await;
        let text = answer.expect(200);
        assert!(text.starts_with("error ") && text.contains("HttpRequestDenied"), "{host}: {text}");
    }
    nobody_connected(&listener).await;
}

/// Nothing waits in the backlog.
async fn nobody_connected(listener: &TcpListener) {
    tokio::select! {
        biased;
        connected = listener.accept() => panic!("the guest has connected: {connected:?}"),
        () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
    }
}

async fn clock_and_randomness_work(probe: &str) {
    let server = Server::start(probe).await;
    let now: u64 = server.get("/clock").await.expect(200).trim().parse().unwrap();
    assert!(now > 1_700_000_000, "{now}");
    let mut numbers = [server.get("/random").await, server.get("/random").await]
        .map(|answer| answer.expect(200).trim().parse::<u64>().unwrap());
    numbers.sort_unstable();
    assert_ne!(numbers[0], numbers[1]);
}

async fn granted_environment_is_seen_and_nothing_else(probe: &str) {
    let server = granting(probe, "env = { GREETING = 'hello world', EMPTY = '' }").await;
    for target in ways(probe, "/env") {
        let answer = server.get(&target).await;
        let mut seen: Vec<_> = answer.expect(200).lines().collect();
        seen.sort_unstable();
        assert_eq!(seen, ["EMPTY=", "GREETING=hello world"], "{target}");
        assert!(!answer.text().contains(SECRET));
    }
}

async fn granted_folder_is_seen(probe: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/found.txt"), "x").unwrap();
    std::fs::write(folder.path().join("hidden.txt"), "x").unwrap();
    // Relative to the configuration.
    let grant =
        format!("[apps.probe]\ncomponent = '{{{probe}}}'\ndirs = [{{ host = 'data', guest = '/' }}]\n");
    let server = Server::in_folder(folder, &grant).await;
    let answer = server.get("/preopens").await;
    let text = answer.expect(200);
    assert!(text.lines().any(|line| line.ends_with("found.txt")), "{text}");
    assert!(!text.contains("hidden.txt") && !text.contains("error"), "{text}");
    if probe == "probe" {
        assert_eq!(server.get("/p3/preopens").await.expect(200), "/\n");
    }
}

async fn granted_socket_connects_and_no_other(probe: &str) {
    let listeners =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [granted, other] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let server = granting(probe, &format!("sockets = ['{granted}']")).await;
    for target in ways(probe, &format!("/tcp?addr={granted}")) {
        assert_eq!(server.get(&target).await.expect(200), "ok\n", "{target}");
        soon("the guest connects", listeners[0].accept()).await.unwrap();
    }
    for target in ways(probe, &format!("/tcp?addr={other}")) {
        let answer = server.get(&target).await;
        assert!(answer.expect(200).starts_with("error "), "{target}: {}", answer.text());
    }
    nobody_connected(&listeners[1]).await;
}

/// A web server that answers everybody with a line, but `/slow`, which it leaves waiting.
struct Elsewhere {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Elsewhere {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut waiting = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|n| n > 0) {}
                if head.starts_with(b"GET /slow ") {
                    waiting.push(stream);
                } else {
                    let answer = "HTTP/1.1 203 x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nelsewhere";
                    drop(stream.write_all(answer.as_bytes()).await);
                }
            }
        });
        Self { address, _task: task }
    }
}

async fn granted_host_is_fetched_and_no_other(probe: &str) {
    let elsewhere = Elsewhere::start().await;
    let another = Elsewhere::start().await;
    let server = granting(probe, &format!("outgoing_hosts = ['{}']", elsewhere.address)).await;
    let answer = server.get(&format!("/fetch?url=http://{}/path", elsewhere.address)).await;
    assert_eq!(answer.expect(200), "203 elsewhere\n");
    let answer = server.get(&format!("/fetch?url=http://{}/path", another.address)).await;
    assert!(answer.expect(200).contains("HttpRequestDenied"), "{}", answer.text());
}

async fn output_becomes_log_lines_with_app_and_request(probe: &str) {
    let server = granting(probe, "").await;
    server.get("/print?text=said").await.expect(200);
    let out = server.log.line(&["INFO said app=\"probe\" request="]).await;
    let err = server.log.line(&["WARN said app=\"probe\" request="]).await;
    assert_eq!(request_of(&out), request_of(&err));
    assert_eq!(request_of(&out).len(), 16);
    server.get("/print?text=again").await.expect(200);
    let again = server.log.line(&["INFO again"]).await;
    assert_ne!(request_of(&again), request_of(&out));
}

async fn output_of_many_requests_keeps_their_names(probe: &str) {
    let elsewhere = Elsewhere::start().await;
    let server = granting(probe, &format!("outgoing_hosts = ['{}']", elsewhere.address)).await;
    // Some wait in the instance, where it is shared.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let slow = Request::get(&format!("/fetch?url=http://{}/slow", elsewhere.address));
        waiting.push(server.park(H1, &slow).await);
    }
    let mut client = Http2::connect(server.address()).await;
    let mut printing = Vec::new();
    for number in 0..20 {
        printing.push(client.stream(&Request::get(&format!("/print?text=number-{number}."))).await);
    }
    for stream in &mut printing {
        stream.split().1.answer().await.expect(200);
    }
    let mut names = HashMap::new();
    for number in 0..20 {
        let text = format!("number-{number}.");
        let out = server.log.line(&["INFO ", &text, "app=\"probe\" request="]).await;
        let err = server.log.line(&["WARN ", &text, "app=\"probe\" request="]).await;
        assert_eq!(request_of(&out), request_of(&err), "{text}");
        assert_eq!(names.insert(request_of(&out).to_owned(), text), None, "two requests under one name");
    }
    for waiting in waiting {
        drop(waiting.leave(ClientLeave::Close).await);
    }
}

fn request_of(line: &str) -> &str {
    line.split_once("request=").unwrap().1.split(' ').next().unwrap()
}
