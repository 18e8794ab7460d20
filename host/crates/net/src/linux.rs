//! What Linux tells of a connection: its end, behind whatever bytes, and what was acknowledged.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use rustix::event::PollFlags;
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use tokio::io::{Interest, ReadBuf};

use super::monitor::{FlushObserver, SocketMonitor};
use super::receipt::{ConnectionEnd, TcpCounters};
use super::stream::SocketStream;
use super::{tcp_info, unix_info};

/// Nothing has to be read ahead.
#[derive(Debug, Default)]
pub(super) struct ReadAheadBuffer(());

impl ReadAheadBuffer {
    /// Reads; 0 at the end.
    #[expect(
        unsafe_code,
        reason = "hyper's buffers are not initialized, and filling them costs more than the call"
    )]
    #[expect(clippy::unused_self, reason = "elsewhere it reads from what was read ahead")]
    pub(super) fn poll_read(
        &self,
        stream: &SocketStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let mut count = None;
            let read = stream.try_io(Interest::READABLE, || {
                // SAFETY: nothing is written but what was read.
                let room = unsafe { buf.unfilled_mut() };
                let length = room.len();
                let read = recv(stream, room, RecvFlags::empty())?.1;
                count = Some(read);
                // There was less than there is room for. So there is no more, and the kernel tells when there is: a
                // further read would be in vain.
                if 0 < read && read < length { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (count, read) {
                (Some(count), _) => {
                    // SAFETY: so many bytes were read into it.
                    unsafe { buf.assume_init(count) };
                    buf.advance(count);
                    return Poll::Ready(Ok(count));
                }
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl<T: FlushObserver> SocketMonitor<T> {
    /// Notices what hyper cannot see: it does not read while bytes that it has not used lie before the end
    /// of the stream. Resolves once there is something to do: the client has departed or, where that may not
    /// be the same, has closed its direction. Called again, it goes on from there.
    ///
    /// Costs no system call while nothing happens: the kernel reports the end of the stream, behind
    /// whatever bytes, along with the readiness to read.
    pub async fn watch(&self) {
        // The end of the stream stays reported. After it only an error is news.
        let ended = self.is_half_closed();
        let interest = if ended { Interest::ERROR } else { Interest::PRIORITY };
        while self.departure().is_none() && self.is_half_closed() == ended {
            if self.stream.ready(interest).await.is_err() {
                // The runtime ends, and this future with it.
                return std::future::pending().await;
            }
            self.look();
            if self.departure().is_none() && self.is_half_closed() == ended {
                // Woken for nothing: forget that readiness, and wait for the next.
                let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = self.stream.try_io(interest, nothing);
            }
        }
    }

    /// Notes what the kernel says of the connection's end. One system call, which does not block.
    pub(super) fn look(&self) {
        let Some(found) = self.poll_now(PollFlags::RDHUP) else { return };
        if found.contains(PollFlags::ERR) {
            // Taken from the socket, so noted here: the next to ask sees no more than a closed one.
            match self.stream.take_error() {
                Ok(Some(error)) => self.note_failure(&error),
                _ => self.note_reset(),
            }
        } else if found.contains(PollFlags::HUP) && !self.write_closed.load(Ordering::Acquire) {
            // Both directions are closed, and not by this side.
            match self.stream {
                SocketStream::Tcp(_) => self.note_reset(),
                // With bytes that it has not read there would be an error.
                SocketStream::Unix(_) => self.mark_left(),
            }
        } else if found.contains(PollFlags::RDHUP) {
            self.mark_closed();
        }
    }

    /// Whether a connection that was reset had been closed before, which nobody has noticed: among the bytes
    /// that have come in, the kernel counts the end of the stream for one. Two system calls.
    pub(super) fn end_came_before_reset(&self) -> bool {
        let read = self.bytes.read.load(Ordering::Acquire);
        let unread = ioctl_fionread(&self.stream).unwrap_or(0);
        matches!(self.stream, SocketStream::Tcp(_))
            && self.counts().is_some_and(|counts| counts.received == read + unread + 1)
    }

    /// How the connection has ended, if it has, and what the kernel has counted. One system call while it is open, a few
    /// otherwise; none blocks.
    pub(super) fn look_and_count(&self) -> Option<(Option<ConnectionEnd>, TcpCounters)> {
        // First the end, here and below: what it says is about all that was acknowledged before.
        let end = self.end();
        if let SocketStream::Tcp(stream) = &self.stream
            && let Ok(Some(counts)) = tcp_info::counts_if_open(stream.as_fd())
        {
            return Some((end, counts));
        }
        self.look();
        let end = self.end();
        let counts = self.counts()?;
        if counts.read.is_none() {
            return Some((end, counts));
        }
        // Here it is the other way round: what a client has left unread counts as read once it has closed.
        self.look();
        Some((self.end(), counts))
    }

    /// What the kernel has counted. Up to two system calls, which do not block.
    pub(super) fn counts(&self) -> Option<TcpCounters> {
        match &self.stream {
            SocketStream::Tcp(stream) => tcp_info::counts(stream.as_fd()).ok(),
            SocketStream::Unix(stream) => {
                // First what was written: what is unread then is a part of it.
                let written = self.written_bytes();
                let unread = unix_info::unread(stream.as_fd()).ok()?;
                let received = self.bytes.read.load(Ordering::Acquire) + ioctl_fionread(stream).unwrap_or(0);
                let read = Some(written.saturating_sub(unread));
                Some(TcpCounters { acked: written, received, read, ..TcpCounters::default() })
            }
        }
    }
}
