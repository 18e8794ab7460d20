//! A connection as two parties see it: hyper, which reads and writes, and those who must know what became
//! of what was written.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::cancel::Reason;

/// Told when all that was written before has left for the kernel. Dropped instead when that never happens.
pub trait Flushed: Send {
    /// All that was written before is in the kernel's hands. Gives itself back to be told again.
    fn flushed(self) -> Option<Self>
    where
        Self: Sized;
}

/// What is known about a connection, beside the bytes that pass.
pub struct Link<T> {
    stream: TcpStream,
    /// After this silence a client is taken for unresponsive.
    patience: Option<Duration>,
    opened: Instant,
    /// When something was read last, in milliseconds after `opened`.
    last_read: AtomicU64,
    departure: AtomicU8,
    departed: CancellationToken,
    abandoned: CancellationToken,
    flushes: AtomicU64,
    /// Whether something was read that may not have been used yet.
    reading: AtomicBool,
    /// Notified when all that had come in was read and used.
    read_dry: Notify,
    /// `None` once the connection is gone.
    unflushed: Mutex<Option<Vec<T>>>,
    /// Spares the lock in a flush that nobody waits for.
    any_unflushed: AtomicBool,
}

const HERE: u8 = 0;
const CLOSED: u8 = 1;
const RESET: u8 = 2;
const UNRESPONSIVE: u8 = 3;

impl<T: Flushed> Link<T> {
    /// A link over a connected stream, whose client is given up after `client_timeout` without a sign.
    pub fn new(stream: TcpStream, client_timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            stream,
            // The PING comes at a half, and its answer is awaited for a third.
            patience: client_timeout.map(|timeout| timeout * 3 / 4),
            opened: Instant::now(),
            last_read: AtomicU64::new(0),
            departure: AtomicU8::new(HERE),
            departed: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            flushes: AtomicU64::new(0),
            reading: AtomicBool::new(false),
            read_dry: Notify::new(),
            unflushed: Mutex::new(Some(Vec::new())),
            any_unflushed: AtomicBool::new(false),
        })
    }

    /// The reading and writing end, for hyper. What waits for a flush is dropped with it.
    pub fn socket(self: &Arc<Self>) -> Socket<T> {
        Socket { link: self.clone(), lingering: None, discarded: 0 }
    }

    /// How the client left, as far as it has been noticed.
    pub fn departure(&self) -> Option<Reason> {
        match self.departure.load(Ordering::Acquire) {
            CLOSED => Some(Reason::Closed),
            RESET => Some(Reason::Reset),
            UNRESPONSIVE => Some(Reason::Unresponsive),
            _ => None,
        }
    }

    /// Waits until the client has left, and says how. Cancel-safe.
    pub async fn departed(&self) -> Reason {
        self.departed.cancelled().await;
        // The token is cancelled only after the departure was noted.
        self.departure().unwrap_or(Reason::Closed)
    }

    /// Whether nothing has come in for so long that the connection was given up for that.
    pub fn is_silent(&self) -> bool {
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.patience.is_some_and(|patience| self.opened.elapsed().saturating_sub(last_read) >= patience)
    }

    fn note_read(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(now, Ordering::Relaxed);
    }

    /// Gives the connection up: whoever serves it should drop it.
    pub fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Waits until the connection was given up. Cancel-safe.
    pub async fn abandoned(&self) {
        self.abandoned.cancelled().await;
    }

    /// How often all that was written has left for the kernel.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Whether something has come in that has not been used. One system call, which does not block.
    pub fn has_unused_input(&self) -> bool {
        // In the order in which bytes move on: from the kernel to the reader.
        let unread = self.poll_now(PollFlags::IN).is_some_and(|found| found.intersects(PollFlags::IN));
        unread || self.reading.load(Ordering::Acquire)
    }

    /// Waits until all that has come in was read and used, but not for longer than `limit`.
    pub async fn read_dry(&self, limit: Duration) {
        let dry = async {
            loop {
                let mut dry = pin!(self.read_dry.notified());
                dry.as_mut().enable();
                if !self.has_unused_input() {
                    return;
                }
                // The reader can take itself for dry while the kernel has more that it was not told of yet.
                dry.await;
            }
        };
        // After the limit, what is known has to do.
        let _ = tokio::time::timeout(limit, dry).await;
    }

    fn poll_now(&self, wanted: PollFlags) -> Option<PollFlags> {
        let mut fds = [PollFd::new(&self.stream, wanted)];
        // An error (a signal, say) leaves it unknown.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        Some(fds[0].revents())
    }

    /// Notices a departure that hyper cannot see: it does not read while bytes that it has not used lie
    /// before the end of the stream. Resolves once [`departed`](Self::departed) does.
    ///
    /// Costs no system call while nothing happens: the kernel reports the end of the stream, behind
    /// whatever bytes, along with the readiness to read.
    #[cfg(target_os = "linux")]
    pub async fn watch(&self) {
        use tokio::io::Interest;

        while self.departure().is_none() {
            if self.stream.ready(Interest::PRIORITY).await.is_err() || self.ask_departure().is_some() {
                continue;
            }
            // Woken for nothing: forget that readiness, and wait for the next.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.stream.try_io(Interest::PRIORITY, nothing);
        }
    }

    /// Other systems report it only to who reads.
    #[cfg(not(target_os = "linux"))]
    pub async fn watch(&self) {
        self.departed().await;
    }

    /// Asks the kernel whether the client has closed or reset the connection, even with bytes unread.
    /// One system call, which does not block.
    #[cfg(target_os = "linux")]
    pub fn ask_departure(&self) -> Option<Reason> {
        if let Some(known) = self.departure() {
            return Some(known);
        }
        let found = self.poll_now(PollFlags::RDHUP)?;
        if found.contains(PollFlags::ERR) {
            // Taken from the socket, so noted here: the next to ask sees no more than a closed one.
            match self.stream.take_error() {
                Ok(Some(error)) => self.note_failure(&error),
                _ => self.note(RESET),
            }
        } else if found.contains(PollFlags::HUP) {
            // Both directions are closed, and not by this side: it shuts down only what it then drops.
            self.note(RESET);
        } else if found.contains(PollFlags::RDHUP) {
            self.note(CLOSED);
        }
        self.departure()
    }

    /// Other systems cannot tell without reading.
    #[cfg(not(target_os = "linux"))]
    pub fn ask_departure(&self) -> Option<Reason> {
        self.departure()
    }

    /// Tells `waiter` of each flush from the next one on, or drops it when the connection goes.
    pub fn when_flushed(&self, waiter: T) {
        let mut unflushed = self.unflushed();
        // Otherwise it is dropped, and outside of the lock: it may ask for something here.
        let too_late = match unflushed.as_mut() {
            Some(waiters) => {
                waiters.push(waiter);
                None
            }
            None => Some(waiter),
        };
        self.any_unflushed.store(true, Ordering::Release);
        drop(unflushed);
        drop(too_late);
    }

    fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
        if self.any_unflushed.swap(false, Ordering::AcqRel) {
            let waiters = self.unflushed().as_mut().map(std::mem::take);
            // Told outside of the lock: they may ask for something here.
            waiters.into_iter().flatten().filter_map(T::flushed).for_each(|waiter| self.when_flushed(waiter));
        }
    }

    fn unflushed(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, departure: u8) {
        // The first sign counts: a write to a closed connection is answered by a reset.
        let _ = self.departure.compare_exchange(HERE, departure, Ordering::AcqRel, Ordering::Acquire);
        self.departed.cancel();
    }

    fn note_failure(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => self.note(UNRESPONSIVE),
            _ => self.note(RESET),
        }
    }
}

impl<T> fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("stream", &self.stream)
            .field("departure", &self.departure)
            .finish_non_exhaustive()
    }
}

/// How long a connection that was shut down still reads, and how much. A connection that is closed with
/// bytes unread is reset, and the reset can overtake the answer: a client that still sends its request
/// would not get to read it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// The reading and writing end of a [`Link`].
pub struct Socket<T: Flushed> {
    link: Arc<Link<T>>,
    /// Set when the writing half was shut down: until when it still reads.
    lingering: Option<Pin<Box<Sleep>>>,
    discarded: usize,
}

impl<T: Flushed> Drop for Socket<T> {
    fn drop(&mut self) {
        let lost = self.link.unflushed().take();
        drop(lost);
    }
}

impl<T: Flushed> AsyncRead for Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.link;
        let had_room = buf.remaining() > 0;
        loop {
            if link.stream.poll_read_ready(cx)?.is_pending() {
                // Hyper and h2 use all that they have before they read on.
                link.reading.store(false, Ordering::Release);
                link.read_dry.notify_waiters();
                return Poll::Pending;
            }
            link.reading.store(true, Ordering::Release);
            match link.stream.try_read_buf(buf) {
                Ok(0) if had_room => {
                    link.note(CLOSED);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {
                    link.note_read();
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    link.note_failure(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl<T: Flushed> Socket<T> {
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_write_ready(cx))?;
            match write(&self.link.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.link.note_failure(&error);
                    return Poll::Ready(Err(error));
                }
                written => return Poll::Ready(written),
            }
        }
    }
}

impl<T: Flushed> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let link = &this.link;
        let until = this.lingering.get_or_insert_with(|| {
            // A connection that the client has reset has nothing left to shut down.
            let _ = shutdown(&link.stream, Shutdown::Write);
            Box::pin(tokio::time::sleep(LINGER))
        });
        let mut waste = [0; 4096];
        while link.departure().is_none()
            && this.discarded < LINGER_BYTES
            && until.as_mut().poll(cx).is_pending()
        {
            ready!(link.stream.poll_read_ready(cx))?;
            match link.stream.try_read(&mut waste) {
                Ok(0) => break,
                Ok(count) => this.discarded += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
