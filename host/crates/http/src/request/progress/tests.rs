use std::sync::Weak;

use futures::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use linger_base::{ClientProbe, Reason};
use linger_config::{HalfClosePolicy, ServerLimits};
use linger_exchange::{Exchange, Generation, RequestInfo, RoutePolicy};
use linger_net::{MonitoredSocket, SocketMonitor};

use super::*;
use crate::connection::{ClientMonitor, Connection, ListenerPolicy};
use crate::request::access::AccessRecord;
use crate::request::shares::RequestPermits;

struct ProgressFixture {
    _client: TcpStream,
    socket: MonitoredSocket<UnflushedResponse>,
    connection: Arc<Connection>,
    exchange: Arc<Exchange>,
    guard: Guard,
    progress: Arc<BodyProgress>,
}

async fn fixture(http2: bool) -> ProgressFixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let link: Arc<ClientMonitor> =
        SocketMonitor::new(listener.accept().await.unwrap().0, None, HalfClosePolicy::Gone);
    let asked: Weak<dyn ClientProbe> = Arc::<ClientMonitor>::downgrade(&link);
    let exchange = Arc::new(Exchange::new(
        Generation::new(linger_telemetry::Metrics::default().of_app("app"), 1),
        RoutePolicy::default(),
        1,
        asked,
        RequestInfo::default(),
    ));
    let connection =
        Connection::new(link.clone(), &ListenerPolicy::default(), &ServerLimits::default(), None);
    let access = AccessRecord::default();
    let shares = RequestPermits::free(&connection);
    let guard = Guard::new(exchange.clone(), connection.clone(), http2, access, shares);
    let progress = guard.progress();
    ProgressFixture { _client: client, socket: link.socket(), connection, exchange, guard, progress }
}

fn reason(exchange: &Exchange) -> Option<Reason> {
    let ended = exchange.wait_ended().now_or_never().is_some();
    assert_eq!(ended, exchange.cancellation.reason().is_some());
    exchange.cancellation.reason()
}

fn chunk(fixture: &ProgressFixture, text: &'static str) -> TrackedChunk {
    TrackedChunk::new(Bytes::from_static(text.as_bytes()), Some(&fixture.progress))
}

#[tokio::test]
async fn flush_delivers_only_after_all_was_consumed() {
    let mut f = fixture(false).await;
    let mut chunk = chunk(&f, "hello");
    chunk.advance(2);
    f.progress.end(f.guard, None, ResponseRest::Passed);
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), None);
    chunk.advance(3);
    assert_eq!(reason(&f.exchange), None, "what was consumed is yet to be flushed");
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), Some(Reason::Completed));
}

#[tokio::test]
async fn torn_chunk_is_a_loss() {
    for ended_first in [true, false] {
        let f = fixture(true).await;
        let mut chunk = chunk(&f, "hello");
        chunk.advance(4);
        if ended_first {
            f.progress.end(f.guard, None, ResponseRest::Passed);
            drop(chunk);
        } else {
            drop(chunk);
            f.progress.end(f.guard, None, ResponseRest::Passed);
        }
        assert_eq!(reason(&f.exchange), Some(Reason::Reset));
    }
}

#[tokio::test]
async fn lost_connection_is_a_loss() {
    let f = fixture(false).await;
    chunk(&f, "hello").advance(5);
    f.progress.end(f.guard, None, ResponseRest::Passed);
    drop(f.socket);
    assert_eq!(reason(&f.exchange), Some(Reason::Closed));
}

#[tokio::test]
async fn bodiless_response_waits_for_its_head() {
    let mut f = fixture(false).await;
    f.socket.flush().await.unwrap();
    f.progress.end(f.guard, None, ResponseRest::Passed);
    assert_eq!(reason(&f.exchange), None, "the flush before was of another response");
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), Some(Reason::Completed));
}

#[tokio::test]
async fn flush_by_another_thread_counts_for_http2() {
    let mut f = fixture(true).await;
    chunk(&f, "hello").advance(5);
    f.socket.flush().await.unwrap();
    f.progress.end(f.guard, None, ResponseRest::Passed);
    assert_eq!(reason(&f.exchange), Some(Reason::Completed));
}

#[tokio::test]
async fn end_of_a_stream_is_flushed_as_well() {
    let mut f = fixture(true).await;
    chunk(&f, "hello").advance(5);
    f.socket.write_all(b"hello").await.unwrap();
    f.socket.flush().await.unwrap();
    f.progress.end(f.guard, None, ResponseRest::ToCome);
    assert_eq!(reason(&f.exchange), None, "the end of the stream is yet to be flushed");
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), None, "the end of the stream is yet to be written");
    f.socket.write_all(b"end").await.unwrap();
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), Some(Reason::Completed));
}

#[tokio::test]
async fn reset_before_the_end_of_a_stream_is_a_loss() {
    for noticed_before in [true, false] {
        let mut f = fixture(true).await;
        f.socket.write_all(b"head").await.unwrap();
        f.socket.flush().await.unwrap();
        if noticed_before {
            f.connection.stream_was_reset();
        }
        f.progress.end(f.guard, None, ResponseRest::ToCome);
        if !noticed_before {
            assert_eq!(reason(&f.exchange), None);
            f.connection.stream_was_reset();
        }
        assert_eq!(reason(&f.exchange), Some(Reason::Reset));
    }
}

#[tokio::test]
async fn reset_that_hyper_saw_is_of_another_stream() {
    let mut f = fixture(true).await;
    f.socket.write_all(b"head").await.unwrap();
    f.connection.stream_was_reset();
    f.progress.note_resets();
    f.progress.end(f.guard, None, ResponseRest::ToCome);
    f.socket.write_all(b"end").await.unwrap();
    f.connection.stream_was_reset();
    assert_eq!(reason(&f.exchange), None, "the end of the stream has been written");
    f.socket.flush().await.unwrap();
    assert_eq!(reason(&f.exchange), Some(Reason::Completed));
}
