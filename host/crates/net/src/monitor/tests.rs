use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;

/// Reports how it went, by being called or dropped.
struct Waiter(Option<oneshot::Sender<()>>);

impl FlushObserver for Waiter {
    fn on_flush(mut self) -> Option<Self> {
        self.0.take().unwrap().send(()).unwrap();
        None
    }
}

fn waiter() -> (Waiter, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Waiter(Some(sender)), receiver)
}

async fn pair() -> (TcpStream, Arc<SocketMonitor<Waiter>>) {
    pair_with(HalfClosePolicy::Gone).await
}

async fn pair_with(eof: HalfClosePolicy) -> (TcpStream, Arc<SocketMonitor<Waiter>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, SocketMonitor::new(listener.accept().await.unwrap().0, None, eof))
}

#[tokio::test]
async fn flush_calls_who_waits() {
    let (mut client, link) = pair().await;
    let mut socket = link.socket();
    let (first, mut called) = waiter();
    socket.write_all(b"hello").await.unwrap();
    link.when_flushed(first);
    assert!(called.try_recv().is_err());
    socket.flush().await.unwrap();
    called.await.unwrap();
    let mut buffer = [0; 5];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
}

/// Peeks until there are three bytes. Tells how many there were at each look.
async fn three(link: &SocketMonitor<Waiter>, looks: mpsc::UnboundedSender<usize>) -> Option<usize> {
    let tell = |bytes: &[u8]| {
        looks.send(bytes.len()).unwrap();
        (bytes.len() >= 3).then_some(bytes.len())
    };
    link.peek(&mut [0; 8], tell).await.unwrap()
}

#[tokio::test]
async fn peek_waits_until_the_bytes_tell_and_leaves_them() {
    let (mut client, link) = pair().await;
    let (looks, mut looked) = mpsc::unbounded_channel();
    client.write_all(b"ab").await.unwrap();
    let more = async {
        while looked.recv().await != Some(2) {}
        client.write_all(b"cd").await.unwrap();
    };
    let (told, ()) = tokio::join!(three(&link, looks), more);
    assert_eq!(told, Some(4));
    let mut read = [0; 4];
    link.socket().read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"abcd");
}

#[tokio::test]
async fn peek_ends_with_the_bytes() {
    for bytes in ["", "ab"] {
        let (mut client, link) = pair().await;
        let (looks, mut looked) = mpsc::unbounded_channel();
        client.write_all(bytes.as_bytes()).await.unwrap();
        let end = async {
            while !bytes.is_empty() && looked.recv().await != Some(2) {}
            client.shutdown().await.unwrap();
        };
        assert_eq!(tokio::join!(three(&link, looks), end).0, None, "{bytes:?}");
    }
}

#[tokio::test]
async fn lost_connection_drops_who_waits() {
    let (_client, link) = pair().await;
    let socket = link.socket();
    let (early, early_called) = waiter();
    link.when_flushed(early);
    drop(socket);
    assert!(early_called.await.is_err());
    let (late, late_called) = waiter();
    link.when_flushed(late);
    assert!(late_called.await.is_err());
}

#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
#[tokio::test]
async fn close_and_reset_are_told_apart() {
    let (client, link) = pair().await;
    assert_eq!(link.ask_departure(), None);
    drop(client);
    poll_fn(|cx| link.stream.poll_read_ready(cx)).await.unwrap();
    assert_eq!(link.ask_departure(), Some(Reason::Closed));
    let mut byte = [0; 1];
    assert_eq!(link.socket().read(&mut byte).await.unwrap(), 0);
    assert_eq!(link.departure(), Some(Reason::Closed));

    let link = reset().await;
    assert_eq!(link.ask_departure(), Some(Reason::Reset));
    // The kernel tells of an error once. Hyper then sees the end of the stream.
    assert_eq!(link.socket().read(&mut byte).await.unwrap(), 0);
    assert_eq!(link.departure(), Some(Reason::Reset));

    let link = reset().await;
    assert!(link.socket().read(&mut byte).await.is_err());
    assert_eq!(link.departure(), Some(Reason::Reset));
}

#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
/// A link whose client has reset the connection, which nobody has noticed yet.
async fn reset() -> Arc<SocketMonitor<Waiter>> {
    let (client, link) = pair().await;
    client.set_zero_linger().unwrap();
    drop(client);
    poll_fn(|cx| link.stream.poll_read_ready(cx)).await.unwrap();
    link
}

#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
#[tokio::test]
async fn close_is_seen_behind_unread_bytes() {
    let (mut client, link) = pair().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    poll_fn(|cx| link.stream.poll_read_ready(cx)).await.unwrap();
    assert_eq!(link.ask_departure(), None);
    client.shutdown().await.unwrap();
    link.stream.ready(tokio::io::Interest::PRIORITY).await.unwrap();
    assert_eq!(link.ask_departure(), Some(Reason::Closed));
}

/// Waits for the watcher to look once, without a departure to see.
async fn watch_once(link: &SocketMonitor<Waiter>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), link.watch()).await.is_ok()
}

#[tokio::test]
async fn watcher_sees_a_close_behind_unread_bytes() {
    let (mut client, link) = pair().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\nGET /").await.unwrap();
    assert!(!watch_once(&link).await, "bytes are no departure");
    client.shutdown().await.unwrap();
    link.watch().await;
    assert_eq!(link.wait_departed().await, Reason::Closed);
}

#[tokio::test]
async fn watcher_sees_a_reset_behind_unread_bytes() {
    let (mut client, link) = pair().await;
    client.write_all(b"\r\n").await.unwrap();
    poll_fn(|cx| link.stream.poll_read_ready(cx)).await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    link.watch().await;
    assert_eq!(link.wait_departed().await, Reason::Reset);
}

#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
#[tokio::test]
async fn reset_that_answers_what_came_after_a_close_is_a_close() {
    for unread in [true, false] {
        let (mut client, link) = pair().await;
        let mut socket = link.socket();
        client.write_all(b"bye").await.unwrap();
        if !unread {
            socket.read_exact(&mut [0; 3]).await.unwrap();
        }
        drop(client);
        // Nobody looks before the client's kernel has refused this.
        socket.write_all(b"too late").await.unwrap();
        // It may be reset already.
        let _ = rustix::net::shutdown(&link.stream, rustix::net::Shutdown::Write);
        link.stream.ready(tokio::io::Interest::ERROR).await.unwrap();
        assert_eq!(link.ask_departure(), Some(Reason::Closed));
        assert_eq!(link.end(), Some(ConnectionEnd::ClosedThenReset));
    }
    let (client, link) = pair().await;
    client.set_zero_linger().unwrap();
    drop(client);
    link.watch().await;
    assert_eq!(link.end(), Some(ConnectionEnd::Reset));
}
