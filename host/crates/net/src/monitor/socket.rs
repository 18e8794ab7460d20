//! The end of a connection that hyper reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{FlushObserver, SocketMonitor};
use crate::stream::SocketStream;

/// How long a connection that was shut down still reads while nothing comes, how long in all, and how much. A connection
/// that is closed with bytes unread is reset, and the reset can overtake the answer: a client that still sends its request
/// would not get to read it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_LONGEST: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// The reading and writing end of a [`SocketMonitor`].
pub struct MonitoredSocket<T: FlushObserver> {
    link: Arc<SocketMonitor<T>>,
    /// Set when the writing half was shut down: until when it still reads.
    lingering: Option<LingerPeriod>,
    discarded: usize,
}

/// Until when a connection that was shut down still reads.
struct LingerPeriod {
    quiet: Pin<Box<Sleep>>,
    longest: Instant,
}

impl LingerPeriod {
    fn begin() -> Self {
        let now = Instant::now();
        Self { quiet: Box::pin(sleep_until(now + LINGER)), longest: now + LINGER_LONGEST }
    }

    /// Something has come.
    fn go_on(&mut self) {
        self.quiet.as_mut().reset(self.longest.min(Instant::now() + LINGER));
    }
}

impl<T: FlushObserver> MonitoredSocket<T> {
    pub(super) fn new(link: Arc<SocketMonitor<T>>) -> Self {
        Self { link, lingering: None, discarded: 0 }
    }

    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&SocketStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.link.stream.poll_write_ready(cx))?;
            match write(&self.link.stream) {
                Ok(count) => {
                    self.link.bytes.written.fetch_add(count as u64, Ordering::AcqRel);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.link.note_failure(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Reads and throws away. Ready when nothing more is to be expected.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = &self.link;
        let mut waste = [0; 4096];
        while self.discarded < LINGER_BYTES {
            match ready!(link.ahead.poll_read(&link.stream, cx, &mut ReadBuf::new(&mut waste))) {
                Ok(0) => {
                    link.mark_closed();
                    break;
                }
                Ok(count) => {
                    self.discarded += count;
                    link.note_read(count);
                    if let Some(lingering) = &mut self.lingering {
                        lingering.go_on();
                    }
                }
                Err(error) => {
                    link.note_failure(&error);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: FlushObserver> Drop for MonitoredSocket<T> {
    fn drop(&mut self) {
        self.link.lose_unflushed();
    }
}

impl<T: FlushObserver> AsyncRead for MonitoredSocket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.link;
        let had_room = buf.remaining() > 0;
        // Before it reads: what it gets may be asked for at once.
        link.note_reading();
        match link.ahead.poll_read(&link.stream, cx, buf) {
            Poll::Pending => {
                link.note_dry();
                Poll::Pending
            }
            Poll::Ready(Ok(count)) => {
                if count == 0 && had_room {
                    link.mark_closed();
                }
                link.note_read(count);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => {
                link.note_failure(&error);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<T: FlushObserver> AsyncWrite for MonitoredSocket<T> {
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
        self.link.record_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let link = &this.link;
        this.lingering.get_or_insert_with(|| {
            link.write_closed.store(true, Ordering::Release);
            // A connection that the client has reset has nothing left to shut down.
            let _ = shutdown(&link.stream, Shutdown::Write);
            LingerPeriod::begin()
        });
        if link.departure().is_some() || this.poll_discard(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // After it was read, which puts it off.
        match &mut this.lingering {
            Some(lingering) => lingering.quiet.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
