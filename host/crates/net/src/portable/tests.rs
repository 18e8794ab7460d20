use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use linger_base::Reason;
use linger_config::HalfClosePolicy;

use super::*;

struct Never;

impl FlushObserver for Never {
    fn on_flush(self) -> Option<Self> {
        None
    }
}

async fn pair() -> (TcpStream, std::sync::Arc<SocketMonitor<Never>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, SocketMonitor::new(listener.accept().await.unwrap().0, None, HalfClosePolicy::Gone))
}

#[tokio::test]
async fn bytes_and_end_reach_the_reader_in_order() {
    let (mut client, link) = pair().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    link.watch().await;
    assert_eq!(link.departure(), Some(Reason::Closed));
    let mut socket = link.socket();
    let mut first = [0; 3];
    socket.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"GET");
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b" / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn reader_that_waits_is_woken_by_what_was_read_ahead() {
    let (mut client, link) = pair().await;
    let mut socket = link.socket();
    let mut bytes = [0; 4];
    let sends = async {
        tokio::task::yield_now().await;
        client.write_all(b"ping").await.unwrap();
        client
    };
    let (read, _client) = tokio::select! {
        both = async { tokio::join!(socket.read_exact(&mut bytes), sends) } => both,
        () = link.watch() => panic!("nobody left"),
    };
    read.unwrap();
    assert_eq!(&bytes, b"ping");
}

#[tokio::test]
async fn reading_ahead_stops_at_the_bound_and_goes_on_behind_the_reader() {
    let (mut client, link) = pair().await;
    let sent = vec![7; 4 * LIMIT];
    let (mut reader, mut received) = (link.socket(), Vec::new());
    let sends = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    tokio::select! {
        () = async { tokio::join!(sends, link.watch()); } => {}
        read = async {
            // Only once it is full.
            while link.ahead.state().bytes.len() < LIMIT {
                tokio::task::yield_now().await;
            }
            assert_eq!(link.departure(), None);
            reader.read_to_end(&mut received).await
        } => { read.unwrap(); }
    }
    // Whichever came first: the end was noticed, and the rest is there.
    link.watch().await;
    assert_eq!(link.departure(), Some(Reason::Closed));
    reader.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn reset_is_told_from_a_close() {
    let (mut client, link) = pair().await;
    client.write_all(b"\r\n").await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    link.watch().await;
    assert_eq!(link.wait_departed().await, Reason::Reset);
}
