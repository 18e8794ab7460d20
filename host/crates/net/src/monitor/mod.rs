//! A connection as two sides see it: hyper, which reads and writes, and the code that must know what became
//! of what was written.

mod reader;
mod socket;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{Notify, SetOnce};
use tokio::time::Instant;

use linger_base::{ClientProbe, Reason};
use linger_config::HalfClosePolicy;

use crate::receipt::ConnectionEnd;
use crate::stream::SocketStream;
use crate::system::ReadAheadBuffer;
use reader::ReaderTracker;

pub use socket::MonitoredSocket;

/// Told when all that was written before has left for the kernel. Dropped instead when that never happens.
pub trait FlushObserver: Send {
    /// All that was written before is in the kernel's hands. Gives itself back to be told again.
    fn on_flush(self) -> Option<Self>
    where
        Self: Sized;
}

/// What is known about a connection, beside the bytes that pass.
pub struct SocketMonitor<T> {
    pub(super) stream: SocketStream,
    pub(super) ahead: ReadAheadBuffer,
    eof: HalfClosePolicy,
    /// After this silence a client that was given up counts as unresponsive.
    patience: Option<Duration>,
    opened: Instant,
    /// When something was read last, in milliseconds after `opened`.
    last_read: AtomicU64,
    departure: SetOnce<Reason>,
    /// The client's direction has ended, which may not be its departure.
    half_closed: AtomicBool,
    /// The connection was reset, whether before or after the client closed its direction.
    reset: AtomicBool,
    /// This side has closed its direction.
    pub(super) write_closed: AtomicBool,
    abandoned: SetOnce<()>,
    flushes: AtomicU64,
    pub(super) bytes: ByteCounts,
    reader: ReaderTracker,
    /// Who waits for a next request.
    pub(super) requests: ReceivedCounts,
    /// Whether something was read that may not have been used yet.
    reading: AtomicBool,
    /// Notified when all that had come in was read and used.
    read_dry: Notify,
    /// `None` once the connection is gone.
    unflushed: Mutex<Option<Vec<T>>>,
    /// Spares the lock in a flush that nobody waits for.
    any_unflushed: AtomicBool,
}

/// Bytes that have passed.
#[derive(Default)]
pub(super) struct ByteCounts {
    pub(super) read: AtomicU64,
    pub(super) written: AtomicU64,
}

/// The requests of a connection that has one at a time.
#[derive(Default)]
pub(super) struct ReceivedCounts {
    pub(super) count: AtomicU64,
    /// How many bytes had been read when the latest began.
    pub(super) read: AtomicU64,
    pub(super) began: Arc<Notify>,
}

impl<T: FlushObserver> SocketMonitor<T> {
    /// A link over a connected stream. `patience` is the silence after which a client that is given up for
    /// whatever reason counts as unresponsive.
    pub fn new(
        stream: impl Into<SocketStream>,
        patience: Option<Duration>,
        eof: HalfClosePolicy,
    ) -> Arc<Self> {
        Arc::new(Self {
            stream: stream.into(),
            ahead: ReadAheadBuffer::default(),
            eof,
            patience,
            opened: Instant::now(),
            last_read: AtomicU64::new(0),
            departure: SetOnce::new(),
            half_closed: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            write_closed: AtomicBool::new(false),
            abandoned: SetOnce::new(),
            flushes: AtomicU64::new(0),
            bytes: ByteCounts::default(),
            reader: ReaderTracker::default(),
            requests: ReceivedCounts::default(),
            reading: AtomicBool::new(false),
            read_dry: Notify::new(),
            unflushed: Mutex::new(Some(Vec::new())),
            any_unflushed: AtomicBool::new(false),
        })
    }

    /// The reading and writing end, for hyper. What waits for a flush is dropped with it.
    pub fn socket(self: &Arc<Self>) -> MonitoredSocket<T> {
        MonitoredSocket::new(self.clone())
    }

    /// Waits until the first bytes tell something, which stay to be read. None if they end before. To be called while
    /// nothing was read ahead.
    pub async fn peek<R>(&self, buf: &mut [u8], tell: impl Fn(&[u8]) -> Option<R>) -> io::Result<Option<R>> {
        self.stream.peek(buf, tell).await
    }

    /// How the client disconnected, if that has been noticed.
    pub fn departure(&self) -> Option<Reason> {
        self.departure.get().copied()
    }

    /// Waits until the client has left, and says how. Cancel-safe.
    pub async fn wait_departed(&self) -> Reason {
        *self.departure.wait().await
    }

    /// Whether the client has half-closed, which may or may not be a disconnect.
    pub fn is_half_closed(&self) -> bool {
        self.half_closed.load(Ordering::Acquire)
    }

    /// How the connection has ended, as far as it has been noticed.
    pub(super) fn end(&self) -> Option<ConnectionEnd> {
        let reset = self.reset.load(Ordering::Acquire);
        match self.departure() {
            Some(Reason::Unresponsive) => Some(ConnectionEnd::Unresponsive),
            Some(Reason::Reset) => Some(ConnectionEnd::Reset),
            Some(Reason::Closed) if reset => Some(ConnectionEnd::ClosedThenReset),
            _ if self.is_half_closed() => Some(ConnectionEnd::Closed),
            _ => None,
        }
    }

    /// Whether the connection was abandoned because nothing came in for too long.
    pub fn is_silent(&self) -> bool {
        let last_read = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.patience.is_some_and(|patience| self.opened.elapsed().saturating_sub(last_read) >= patience)
    }

    /// The time of the last read.
    pub fn last_read(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_read.load(Ordering::Relaxed))
    }

    /// Abandons the connection: its task should drop it. Bytes that the kernel has not sent yet must not arrive later.
    pub fn abandon(&self) {
        self.stream.reset_on_close();
        // Once is enough.
        let _ = self.abandoned.set(());
    }

    /// Waits until the connection was given up. Cancel-safe.
    pub async fn wait_abandoned(&self) {
        self.abandoned.wait().await;
    }

    /// How often the kernel has taken all written bytes.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// How many bytes the kernel has taken, in all.
    pub fn written_bytes(&self) -> u64 {
        self.bytes.written.load(Ordering::Acquire)
    }

    /// Notes that a request begins on a connection that has one at a time: whoever sends it has read the
    /// responses before, unless it sent it ahead.
    pub fn request_begins(&self) {
        self.requests.read.store(self.bytes.read.load(Ordering::Acquire), Ordering::Release);
        self.requests.count.fetch_add(1, Ordering::AcqRel);
        self.requests.began.notify_waiters();
    }

    /// Whether something has come in that has not been used. One system call, which does not block.
    pub fn has_unused_input(&self) -> bool {
        // In the order in which bytes move on: from the kernel to the reader.
        let unread = self.poll_now(PollFlags::IN).is_some_and(|found| found.intersects(PollFlags::IN));
        unread || self.reading.load(Ordering::Acquire)
    }

    /// Whether anything has come in yet. One system call at most, which does not block.
    pub fn has_come(&self) -> bool {
        self.bytes.read.load(Ordering::Acquire) > 0 || self.has_unused_input()
    }

    /// Waits until all that has come in was read and used, but not for longer than `limit`.
    pub async fn read_dry(&self, limit: Duration) {
        let dry = async {
            loop {
                let dry = self.read_dry.notified();
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

    pub(super) fn poll_now(&self, wanted: PollFlags) -> Option<PollFlags> {
        let mut fds = [PollFd::new(&self.stream, wanted)];
        // An error (a signal, say) leaves it unknown.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        Some(fds[0].revents())
    }

    /// Asks the kernel whether the client has disconnected, even with bytes unread. One system call, which does not
    /// block.
    pub fn ask_departure(&self) -> Option<Reason> {
        if self.departure().is_none() {
            self.look();
        }
        self.departure()
    }

    /// Like [`ask_departure`](Self::ask_departure), for an exchange that cannot go on: there the end of the
    /// client's stream is always a disconnect.
    pub fn ask_ending(&self) -> Option<Reason> {
        self.ask_departure().or_else(|| self.is_half_closed().then_some(Reason::Closed))
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

    /// All that was written has left for the kernel.
    pub(super) fn record_flush(&self) {
        self.flushes.fetch_add(1, Ordering::AcqRel);
        self.sift_unflushed(T::on_flush);
    }

    /// Passes each waiter for a flush to `keep`. A waiter that is not returned waits no longer.
    pub fn sift_unflushed(&self, keep: impl FnMut(T) -> Option<T>) {
        if self.any_unflushed.swap(false, Ordering::AcqRel) {
            let waiters = self.unflushed().as_mut().map(std::mem::take);
            // Outside of the lock: they may ask for something here.
            waiters.into_iter().flatten().filter_map(keep).for_each(|waiter| self.when_flushed(waiter));
        }
    }

    /// There will be no further flush.
    pub(super) fn lose_unflushed(&self) {
        let lost = self.unflushed().take();
        drop(lost);
    }

    fn unflushed(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.unflushed.lock()
    }

    /// Hyper and h2 use all that they have before they read on.
    pub(super) fn note_dry(&self) {
        self.reading.store(false, Ordering::Release);
        self.read_dry.notify_waiters();
    }

    /// What is read from here on may not be used at once.
    pub(super) fn note_reading(&self) {
        self.reading.store(true, Ordering::Release);
    }

    pub(super) fn note_read(&self, count: usize) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_read.store(now, Ordering::Relaxed);
        self.bytes.read.fetch_add(count as u64, Ordering::AcqRel);
    }

    pub(super) fn mark_closed(&self) {
        self.half_closed.store(true, Ordering::Release);
        if self.eof == HalfClosePolicy::Gone {
            self.note(Reason::Closed);
        }
    }

    /// The client has closed both directions in order.
    pub(super) fn mark_left(&self) {
        self.half_closed.store(true, Ordering::Release);
        self.note(Reason::Closed);
    }

    pub(super) fn note_reset(&self) {
        if !self.is_half_closed() && self.end_came_before_reset() {
            self.half_closed.store(true, Ordering::Release);
        }
        self.reset.store(true, Ordering::Release);
        // A reset that follows a close is what the client's kernel answers to the next byte.
        self.note(if self.is_half_closed() { Reason::Closed } else { Reason::Reset });
    }

    pub(super) fn note_failure(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => {}
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                self.note(Reason::Unresponsive);
            }
            // Where it has left nothing unread there is no error besides, and it has closed in order.
            io::ErrorKind::BrokenPipe if matches!(self.stream, SocketStream::Unix(_)) => {
                match self.stream.take_error() {
                    Ok(Some(_)) => self.note_reset(),
                    _ => self.mark_left(),
                }
            }
            io::ErrorKind::BrokenPipe if self.departure().is_none() => {
                // Reset after it was closed: so the kernel tells it from a mere reset.
                self.half_closed.store(true, Ordering::Release);
                self.note_reset();
            }
            _ => self.note_reset(),
        }
    }

    /// Notes that the client does not respond, or does not read.
    pub fn note_unresponsive(&self) {
        self.note(Reason::Unresponsive);
    }

    fn note(&self, departure: Reason) {
        // The first sign counts: a write to a closed connection is answered by a reset.
        let _ = self.departure.set(departure);
    }
}

impl<T: FlushObserver> ClientProbe for SocketMonitor<T> {
    fn ask_departure(&self) -> Option<Reason> {
        Self::ask_departure(self)
    }
}

impl<T> fmt::Debug for SocketMonitor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketMonitor")
            .field("stream", &self.stream)
            .field("departure", &self.departure)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
