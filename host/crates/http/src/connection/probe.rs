//! Finds out whether a half-closed client still reads.
//!
//! The end of a stream comes with a close as well as from a client that has nothing more to say. A byte tells
//! them apart: the kernel of one that has closed answers with a reset. Before the head of an HTTP/1.1 response
//! that byte can be an interim response, `100 Continue`, which clients must ignore (RFC 9110, section 15.2).
//! Others (102, 103) are not ignored by all.

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whether a probe is wanted, and whether it may be sent.
#[derive(Default)]
pub(crate) struct PingProbe {
    wanted: AtomicBool,
    /// An HTTP/1.1 request waits for the head of its response. HTTP/1.0 knows no interim responses.
    allowed: AtomicBool,
}

impl PingProbe {
    /// The client has closed its direction: one probe is sent, as soon as that is allowed.
    pub(crate) fn request(&self) {
        self.wanted.store(true, Ordering::Release);
    }

    /// A request waits for its head, or no longer does.
    pub(crate) fn allow(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Release);
    }

    /// Whether to send it now.
    pub(crate) fn take(&self) -> bool {
        self.allowed.load(Ordering::Acquire) && self.wanted.swap(false, Ordering::AcqRel)
    }
}
