//! The stream that hyper reads and writes: sends probes, keeps back what should wait, and sees streams reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use linger_net::{Transport, release};

use crate::ShardContext as Shared;
use crate::connection::defer_writes::DeferWrites;
use crate::connection::probe::INTERIM;
use crate::connection::{Connection, UnflushedResponse};
use crate::error_response;
use crate::request::refusal::{self, Refusal};
use crate::serving::frames::{ResetWatcher, carries_response};

/// What a client sends first that speaks TLS.
const HANDSHAKE: u8 = 22;

const TLS: &str = "this address does not use TLS; use http";

/// The transport of one connection. Hyper flushes it whenever it is polled, and only when it has nothing to
/// write, so that a probe never falls into a response.
pub(crate) struct ClientStream {
    stream: Transport<UnflushedResponse>,
    connection: Arc<Connection>,
    /// What is left of the probe, or of an answer in the place of hyper's.
    rest: Bytes,
    /// To whom it tells what it answers, if it does.
    context: Option<Arc<Shared>>,
    /// The first byte that the client sent.
    first: Option<u8>,
    hold: DeferWrites,
    /// Whether the client has said its last word.
    ended: bool,
    /// How much came after the last answer.
    wasted: usize,
    resets: ResetWatcher,
    /// Whether what was read last resets a stream.
    has_reset: bool,
}

impl ClientStream {
    pub(crate) fn new(stream: Transport<UnflushedResponse>, connection: Arc<Connection>) -> Self {
        let (hold, resets) = (DeferWrites::default(), ResetWatcher::default());
        Self {
            stream,
            connection,
            rest: Bytes::new(),
            context: None,
            first: None,
            hold,
            ended: false,
            wasted: 0,
            resets,
            has_reset: false,
        }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The same, which answers in hyper's place where hyper would by itself: to a head that it cannot read.
    pub(crate) fn answering(self, context: Arc<Shared>) -> Self {
        Self { context: Some(context), ..self }
    }

    /// Puts the host's answer in the place of hyper's, if these bytes are one. Whether they are done with.
    fn answers(&mut self, bytes: &[u8]) -> bool {
        let Some(context) = self.context.as_ref().filter(|_| bytes.starts_with(b"HTTP/1.")) else {
            return false;
        };
        // While there is a request, all that is written is the answer to it.
        if !self.connection.requests.is_empty() {
            return false;
        }
        let Some((status, date)) = refusal::of_hyper(bytes) else { return false };
        let refusal = Refusal { status, client: self.connection.peer().address() };
        let limits = &context.settings.load().limits;
        let is_tls = status == StatusCode::BAD_REQUEST && self.first == Some(HANDSHAKE);
        let text = if is_tls { TLS.to_owned() } else { error_response::unreadable(status, limits) };
        let id = refusal.tell(context, None);
        tracing::debug!(request = %id, "{text}");
        self.rest = error_response::plain(status, &text, id, date);
        true
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
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.rest))?;
            self.rest.advance(count);
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
            if self
                .connection
                .idle_buffer
                .as_ref()
                .is_some_and(|idle_buffer| idle_buffer.take_due(cx.waker()))
            {
                release(buf);
            }
            return Poll::Pending;
        };
        read?;
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.connection.supervisor.bytes_came();
        }
        self.first = self.first.or_else(|| read.first().copied());
        self.ended |= had_room && read.is_empty();
        self.has_reset = self.resets.begin_in(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(cx, buf))?;
        if self.answers(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.connection.mark_blocked(written.is_pending());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first: &[u8] = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[], |buf| buf);
        ready!(self.poll_ready(cx, first))?;
        if first.len() == bufs.iter().map(|buf| buf.len()).sum::<usize>() && self.answers(first) {
            return Poll::Ready(Ok(first.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.connection.mark_blocked(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.probe.take() {
            self.rest = Bytes::from_static(INTERIM);
        }
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_rest(cx))?;
        if !this.ended && this.hold.poll_closing(&this.connection, cx).is_pending() {
            ready!(this.poll_last_word(cx));
            // It waits for an answer to that, or goes: as if it had closed first.
            this.ended = true;
            this.hold = DeferWrites::default();
        }
        if this.ended {
            ready!(this.hold.poll(&this.connection, cx));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
