//! Answers after which the server closes by itself, over TLS: what it says then lies unread at a client that goes by the
//! length of an answer, and its kernel resets the connection as if it had not read the answer.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Certificate, Server, both, eventually, is_there, soon};
use crate::tls::client;

both!("longpoll", "longpoll-p2":
    answer_that_was_read_by_its_length_does_not_come_again,
    answer_that_was_not_read_comes_again,
    answer_to_urllib_does_not_come_again,
    answer_before_the_server_stops_counts_as_read,
);

both!("careless", "careless-p2": answer_that_ends_with_its_connection_ends_at_once);

/// Of a kind.
const ROUNDS: usize = 30;

/// A client of a server with this certificate.
struct ClosingClient {
    address: SocketAddr,
    connector: TlsConnector,
}

impl ClosingClient {
    fn of(server: &Server, certificate: &Certificate) -> Self {
        Self { address: server.address(), connector: client(&[certificate], None) }
    }

    /// Connects, and sends a request.
    async fn open(&self, request: &str) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = soon("connecting", TcpStream::connect(self.address)).await.unwrap();
        let mut stream = soon("TLS", self.connector.connect(name, stream)).await.unwrap();
        soon("sending", stream.write_all(request.as_bytes())).await.unwrap();
        stream
    }

    async fn push(&self, event: &str) {
        let length = event.len();
        let head = format!(
            "POST /push/q HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = self.open(&format!("{head}{event}")).await;
        assert!(read_by_length(&mut stream).await.0.starts_with("HTTP/1.1 202"));
    }

    /// A poll that waits: its head, its body, and how long its end took to come.
    async fn poll(&self, wait: u64) -> (String, String) {
        let mut stream = self.open(&get(&format!("/poll/q?wait={wait}"), "HTTP/1.1", "close")).await;
        read_by_length(&mut stream).await
    }

    async fn has_nothing(&self) {
        let (head, body) = self.poll(2).await;
        assert!(head.starts_with("HTTP/1.1 204"), "again: {head}{body}");
    }
}

fn get(target: &str, version: &str, connection: &str) -> String {
    format!("GET {target} {version}\r\nhost: a\r\nconnection: {connection}\r\n\r\n")
}

/// Reads as much as an answer says that it has, and not a byte more.
async fn read_by_length(stream: &mut TlsStream<TcpStream>) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    soon("a body", stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Gives what the server says next the time to arrive that a client takes to close.
async fn dawdle(stream: &TlsStream<TcpStream>) {
    let arrives = stream.get_ref().0.readable();
    // Nothing may come, and that is right.
    let _ = tokio::time::timeout(Duration::from_millis(50), arrives).await;
}

async fn answer_that_was_read_by_its_length_does_not_come_again(longpoll: &str) {
    let certificate = Certificate::new();
    let server = Server::with_tls(longpoll, &certificate).await;
    let client = ClosingClient::of(&server, &certificate);
    for (version, connection) in [("HTTP/1.1", "close"), ("HTTP/1.0", "close"), ("HTTP/1.0", "keep-alive")] {
        for round in 0..ROUNDS {
            let event = format!("event {round}");
            client.push(&event).await;
            let mut stream = client.open(&get("/poll/q?wait=30", version, connection)).await;
            assert_eq!(read_by_length(&mut stream).await.1, event, "again");
            dawdle(&stream).await;
            if round % 2 == 0 {
                // Some say so, and do not wait for an answer to that.
                soon("closing", stream.shutdown()).await.unwrap();
            }
        }
    }
    client.has_nothing().await;
}

async fn answer_that_was_not_read_comes_again(longpoll: &str) {
    let certificate = Certificate::new();
    let server = Server::with_tls(longpoll, &certificate).await;
    let client = ClosingClient::of(&server, &certificate);
    for round in 0..ROUNDS {
        let event = format!("{round:08000}");
        client.push(&event).await;
        let stream = client.open(&get("/poll/q?wait=30", "HTTP/1.1", "close")).await;
        let kernel = &stream.get_ref().0;
        eventually("the answer arrives", async || (ioctl_fionread(kernel).unwrap() > 8000).then_some(()))
            .await;
        drop(stream);
        let (head, body) = client.poll(30).await;
        assert_eq!(body, event, "lost");
        assert!(head.contains("maybe-delivered: true"), "{head}");
    }
    client.has_nothing().await;
}

async fn answer_to_urllib_does_not_come_again(longpoll: &str) {
    const SCRIPT: &str = "
import ssl, sys, urllib.request
url, rounds = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context(cafile=sys.argv[3])
for number in range(rounds):
    event = b'event %d' % number
    urllib.request.urlopen(url + '/push/q', data=event, context=context).read()
    with urllib.request.urlopen(url + '/poll/q?wait=30', context=context) as answer:
        got = answer.read()
    if got != event:
        sys.exit(f'{got} instead of {event}')
";
    if !is_there("python3", "--version") {
        return;
    }
    let certificate = Certificate::new();
    let server = Server::with_tls(longpoll, &certificate).await;
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT, &format!("https://{}", server.address()), &ROUNDS.to_string()]);
    python.arg(certificate.file());
    let output = tokio::task::spawn_blocking(move || python.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ClosingClient::of(&server, &certificate).has_nothing().await;
}

async fn answer_before_the_server_stops_counts_as_read(longpoll: &str) {
    for _ in 0..3 {
        let certificate = Certificate::new();
        let tls = format!(
            "tls = {{ certificate = '{}', key = '{}' }}",
            certificate.file().display(),
            certificate.key().display()
        );
        let mut server = Server::with_config_and_access_log(&format!(
            "detection.confirm_window = '20s'\n[[listeners]]\naddress = '127.0.0.1:0'\n{tls}\n\
             [apps.app]\ncomponent = '{{{longpoll}}}'\n"
        ))
        .await;
        let client = ClosingClient::of(&server, &certificate);
        client.push("event").await;
        let mut stream = client.open(&get("/poll/q?wait=30", "HTTP/1.1", "keep-alive")).await;
        assert_eq!(read_by_length(&mut stream).await.1, "event");
        server.signal(Signal::TERM);
        dawdle(&stream).await;
        drop(stream);
        server.log.line(&["GET /poll/q?wait=30 200: delivered", "receipt=\"read\""]).await;
        assert!(server.exit().await.success());
    }
}

/// Of HTTP/1.0, without a length: nothing else tells the client that this was all.
async fn answer_that_ends_with_its_connection_ends_at_once(careless: &str) {
    let certificate = Certificate::new();
    let server = Server::with_tls(careless, &certificate).await;
    let client = ClosingClient::of(&server, &certificate);
    let mut fastest = Duration::MAX;
    for round in 0..5 {
        client
            .open(&get(&format!("/push/q?text={round}"), "HTTP/1.1", "close"))
            .await
            .read_u8()
            .await
            .unwrap();
        let mut stream = client.open(&get("/stream/q", "HTTP/1.0", "close")).await;
        let mut answer = Vec::new();
        while !answer.ends_with(format!("\r\n\r\n{round}").as_bytes()) {
            answer.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        let start = Instant::now();
        soon("its end", stream.read_to_end(&mut answer)).await.unwrap();
        // One that was whole by then has a length.
        if !String::from_utf8_lossy(&answer).contains("content-length") {
            fastest = fastest.min(start.elapsed());
        }
        assert!(answer.ends_with(format!("\r\n\r\n{round}").as_bytes()));
    }
    // Other answers wait for a second.
    assert!(fastest == Duration::MAX || fastest < Duration::from_millis(500), "{fastest:?}");
}
