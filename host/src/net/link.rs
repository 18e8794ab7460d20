//! A connection as two parties see it: hyper, which reads and writes, and those who must know what became
//! of what was written.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::cancel::Reason;

/// Told when all that was written before has left for the kernel. Dropped instead when that never happens.
pub trait Flushed: Send {
    /// All that was written before is in the kernel's hands.
    fn flushed(self);
}

/// What is known about a connection, beside the bytes that pass.
pub struct Link<T> {
    stream: TcpStream,
    departure: AtomicU8,
    /// `None` once the connection is gone.
    unflushed: Mutex<Option<Vec<T>>>,
    /// Spares the lock in a flush that nobody waits for.
    any_unflushed: AtomicBool,
}

const HERE: u8 = 0;
const CLOSED: u8 = 1;
const RESET: u8 = 2;

impl<T: Flushed> Link<T> {
    /// A link over a connected stream.
    pub fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            departure: AtomicU8::new(HERE),
            unflushed: Mutex::new(Some(Vec::new())),
            any_unflushed: AtomicBool::new(false),
        })
    }

    /// The reading and writing end, for hyper. What waits for a flush is dropped with it.
    pub fn socket(self: &Arc<Self>) -> Socket<T> {
        Socket(self.clone())
    }

    /// How the client left, as far as reads and writes have shown it.
    pub fn departure(&self) -> Option<Reason> {
        match self.departure.load(Ordering::Acquire) {
            CLOSED => Some(Reason::Closed),
            RESET => Some(Reason::Reset),
            _ => None,
        }
    }

    /// Asks the kernel whether the client has closed or reset the connection, even with bytes unread.
    /// One system call, which does not block.
    #[cfg(target_os = "linux")]
    pub fn ask_departure(&self) -> Option<Reason> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        // An error (a signal, say) leaves it unknown, as if the client were there.
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
        let found = fds[0].revents();
        if found.intersects(PollFlags::ERR | PollFlags::HUP) {
            Some(Reason::Reset)
        } else if found.intersects(PollFlags::RDHUP) {
            Some(Reason::Closed)
        } else {
            None
        }
    }

    /// Other systems cannot tell without reading.
    #[cfg(not(target_os = "linux"))]
    pub fn ask_departure(&self) -> Option<Reason> {
        self.departure()
    }

    /// Calls `waiter` after the next flush, or drops it when the connection goes before.
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
        if self.any_unflushed.swap(false, Ordering::AcqRel) {
            let waiters = self.unflushed().as_mut().map(std::mem::take);
            waiters.into_iter().flatten().for_each(T::flushed);
        }
    }

    fn unflushed(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, departure: u8) {
        // The first sign counts: a write to a closed connection is answered by a reset.
        let _ = self.departure.compare_exchange(HERE, departure, Ordering::AcqRel, Ordering::Acquire);
    }

    fn note_failure(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.note(RESET);
        }
    }
}

/// The reading and writing end of a [`Link`].
pub struct Socket<T: Flushed>(Arc<Link<T>>);

impl<T: Flushed> Drop for Socket<T> {
    fn drop(&mut self) {
        let lost = self.0.unflushed().take();
        drop(lost);
    }
}

impl<T: Flushed> AsyncRead for Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.0;
        let had_room = buf.remaining() > 0;
        loop {
            ready!(link.stream.poll_read_ready(cx))?;
            match link.stream.try_read_buf(buf) {
                Ok(0) if had_room => {
                    link.note(CLOSED);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => return Poll::Ready(Ok(())),
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
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.0.note_failure(&error);
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
        self.0.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        use rustix::net::{Shutdown, shutdown};
        // A connection that the client has reset has nothing left to shut down.
        let _ = shutdown(&self.0.stream, Shutdown::Write);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
