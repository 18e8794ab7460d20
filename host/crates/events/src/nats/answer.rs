//! The replies to NATS about a delivered event.

use std::time::Duration;

use bytes::Bytes;

pub(super) const DONE: Bytes = Bytes::from_static(b"+ACK");
pub(super) const BACK: Bytes = Bytes::from_static(b"-NAK");
pub(super) const HELD: Bytes = Bytes::from_static(b"+WPI");

/// Not before that.
pub(super) fn later(delay: Duration) -> Bytes {
    format!("-NAK {{\"delay\": {}}}", delay.as_nanos()).into()
}
