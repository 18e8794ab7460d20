//! How far the body of a request has been read, when the head of its response is sent (RFC 9112, section 9.3).
//!
//! With HTTP/1.1 the next request comes behind the body of this one. So an answer that is there first either says that it
//! is the last of its connection, or what is left of the body is read for nothing, which is done where it is little.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue, header};

/// Its client waits for leave to send it.
const WAITS: u8 = 0;
/// There is more to come.
const OPEN: u8 = 1;
/// All of it was read.
const ENDED: u8 = 2;
/// Nothing more will be read.
const STOPPED: u8 = 3;

/// The length was not declared.
const UNKNOWN: u64 = u64::MAX;

/// The reader of a body tells it how far it is.
#[derive(Debug)]
pub(crate) struct BodyIntake {
    connection: KeepConnection,
    state: AtomicU8,
    /// Bytes that are still to come.
    left: AtomicU64,
    frames: AtomicU32,
    /// Whether what is left is read when the exchange has ended.
    drains: AtomicBool,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepConnection {
    /// Its client may send another request behind this one.
    Yes,
    /// The client has said that this is the last one.
    No,
    /// Its requests do not stand behind each other (HTTP/2).
    Streams,
}

impl BodyIntake {
    /// Of a body of which so much is to come, if that is known.
    pub(crate) fn new(connection: KeepConnection, on_demand: bool, length: Option<u64>) -> Self {
        Self {
            connection,
            state: AtomicU8::new(if on_demand { WAITS } else { OPEN }),
            left: AtomicU64::new(length.unwrap_or(UNKNOWN)),
            frames: AtomicU32::new(0),
            drains: AtomicBool::new(false),
        }
    }

    /// The client has leave to send it.
    pub(crate) fn begin(&self) {
        self.state.store(OPEN, Ordering::Release);
    }

    /// So many bytes of it have come.
    pub(crate) fn record_bytes(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        if left != UNKNOWN {
            self.left.store(left.saturating_sub(bytes as u64), Ordering::Relaxed);
        }
        self.frames.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn mark_ended(&self) {
        self.state.store(ENDED, Ordering::Release);
    }

    /// Nothing more of it will be read.
    pub(crate) fn mark_stopped(&self) {
        self.state.store(STOPPED, Ordering::Release);
    }

    /// Whether all of it was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.state() == ENDED
    }

    /// Whether what is left is to be read for the sake of the next request.
    pub(crate) fn drains(&self) -> bool {
        self.drains.load(Ordering::Acquire)
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    /// The head of the answer is about to be sent: settles what becomes of the rest of the body, and says so in the head.
    /// Of up to `bound` bytes it is read, and the connection stays. Takes no time but turns of what is there to be read.
    pub(crate) async fn conclude(&self, headers: &mut HeaderMap, bound: u64) {
        if self.connection == KeepConnection::Streams {
            return;
        }
        self.take_turns().await;
        if !self.is_kept(bound) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Where only the end says where the end is, it may be there already.
    async fn take_turns(&self) {
        /// More than small bodies have pieces.
        const MOST: usize = 8;
        for _ in 0..MOST {
            let frames = self.frames.load(Ordering::Acquire);
            if self.state() != OPEN || self.left.load(Ordering::Relaxed) != UNKNOWN {
                return;
            }
            tokio::task::yield_now().await;
            if self.frames.load(Ordering::Acquire) == frames {
                return;
            }
        }
    }

    fn is_kept(&self, bound: u64) -> bool {
        match self.state() {
            ENDED => true,
            OPEN if self.connection == KeepConnection::Yes && self.left.load(Ordering::Relaxed) <= bound => {
                self.drains.store(true, Ordering::Release);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn says_close(intake: &BodyIntake) -> bool {
        let mut headers = HeaderMap::new();
        intake.conclude(&mut headers, 10).now_or_never();
        headers.contains_key(header::CONNECTION)
    }

    #[test]
    fn what_is_little_is_read_and_what_is_not_ends_the_connection() {
        for (connection, on_demand, length, closes) in [
            (KeepConnection::Yes, false, Some(10), false),
            (KeepConnection::Yes, false, Some(11), true),
            (KeepConnection::Yes, true, Some(10), true),
            (KeepConnection::No, false, Some(10), true),
            (KeepConnection::Streams, false, Some(11), false),
        ] {
            let intake = BodyIntake::new(connection, on_demand, length);
            assert_eq!(says_close(&intake), closes, "{intake:?}");
            assert_eq!(intake.drains(), connection == KeepConnection::Yes && !closes);
        }
    }

    #[test]
    fn what_was_read_counts_no_more() {
        let intake = BodyIntake::new(KeepConnection::Yes, false, Some(30));
        intake.record_bytes(15);
        assert!(says_close(&intake));
        intake.record_bytes(5);
        assert!(!says_close(&intake));
        intake.mark_stopped();
        assert!(says_close(&intake));
        intake.mark_ended();
        assert!(!says_close(&intake));
    }
}
