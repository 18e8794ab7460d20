use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::advance;

use linger_config::{HalfClosePolicy, ServerLimits};
use linger_net::SocketMonitor;

use super::*;
use crate::connection::{Connection, ListenerPolicy};

const LIMITS: fn() -> ServerLimits = ServerLimits::default;

async fn connection() -> (TcpStream, Arc<Connection>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let link = SocketMonitor::new(listener.accept().await.unwrap().0, None, HalfClosePolicy::Gone);
    (client, Connection::new(link, &ListenerPolicy::default(), &LIMITS(), None))
}

/// What is unread may be a request, which comes just when the wait for it is over.
#[tokio::test(start_paused = true)]
async fn idle_connection_is_not_closed_before_what_has_come_was_read() {
    let (mut client, connection) = connection().await;
    let (supervisor, link) = (&connection.supervisor, &connection.monitor);
    drop(connection.request());
    assert_eq!(supervisor.act(link), None);
    advance(LIMITS().idle_timeout).await;
    client.write_all(b"GET").await.unwrap();
    while !link.has_unused_input() {
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.act(link), None);
    let mut socket = link.socket();
    let mut read = [0; 100];
    assert_eq!(socket.read(&mut read).await.unwrap(), 3);
    // It was no request, and all of it was used.
    assert!(futures::poll!(std::pin::pin!(socket.read(&mut read))).is_pending());
    advance(Duration::from_secs(1)).await;
    assert_eq!(supervisor.act(link), Some(WaitEnd::Idle));
    assert_eq!(supervisor.act(link), None);
}

#[tokio::test(start_paused = true)]
async fn connection_is_idle_only_without_a_request() {
    let (_client, connection) = connection().await;
    let (supervisor, link) = (&connection.supervisor, &connection.monitor);
    let (first, second) = (connection.request(), connection.request());
    drop(first);
    advance(2 * LIMITS().idle_timeout).await;
    assert_eq!(supervisor.act(link), None);
    drop(second);
    advance(LIMITS().idle_timeout / 2).await;
    assert_eq!(supervisor.act(link), None);
    drop(connection.request());
    advance(LIMITS().idle_timeout * 3 / 4).await;
    assert_eq!(supervisor.act(link), None);
    advance(LIMITS().idle_timeout).await;
    assert_eq!(supervisor.act(link), Some(WaitEnd::Idle));
}

/// Where heads come one by one, the first byte of one begins its time; elsewhere bytes are no head.
#[tokio::test(start_paused = true)]
async fn bytes_begin_a_head_of_http1_alone() {
    for (one_by_one, over) in [(true, WaitEnd::Head), (false, WaitEnd::Idle)] {
        let (_client, connection) = connection().await;
        let (supervisor, link) = (&connection.supervisor, &connection.monitor);
        if one_by_one {
            supervisor.heads_come_one_by_one();
        }
        drop(connection.request());
        advance(LIMITS().idle_timeout.saturating_sub(Duration::from_secs(1))).await;
        supervisor.bytes_came();
        advance(Duration::from_secs(1)).await;
        assert_eq!(supervisor.act(link).is_none(), one_by_one);
        if one_by_one {
            advance(LIMITS().head_timeout).await;
            assert_eq!(supervisor.act(link), Some(over));
        }
    }
}
