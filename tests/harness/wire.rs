//! The socket under an HTTP/2 client: a look at the frames that go through it, and how it ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::socket::Socket;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;

/// On DATA and HEADERS.
const END_STREAM: u8 = 1;

/// The last stream of the server's own, of which there are none, and no error.
const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What has been written to the socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Of each kind.
    frames: HashMap<u8, usize>,
    /// The end of the preface, or a part of a frame's head, that has been seen so far.
    head: Vec<u8>,
    /// What is to be skipped before the next frame.
    skip: usize,
    preface: bool,
}

impl Sent {
    /// How many frames of this kind.
    pub(super) fn frames(&self, kind: u8) -> usize {
        self.frames.get(&kind).copied().unwrap_or_default()
    }

    fn is_between_frames(&self) -> bool {
        self.preface && self.skip == 0 && self.head.is_empty()
    }

    fn note(&mut self, mut bytes: &[u8]) {
        if !std::mem::replace(&mut self.preface, true) {
            self.skip = PREFACE;
        }
        while !bytes.is_empty() {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            let (head, rest) = rest.split_at((FRAME_HEAD - self.head.len()).min(rest.len()));
            self.head.extend_from_slice(head);
            bytes = rest;
            if let &[a, b, c, kind, ..] = self.head.as_slice()
                && self.head.len() == FRAME_HEAD
            {
                self.skip = length(a, b, c);
                *self.frames.entry(kind).or_default() += 1;
                self.head.clear();
            }
        }
    }
}

/// What has been read from the socket.
#[derive(Default)]
struct Received {
    /// The start of a frame.
    rest: BytesMut,
    /// For each stream its data, and whether that is all.
    streams: HashMap<u32, (BytesMut, bool)>,
}

impl Received {
    fn note(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let &[a, b, c, kind, flags, d, e, f, g, ..] = &self.rest[..]
            && self.rest.len() >= FRAME_HEAD + length(a, b, c)
        {
            let frame = self.rest.split_to(FRAME_HEAD + length(a, b, c));
            let (data, ended) = self.streams.entry(u32::from_be_bytes([d, e, f, g])).or_default();
            if kind == DATA {
                data.extend_from_slice(&frame[FRAME_HEAD..]);
            }
            *ended |= matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        }
    }
}

fn length(a: u8, b: u8, c: u8) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

/// What a client that owns no socket says of it.
#[derive(Default)]
pub(super) struct Wire {
    /// `None` where nobody will ask.
    received: Option<Mutex<Received>>,
    stopped: AtomicBool,
    reset: AtomicBool,
    goes_away: AtomicBool,
}

impl Wire {
    pub(super) fn stop_reading(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn reset_at_the_end(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Sends GOAWAY before what is written next.
    pub(super) fn go_away(&self) {
        self.goes_away.store(true, Ordering::Relaxed);
    }

    /// The data of a stream so far, and whether that is all.
    pub(super) fn received(&self, stream: u32) -> (Bytes, bool) {
        let received = self.received.as_ref().expect("a connection that is recorded").lock().unwrap();
        let Some((data, ended)) = received.streams.get(&stream) else { return (Bytes::new(), false) };
        (data.clone().freeze(), *ended)
    }
}

/// A socket that says what has been written to it and read from it.
pub(super) struct Watched {
    stream: Socket,
    sent: watch::Sender<Sent>,
    wire: Arc<Wire>,
}

impl Watched {
    pub(super) fn new(stream: Socket, recorded: bool) -> (Self, watch::Receiver<Sent>, Arc<Wire>) {
        let (sender, sent) = watch::channel(Sent::default());
        let wire = Arc::new(Wire { received: recorded.then(Mutex::default), ..Wire::default() });
        (Self { stream, sent: sender, wire: wire.clone() }, sent, wire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.wire.reset.load(Ordering::Relaxed) {
            self.stream.tcp().set_zero_linger().unwrap();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.wire.stopped.load(Ordering::Relaxed) {
            // Nobody asks again before it is closed.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(received) = &self.wire.received {
            received.lock().unwrap().note(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.wire.goes_away.load(Ordering::Relaxed) && self.sent.borrow().is_between_frames() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, GO_AWAY))?;
            assert_eq!(written, GO_AWAY.len(), "there is room for so little");
            self.sent.send_modify(|sent| sent.note(GO_AWAY));
            self.wire.goes_away.store(false, Ordering::Relaxed);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.sent.send_modify(|sent| sent.note(&bytes[..written]));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
