//! The replies to NATS about a delivered event.

use std::time::Duration;

use bytes::Bytes;

pub(crate) const DONE: Bytes = Bytes::from_static(b"+ACK");
pub(crate) const BACK: Bytes = Bytes::from_static(b"-NAK");
pub(crate) const HELD: Bytes = Bytes::from_static(b"+WPI");

/// Not before that.
pub(crate) fn later(delay: Duration) -> Bytes {
    format!("-NAK {{\"delay\": {}}}", delay.as_nanos()).into()
}
