//! Releases the memory that an idle or parked connection does not need.
//!
//! With HTTP/1.1 hyper has 8 KiB ready to read into, of which a page was written to when the request was read. A poll that is
//! parked, an event stream, a client that may come again: none of them needs it. Where nothing has begun for a second or two,
//! those pages go back to the system; it costs some microseconds once, and one when the next request is read. (With HTTP/2
//! the buffer moves on through its memory. Where clients may half-close, hyper offers no buffer while a request is served.)

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Who waits for this long is likely to wait for longer.
const QUIET: Duration = Duration::from_secs(1);

/// Connections that have their turn before others get theirs.
const AT_ONCE: usize = 64;

/// The connections of a thread on which something began lately.
#[derive(Default)]
pub struct IdleBuffers {
    lately: Mutex<Vec<Weak<IdleBuffer>>>,
    some: Notify,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct IdleBuffer {
    /// Looks at it until its pages go, if nothing begins meanwhile. None: it is not among those of lately.
    looks: AtomicU8,
    /// Its pages are to go.
    due: AtomicBool,
    reader: AtomicWaker,
}

/// The first look may be soon after the beginning.
const LOOKS: u8 = 2;

impl IdleBuffers {
    /// A request begins.
    pub(crate) fn record_begin(&self, idle_buffer: &Arc<IdleBuffer>) {
        idle_buffer.due.store(false, Ordering::Release);
        if idle_buffer.looks.swap(LOOKS, Ordering::AcqRel) == 0 {
            self.lately().push(Arc::downgrade(idle_buffer));
            self.some.notify_one();
        }
    }

    /// Sees to it that pages go, for as long as it is polled. Where nothing begins it does nothing.
    pub async fn tend(&self) {
        loop {
            if self.lately().is_empty() {
                self.some.notified().await;
                continue;
            }
            tokio::time::sleep(QUIET).await;
            let lately = std::mem::take(&mut *self.lately());
            for some in lately.chunks(AT_ONCE) {
                let on: Vec<_> = some.iter().filter(|idle_buffer| !is_quiet(idle_buffer)).cloned().collect();
                self.lately().extend(on);
                tokio::task::yield_now().await;
            }
        }
    }

    fn lately(&self) -> MutexGuard<'_, Vec<Weak<IdleBuffer>>> {
        self.lately.lock()
    }
}

/// Looks whether a connection has become quiet, or has gone. In that case its pages go.
fn is_quiet(idle_buffer: &Weak<IdleBuffer>) -> bool {
    let Some(idle_buffer) = idle_buffer.upgrade() else { return true };
    let quiet = idle_buffer.looks.fetch_sub(1, Ordering::AcqRel) == 1;
    if quiet {
        idle_buffer.due.store(true, Ordering::Release);
        idle_buffer.reader.wake();
    }
    quiet
}

impl IdleBuffer {
    /// Hyper has a buffer, and nothing to read into it. Returns whether its pages go now; otherwise hyper is to be woken when
    /// they are to.
    pub(crate) fn take_due(&self, reader: &Waker) -> bool {
        self.reader.register(reader);
        self.due.load(Ordering::Acquire) && self.due.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;

    use http::Response;
    use hyper::service::service_fn;
    use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    use linger_config::{HalfClosePolicy, ServerLimits};
    use linger_net::{SocketMonitor, Transport};

    use super::*;
    use crate::connection::{Connection, ListenerPolicy};
    use crate::request::body::GuardedBody;
    use crate::serving::protocol::{HyperSettings, ServedConnection};
    use crate::serving::stream::ClientStream;
    use crate::serving::version::HttpVersion;

    async fn connection() -> (TcpStream, Arc<Connection>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let link = SocketMonitor::new(listener.accept().await.unwrap().0, None, HalfClosePolicy::Gone);
        (client, Connection::new(link, &ListenerPolicy::default(), &ServerLimits::default(), None))
    }

    /// Reads, as hyper does whenever it is polled, for this long. Returns how many bytes of the buffer are as they were: ones.
    async fn left_after(stream: &mut ClientStream, time: Duration) -> usize {
        let mut memory = vec![1_u8; 4 * rustix::param::page_size()];
        let read = poll_fn(|cx| {
            assert!(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut memory)).is_pending());
            Poll::<()>::Pending
        });
        assert!(tokio::time::timeout(time, read).await.is_err());
        memory.iter().map(|&byte| usize::from(byte)).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn pages_go_once_when_nothing_begins_for_a_while() {
        let (_client, connection) = connection().await;
        let mut stream = ClientStream::new(Transport::Plain(connection.monitor.socket()), connection.clone());
        let (idle_buffers, mut tending) = (Arc::new(IdleBuffers::default()), JoinSet::new());
        let tended = idle_buffers.clone();
        tending.spawn(async move { tended.tend().await });
        let (page, half) = (rustix::param::page_size(), QUIET / 2);
        assert_eq!(left_after(&mut stream, 10 * QUIET).await, 4 * page, "nothing began before");
        for _ in 0..8 {
            idle_buffers.record_begin(connection.idle_buffer.as_ref().unwrap());
            assert_eq!(left_after(&mut stream, half).await, 4 * page, "something has begun");
        }
        assert!(left_after(&mut stream, 2 * QUIET).await < 2 * page);
        assert_eq!(left_after(&mut stream, 10 * QUIET).await, 4 * page, "they went before");
        idle_buffers.record_begin(connection.idle_buffer.as_ref().unwrap());
        assert!(left_after(&mut stream, 3 * QUIET).await < 2 * page);
        assert!(idle_buffers.lately().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn hyper_gives_pages_back_while_a_request_waits() {
        let (mut client, connection) = connection().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let stream = ClientStream::new(Transport::Plain(connection.monitor.socket()), connection.clone());
        let (idle_buffers, idle_buffer) = (IdleBuffers::default(), connection.idle_buffer.clone().unwrap());
        let handler = service_fn(|_| {
            idle_buffers.record_begin(&idle_buffer);
            pending::<Result<Response<GuardedBody>, Infallible>>()
        });
        let (limits, detection, tasks) = Default::default();
        let terms = HyperSettings {
            limits: &limits,
            detection: &detection,
            eof: HalfClosePolicy::Gone,
            tasks: &tasks,
        };
        let serving = ServedConnection::new(HttpVersion::Http1, stream, handler, &terms);
        let both = async { tokio::join!(serving, idle_buffers.tend()) };
        assert!(tokio::time::timeout(3 * QUIET, both).await.is_err());
        let (looks, due) =
            (idle_buffer.looks.load(Ordering::Acquire), idle_buffer.due.load(Ordering::Acquire));
        assert_eq!((looks, due), (0, false), "they were due, and went");
        assert!(idle_buffers.lately().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_has_gone_is_forgotten() {
        let (idle_buffers, mut tending) = (Arc::new(IdleBuffers::default()), JoinSet::new());
        let tended = idle_buffers.clone();
        tending.spawn(async move { tended.tend().await });
        let (_client, connection) = connection().await;
        idle_buffers.record_begin(connection.idle_buffer.as_ref().unwrap());
        drop(connection);
        tokio::time::sleep(2 * QUIET).await;
        assert!(idle_buffers.lately().is_empty());
    }
}
