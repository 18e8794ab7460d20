//! The progress of a response's body: from the guest to hyper, and from hyper into the socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};

use linger_net::ReceiptBaseline;

use crate::connection::{AwaitsFlush, Connection, UnflushedResponse};
use crate::request::guard::Guard;

/// The bytes of one body that are with hyper, and who wants to know when they have left.
///
/// Hyper asks for a body's last frame long before it can send it, where the client's window is full. So the
/// end of the body means nothing: each frame is a [`TrackedChunk`], which hyper and h2 consume only as it is
/// written. The response is delivered when all of it was consumed, and the connection flushed after that.
pub(crate) struct BodyProgress {
    connection: Arc<Connection>,
    /// Whether other threads drive the connection, as with HTTP/2.
    shared: bool,
    /// What the connection had written before.
    first: u64,
    outstanding: AtomicU64,
    /// The connection's count of flushes when bytes were last consumed.
    consumed_at: AtomicU64,
    /// What the connection had written when the end of the stream was yet to be written, if it was.
    more_than: AtomicU64,
    /// The connection's count of resets when hyper last looked whether this stream was reset, or before.
    resets: AtomicU64,
    any_sent: Arc<AtomicBool>,
    tail: Mutex<BodyTail>,
}

/// What ends a response after its last chunk: the last chunk of all, or the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseRest {
    /// Hyper is told now that it comes.
    ToCome,
    /// It went along with the last chunk, if it was of HTTP/2, and may have been flushed with it.
    Passed,
}

#[derive(Default)]
struct BodyTail {
    /// From the end of the body on.
    guard: Option<(Guard, Option<ReceiptBaseline>)>,
    /// A chunk was dropped before all of it was consumed.
    torn: bool,
}

impl BodyProgress {
    /// The progress of a body on `connection`, which notes in `any_sent` when the first bytes leave.
    pub(crate) fn new(connection: Arc<Connection>, shared: bool, any_sent: Arc<AtomicBool>) -> Arc<Self> {
        let (flushes, first) = (connection.monitor.flushes(), connection.monitor.written_bytes());
        Arc::new(Self {
            shared,
            first,
            outstanding: AtomicU64::new(0),
            consumed_at: AtomicU64::new(flushes),
            more_than: AtomicU64::new(0),
            resets: AtomicU64::new(connection.resets()),
            connection,
            any_sent,
            tail: Mutex::default(),
        })
    }

    /// The whole body is with hyper: settles the guard when it is known what became of it.
    pub(crate) fn end(self: Arc<Self>, guard: Guard, mark: Option<ReceiptBaseline>, rest: ResponseRest) {
        let mut tail = self.tail();
        if tail.torn {
            drop(tail);
            return;
        }
        tail.guard = Some((guard, mark));
        drop(tail);
        // With HTTP/1.1 this thread drives the connection, and has yet to write what comes after the last chunk.
        if !self.shared || rest == ResponseRest::ToCome {
            self.consumed_at.store(self.connection.monitor.flushes(), Ordering::Release);
        }
        if self.shared && rest == ResponseRest::ToCome {
            // Another thread may flush before it has that end to write.
            self.more_than.store(self.connection.monitor.written_bytes(), Ordering::Release);
        }
        self.connection.monitor.when_flushed(UnflushedResponse(self.clone()));
        // Another thread may have flushed before, or read that the stream was reset.
        if self.connection.resets() != self.resets.load(Ordering::Acquire) {
            self.lose_unwritten_end();
        }
        self.settle_if_flushed();
    }

    /// Before hyper looks whether the stream was reset: what comes from here on is for this to notice.
    pub(crate) fn note_resets(&self) {
        self.resets.store(self.connection.resets(), Ordering::Release);
    }

    fn has_written_more(&self) -> bool {
        match self.more_than.load(Ordering::Acquire) {
            0 => true,
            before => self.connection.monitor.written_bytes() > before,
        }
    }

    fn tear(&self) {
        // Dropped without a word, and outside of the lock: the client has left.
        drop(self.take());
    }

    /// Gives the body up. Its guard is to say why, if it is still to come.
    pub(crate) fn take(&self) -> Option<Guard> {
        let mut tail = self.tail();
        tail.torn = true;
        Some(tail.guard.take()?.0)
    }

    /// Bytes that are with hyper or h2.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Whether it may take long until all that is with h2 has left.
    pub(crate) fn may_stay(&self) -> bool {
        /// What a socket takes that is not blocked.
        const SMALL: u64 = 16 * 1024;
        self.shared && (self.outstanding() > SMALL || self.connection.is_blocked())
    }

    fn tail(&self) -> MutexGuard<'_, BodyTail> {
        self.tail.lock()
    }
}

impl AwaitsFlush for BodyProgress {
    fn settle_if_flushed(&self) -> bool {
        if self.tail().torn {
            return true;
        }
        let consumed = self.outstanding.load(Ordering::Acquire) == 0 && self.has_written_more();
        if !consumed || self.connection.monitor.flushes() <= self.consumed_at.load(Ordering::Acquire) {
            return false;
        }
        let guard = self.tail().guard.take();
        if let Some((guard, mark)) = guard {
            guard.end_delivered(&(self.first..self.connection.monitor.written_bytes()), mark);
        }
        true
    }

    /// Which stream was reset only h2 knows, and it says nothing where all that is left is the end of the stream: that is
    /// then never written.
    fn lose_unwritten_end(&self) -> bool {
        let may_be_lost = !self.has_written_more();
        if may_be_lost {
            self.any_sent.store(true, Ordering::Release);
            self.tear();
        }
        may_be_lost
    }
}

/// Bytes on their way into the socket.
pub(crate) struct TrackedChunk {
    bytes: Bytes,
    /// `None` for what nobody asks about.
    progress: Option<Arc<BodyProgress>>,
}

impl TrackedChunk {
    pub(crate) fn new(bytes: Bytes, progress: Option<&Arc<BodyProgress>>) -> Self {
        if let Some(progress) = progress {
            progress.outstanding.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        }
        Self { bytes, progress: progress.cloned() }
    }

    /// The first bytes of it, as many as that if there are so many.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let count = count.min(self.bytes.len());
        Self { bytes: self.bytes.split_to(count), progress: self.progress.clone() }
    }

    fn record_consumed(&self, count: usize) {
        if let (Some(progress), 1..) = (&self.progress, count) {
            progress.any_sent.store(true, Ordering::Release);
            progress.consumed_at.store(progress.connection.monitor.flushes(), Ordering::Release);
            progress.outstanding.fetch_sub(count as u64, Ordering::AcqRel);
        }
    }
}

impl Buf for TrackedChunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.record_consumed(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        let bytes = self.bytes.copy_to_bytes(count);
        self.record_consumed(count);
        bytes
    }
}

impl Drop for TrackedChunk {
    fn drop(&mut self) {
        if let (Some(progress), true) = (&self.progress, self.bytes.has_remaining()) {
            progress.tear();
        }
    }
}

#[cfg(test)]
mod tests;
