//! The stream that hyper reads and writes: sends probes, keeps back what should wait, and sees streams reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::frames::{Resets, carries_response};
use super::hold::Hold;
use super::probe::INTERIM;
use super::progress::Progress;
use crate::net::{Transport, release};

/// The transport of one connection. Hyper flushes it whenever it is polled, and only when it has nothing to
/// write, so that a probe never falls into a response.
pub(super) struct ClientStream {
    stream: Transport<Arc<Progress>>,
    connection: Arc<Connection>,
    /// What is left of the probe.
    rest: &'static [u8],
    hold: Hold,
    /// Whether the client has said its last word.
    ended: bool,
    /// How much came after the last answer.
    wasted: usize,
    resets: Resets,
    /// Whether what was read last resets a stream.
    has_reset: bool,
}

impl ClientStream {
    pub(super) fn new(stream: Transport<Arc<Progress>>, connection: Arc<Connection>) -> Self {
        let (hold, resets) = (Hold::default(), Resets::default());
        Self { stream, connection, rest: &[], hold, ended: false, wasted: 0, resets, has_reset: false }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Ready when these bytes may be written.
    fn poll_ready(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !carries_response(bytes) {
            ready!(this.hold.poll(&this.connection, cx));
        }
        this.poll_rest(cx)
    }

    /// Ready when the client has said its last word, or too much. What comes before is of no use any more.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        const LIMIT: usize = 64 * 1024;
        let mut waste = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            self.wasted += buf.filled().len();
            if read.is_err() || buf.filled().is_empty() || self.wasted > LIMIT {
                return Poll::Ready(());
            }
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.rest))?;
            self.rest = &self.rest[count..];
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // H2 reads on only when it has used what it had.
        if std::mem::take(&mut self.has_reset) {
            self.connection.stream_was_reset();
        }
        let (before, had_room) = (buf.filled().len(), buf.remaining() > 0);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) else {
            if self.connection.spare.as_ref().is_some_and(|spare| spare.goes(cx.waker())) {
                release(buf);
            }
            return Poll::Pending;
        };
        read?;
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.connection.supervisor.bytes_came();
        }
        self.ended |= had_room && read.is_empty();
        self.has_reset = self.resets.begin_in(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx, buf))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.note_blocked(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf)))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.connection.note_blocked(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.probe.take() {
            self.rest = INTERIM;
        }
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ended && this.hold.poll_closing(&this.connection, cx).is_pending() {
            ready!(this.poll_last_word(cx));
            // It waits for an answer to that, or goes: as if it had closed first.
            this.ended = true;
            this.hold = Hold::default();
        }
        if this.ended {
            ready!(this.hold.poll(&this.connection, cx));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
