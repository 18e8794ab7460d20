//! What any system tells of a connection: its end, to who reads. So somebody reads: ahead of hyper, up to a
//! bound, so that the end is not stuck behind bytes that hyper cannot use yet.

use std::io;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{Interest, ReadBuf};
use tokio::sync::Notify;

use super::monitor::{FlushObserver, SocketMonitor};
use super::receipt::{self, TcpCounters};
use super::stream::SocketStream;

/// Bytes that are read ahead at most. Beyond, a client that leaves is noticed when hyper reads on.
const LIMIT: usize = 64 * 1024;

/// What was read ahead.
#[derive(Debug, Default)]
pub(super) struct ReadAheadBuffer {
    state: Mutex<ReadAheadState>,
    /// Notified when there is room again.
    room: Notify,
}

#[derive(Debug, Default)]
struct ReadAheadState {
    bytes: BytesMut,
    end: Option<StreamEnd>,
    reader: Option<Waker>,
}

/// What the reader gets after the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    Closed,
    Failed(io::ErrorKind),
}

impl ReadAheadBuffer {
    fn state(&self) -> MutexGuard<'_, ReadAheadState> {
        self.state.lock()
    }

    /// Reads; 0 at the end.
    pub(super) fn poll_read(
        &self,
        stream: &SocketStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        if state.bytes.is_empty() && state.end.is_none() {
            // Nothing lies ahead: straight from the socket.
            state.fill(stream, buf.remaining().clamp(1, LIMIT));
        }
        if !state.bytes.is_empty() {
            let count = state.bytes.len().min(buf.remaining());
            buf.put_slice(&state.bytes[..count]);
            state.bytes.advance(count);
            self.room.notify_one();
            return Poll::Ready(Ok(count));
        }
        match state.end {
            Some(StreamEnd::Closed) => Poll::Ready(Ok(0)),
            Some(StreamEnd::Failed(kind)) => Poll::Ready(Err(kind.into())),
            None => {
                state.reader = Some(cx.waker().clone());
                drop(state);
                // The watcher may not run.
                match stream.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    /// Reads ahead until the stream ends. Cancel-safe.
    async fn run(&self, stream: &SocketStream, mut came: impl FnMut()) -> io::Result<()> {
        loop {
            stream.ready(Interest::READABLE).await?;
            match self.read_once(stream) {
                ReadOutcome::Nothing => {}
                ReadOutcome::Full => self.room.notified().await,
                ReadOutcome::Some(end) => {
                    came();
                    match end {
                        None => {}
                        Some(StreamEnd::Closed) => return Ok(()),
                        Some(StreamEnd::Failed(kind)) => return Err(kind.into()),
                    }
                }
            }
        }
    }

    fn read_once(&self, stream: &SocketStream) -> ReadOutcome {
        let mut state = self.state();
        let room = LIMIT.saturating_sub(state.bytes.len());
        if room == 0 {
            return ReadOutcome::Full;
        }
        if state.end.is_none() && !state.fill(stream, room) {
            return ReadOutcome::Nothing;
        }
        state.reader.take().into_iter().for_each(Waker::wake);
        ReadOutcome::Some(state.end)
    }
}

/// What reading ahead came to.
enum ReadOutcome {
    Nothing,
    Full,
    Some(Option<StreamEnd>),
}

impl ReadAheadState {
    /// Reads once. Whether there was anything, the end included.
    fn fill(&mut self, stream: &SocketStream, room: usize) -> bool {
        self.bytes.reserve(room);
        match stream.try_read_buf(&mut bytes::BufMut::limit(&mut self.bytes, room)) {
            Ok(0) => self.end = Some(StreamEnd::Closed),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => self.end = Some(StreamEnd::Failed(error.kind())),
        }
        true
    }
}

impl<T: FlushObserver> SocketMonitor<T> {
    /// Notices what hyper cannot see: it does not read while bytes that it has not used lie before the end
    /// of the stream. Resolves once there is something to do: the client has departed or, where that may not
    /// be the same, has closed its direction. After that only a write tells more.
    pub async fn watch(&self) {
        if self.is_half_closed() {
            self.wait_departed().await;
            return;
        }
        match self.ahead.run(&self.stream, || self.note_reading()).await {
            Ok(()) => self.mark_closed(),
            Err(error) => self.note_failure(&error),
        }
    }

    /// Such a system cannot tell without reading.
    #[expect(clippy::unused_self, reason = "elsewhere it asks the kernel")]
    pub(super) fn look(&self) {}

    /// Nor whether both came.
    #[expect(clippy::unused_self, reason = "elsewhere it asks the kernel")]
    pub(super) fn end_came_before_reset(&self) -> bool {
        false
    }

    /// Nor what is on its way.
    #[expect(clippy::unused_self, reason = "elsewhere it asks the kernel")]
    pub(super) fn counts(&self) -> Option<TcpCounters> {
        None
    }

    /// Nor what was acknowledged.
    #[expect(clippy::unused_self, reason = "elsewhere it asks the kernel")]
    pub(super) fn look_and_count(&self) -> Option<(Option<receipt::ConnectionEnd>, TcpCounters)> {
        None
    }
}

#[cfg(test)]
mod tests;
