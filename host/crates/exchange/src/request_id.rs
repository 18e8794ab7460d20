//! The name of a request.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderValue;

use linger_base::random_u32;

/// Names a request in the log, and to the client when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// A name that no other request of this process has.
    #[must_use]
    pub fn next() -> Self {
        static PROCESS: OnceLock<u32> = OnceLock::new();
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let process = *PROCESS.get_or_init(random_u32);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(u64::from(process) << 32 | u64::from(number))
    }
}

impl RequestId {
    /// As a header has it.
    #[must_use]
    pub fn to_header(self) -> HeaderValue {
        // Digits are allowed in headers.
        HeaderValue::from_bytes(&self.digits()).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }

    /// Sixteen digits, by hand: each request has its name written, more than once.
    fn digits(self) -> [u8; 16] {
        let bytes = self.0.to_be_bytes();
        std::array::from_fn(|place| {
            let byte = bytes[place / 2];
            b"0123456789abcdef"[usize::from(if place % 2 == 0 { byte >> 4 } else { byte & 0xf })]
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}
