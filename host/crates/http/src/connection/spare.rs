//! Releases the memory that an idle or parked connection does not need.
//!
//! With HTTP/1.1 hyper has 8 KiB ready to read into, of which a page was written to when the request was read. A poll that is
//! parked, an event stream, a client that may come again: none of them needs it. Where nothing has begun for a second or two,
//! those pages go back to the system; it costs some microseconds once, and one when the next request is read. (With HTTP/2
//! the buffer moves on through its memory. Where clients may half-close, hyper offers no buffer while a request is served.)

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::Notify;

/// Who waits for this long is likely to wait for longer.
const QUIET: Duration = Duration::from_secs(1);

/// Connections that have their turn before others get theirs.
const AT_ONCE: usize = 64;

/// The connections of a thread on which something began lately.
#[derive(Default)]
pub struct Spares {
    lately: Mutex<Vec<Weak<Spare>>>,
    some: Notify,
}

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Spare {
    /// Looks at it until its pages go, if nothing begins meanwhile. None: it is not among those of lately.
    looks: AtomicU8,
    /// Its pages are to go.
    due: AtomicBool,
    reader: AtomicWaker,
}

/// The first look may be soon after the beginning.
const LOOKS: u8 = 2;

impl Spares {
    /// A request begins.
    pub(crate) fn begins(&self, spare: &Arc<Spare>) {
        spare.due.store(false, Ordering::Release);
        if spare.looks.swap(LOOKS, Ordering::AcqRel) == 0 {
            self.lately().push(Arc::downgrade(spare));
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
                let on: Vec<_> = some.iter().filter(|spare| !is_quiet(spare)).cloned().collect();
                self.lately().extend(on);
                tokio::task::yield_now().await;
            }
        }
    }

    fn lately(&self) -> MutexGuard<'_, Vec<Weak<Spare>>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks whether a connection has become quiet, or has gone. In that case its pages go.
fn is_quiet(spare: &Weak<Spare>) -> bool {
    let Some(spare) = spare.upgrade() else { return true };
    let quiet = spare.looks.fetch_sub(1, Ordering::AcqRel) == 1;
    if quiet {
        spare.due.store(true, Ordering::Release);
        spare.reader.wake();
    }
    quiet
}

impl Spare {
    /// Hyper has a buffer, and nothing to read into it. Returns whether its pages go now; otherwise hyper is to be woken when
    /// they are to.
    pub(crate) fn goes(&self, reader: &Waker) -> bool {
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

    use linger_config::{Eof, Limits};
    use linger_net::{Link, Transport};

    use super::*;
    use crate::connection::serving::{Serving, Terms};
    use crate::connection::stream::ClientStream;
    use crate::connection::version::Version;
    use crate::connection::{Connection, Entrance};
    use crate::request::body::GuardedBody;

    async fn connection() -> (TcpStream, Arc<Connection>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let link = Link::new(listener.accept().await.unwrap().0, None, Eof::Gone);
        (client, Connection::new(link, &Entrance::default(), &Limits::default(), None))
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
        let mut stream = ClientStream::new(Transport::Plain(connection.link.socket()), connection.clone());
        let (spares, mut tending) = (Arc::new(Spares::default()), JoinSet::new());
        let tended = spares.clone();
        tending.spawn(async move { tended.tend().await });
        let (page, half) = (rustix::param::page_size(), QUIET / 2);
        assert_eq!(left_after(&mut stream, 10 * QUIET).await, 4 * page, "nothing began before");
        for _ in 0..8 {
            spares.begins(connection.spare.as_ref().unwrap());
            assert_eq!(left_after(&mut stream, half).await, 4 * page, "something has begun");
        }
        assert!(left_after(&mut stream, 2 * QUIET).await < 2 * page);
        assert_eq!(left_after(&mut stream, 10 * QUIET).await, 4 * page, "they went before");
        spares.begins(connection.spare.as_ref().unwrap());
        assert!(left_after(&mut stream, 3 * QUIET).await < 2 * page);
        assert!(spares.lately().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn hyper_gives_pages_back_while_a_request_waits() {
        let (mut client, connection) = connection().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let stream = ClientStream::new(Transport::Plain(connection.link.socket()), connection.clone());
        let (spares, spare) = (Spares::default(), connection.spare.clone().unwrap());
        let handler = service_fn(|_| {
            spares.begins(&spare);
            pending::<Result<Response<GuardedBody>, Infallible>>()
        });
        let (limits, detection, tasks) = Default::default();
        let terms = Terms { limits: &limits, detection: &detection, eof: Eof::Gone, tasks: &tasks };
        let serving = Serving::new(Version::Http1, stream, handler, &terms);
        let both = async { tokio::join!(serving, spares.tend()) };
        assert!(tokio::time::timeout(3 * QUIET, both).await.is_err());
        let (looks, due) = (spare.looks.load(Ordering::Acquire), spare.due.load(Ordering::Acquire));
        assert_eq!((looks, due), (0, false), "they were due, and went");
        assert!(spares.lately().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_has_gone_is_forgotten() {
        let (spares, mut tending) = (Arc::new(Spares::default()), JoinSet::new());
        let tended = spares.clone();
        tending.spawn(async move { tended.tend().await });
        let (_client, connection) = connection().await;
        spares.begins(connection.spare.as_ref().unwrap());
        drop(connection);
        tokio::time::sleep(2 * QUIET).await;
        assert!(spares.lately().is_empty());
    }
}
