//! Finds out whether a client that has closed its direction still reads.
//!
//! The end of a stream comes with a close as well as from a client that has nothing more to say. A byte tells
//! them apart: the kernel of one that has closed answers with a reset. Before the head of an HTTP/1.1 response
//! that byte can be an interim response, `100 Continue`, which clients must ignore (RFC 9110, section 15.2).
//! Others (102, 103) are not ignored by all.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::hold::{Hold, carries_response};
use super::progress::Progress;
use crate::net::Transport;

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether a probe is wanted, and whether it may be sent.
#[derive(Default)]
pub(super) struct Probe {
    wanted: AtomicBool,
    /// An HTTP/1.1 request waits for the head of its response. HTTP/1.0 knows no interim responses.
    allowed: AtomicBool,
}

impl Probe {
    /// The client has closed its direction: one probe is sent, as soon as that is allowed.
    pub(super) fn wanted(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// A request waits for its head, or no longer does.
    pub(super) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.allowed.load(Ordering::Acquire) && self.wanted.swap(false, Ordering::AcqRel)
    }
}

/// A stream that sends the probe. Hyper flushes it whenever it is polled, and only when it has nothing to
/// write, so that a probe never falls into a response.
pub(super) struct Probing {
    stream: Transport<Arc<Progress>>,
    connection: Arc<Connection>,
    /// What is left of the probe.
    rest: &'static [u8],
    hold: Hold,
    /// Whether the client has said its last word.
    ended: bool,
}

impl Probing {
    pub(super) fn new(stream: Transport<Arc<Progress>>, connection: Arc<Connection>) -> Self {
        Self { stream, connection, rest: &[], hold: Hold::default(), ended: false }
    }

    /// Ready when these bytes may be written.
    fn poll_ready(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !carries_response(bytes) {
            ready!(this.hold.poll(&this.connection, cx));
        }
        this.poll_rest(cx)
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.rest))?;
            self.rest = &self.rest[count..];
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Probing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, had_room) = (buf.filled().len(), buf.remaining() > 0);
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.ended |= had_room && buf.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Probing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx, buf))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx, bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf)))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
        if this.ended {
            ready!(this.hold.poll(&this.connection, cx));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
