//! Receipts: what is known of a response after the kernel has its last byte. Pure: it judges observations.

use std::ops::Range;
use std::time::Duration;

/// What is known of a written response, from the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The client's kernel did not get every byte, as far as this one knows.
    Undelivered {
        /// Whether the client may have got some of it.
        maybe_delivered: bool,
    },
    /// The client's kernel had every byte, but a client that leaves with bytes unread resets its connection,
    /// and this one was reset. Proxies reset those that they have read, too.
    Unread,
    /// The client's kernel has every byte. Whether the client has read them is not known.
    Acknowledged,
    /// Every byte was written. On this system nothing more can be known.
    Written,
    /// After it had every byte, the client closed in order, which takes that it left nothing unread, or sent
    /// its next request.
    Read,
}

impl Receipt {
    /// A word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undelivered { .. } => "undelivered",
            Self::Unread => "unread",
            Self::Acknowledged => "acknowledged",
            Self::Written => "written",
            Self::Read => "read",
        }
    }
}

/// What the kernel has counted of a connection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpCounters {
    /// Bytes of this side that the peer has acknowledged.
    pub(super) acked: u64,
    /// Bytes of the peer that have come in, read or not.
    pub(super) received: u64,
    /// Bytes of this side that were never sent yet, for want of room on the way or at the peer.
    pub(super) unsent: u32,
    /// Segments of this side that were sent again.
    pub(super) retransmitted: u32,
    /// Bytes of this side that the client has read, at the least. None if the kernel does not tell.
    pub(super) read: Option<u64>,
    /// For how long nothing has come from the client's kernel that it has to answer; zero if it owes no answer.
    pub(super) silent: Duration,
    /// The smoothed round-trip time.
    pub(super) rtt: Duration,
    /// The shortest round-trip time of late.
    pub(super) min_rtt: Duration,
}

impl TcpCounters {
    /// Bytes of this side that the client has, as far as the kernel tells.
    pub(super) fn moved(&self) -> u64 {
        self.read.unwrap_or(self.acked)
    }
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// The client closed its direction.
    Closed,
    /// The client half-closed, and its kernel refused the bytes after that.
    ClosedThenReset,
    /// The client reset it.
    Reset,
    /// The client stopped responding.
    Unresponsive,
}

/// A connection at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SocketObservation {
    pub(super) counts: TcpCounters,
    pub(super) end: Option<ConnectionEnd>,
    /// How many bytes had been read when the latest request began, if one began after the response.
    pub(super) next_request: Option<u64>,
    /// How long after the last bytes of the response began to be written.
    pub(super) after: Duration,
}

/// Follows one response to its receipt.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiptTracker {
    /// The response's place in what the connection has written.
    first: u64,
    end: u64,
    /// Whether the client had closed its direction before, so that this says nothing about the response.
    half_closed: bool,
    resets_tell_nothing: bool,
    /// What had come in when the last byte was acknowledged.
    received_before: Option<u64>,
    /// What had come in before the last bytes were written, if that was noted.
    received_at_mark: Option<u64>,
    /// Whether the whole response was on its way when it was first looked at, and segments sent again by then.
    under_way: Option<(bool, u32)>,
    counts: TcpCounters,
}

impl ReceiptTracker {
    /// A response that takes up `span` among the bytes of its connection.
    pub(super) fn new(span: &Range<u64>, received_at_mark: Option<u64>, half_closed: bool) -> Self {
        Self {
            first: span.start,
            end: span.end,
            half_closed,
            resets_tell_nothing: false,
            received_before: None,
            received_at_mark,
            under_way: None,
            counts: TcpCounters::default(),
        }
    }

    /// The same, from one that resets connections whatever it has read.
    pub(super) fn whose_resets_tell_nothing(self, so: bool) -> Self {
        Self { resets_tell_nothing: so, ..self }
    }

    /// Whether the client's kernel has every byte.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.received_before.is_some()
    }

    /// How many bytes of the response the client had when it was last looked at, as far as the kernel tells.
    pub(super) fn moved(&self) -> u64 {
        self.counts.moved().saturating_sub(self.first)
    }

    /// Whether the kernel will tell when the client has read it.
    pub(super) fn awaits_reading(&self) -> bool {
        self.counts.read.is_some()
    }

    /// The round-trip time when it was last looked at.
    pub(super) fn rtt(&self) -> Duration {
        self.counts.rtt
    }

    /// The receipt, if what is seen now makes it final.
    pub(super) fn observe(&mut self, seen: &SocketObservation) -> Option<Receipt> {
        let counts = seen.counts;
        self.under_way.get_or_insert((counts.unsent == 0, counts.retransmitted));
        if self.received_before.is_none() && counts.acked >= self.end {
            self.received_before = Some(self.received_before_acknowledgement(seen));
        }
        self.counts = counts;
        match (self.received_before, seen.end) {
            (None, Some(ConnectionEnd::Closed) | None) => None,
            (None, Some(end)) => Some(self.undelivered(Some(end))),
            (Some(_), end) if let Some(read) = counts.read => self.after_reading(read, end),
            (Some(before), end) => self.after_acknowledgement(before, end, seen.next_request),
        }
    }

    /// The receipt when nothing more is waited for.
    pub(super) fn give_up(&self) -> Receipt {
        match self.received_before {
            Some(_) if self.awaits_reading() => Receipt::Unread,
            Some(_) => Receipt::Acknowledged,
            None => self.undelivered(None),
        }
    }

    /// What had come in before the acknowledgement did.
    ///
    /// That is seen only now, perhaps together with what came after it. But if the response went out at once
    /// and nothing of it was lost, what came in since, and a round trip later, was sent by a client that had
    /// all of it.
    fn received_before_acknowledgement(&self, now: &SocketObservation) -> u64 {
        let TcpCounters { received, min_rtt, retransmitted, .. } = now.counts;
        match self.received_at_mark {
            Some(at_mark) if self.under_way == Some((true, retransmitted)) && now.after >= min_rtt => at_mark,
            _ => received,
        }
    }

    fn after_acknowledgement(
        &self,
        received_before: u64,
        end: Option<ConnectionEnd>,
        next_request: Option<u64>,
    ) -> Option<Receipt> {
        if next_request.is_some_and(|read| read > received_before) {
            return Some(Receipt::Read);
        }
        let reset = if self.resets_tell_nothing { Receipt::Acknowledged } else { Receipt::Unread };
        match end {
            Some(ConnectionEnd::Reset) => Some(reset),
            Some(ConnectionEnd::ClosedThenReset) if self.half_closed => Some(reset),
            Some(ConnectionEnd::Closed) if self.half_closed => None,
            // What was reset after the close is what this side wrote after the response.
            Some(ConnectionEnd::Closed | ConnectionEnd::ClosedThenReset) => Some(Receipt::Read),
            Some(ConnectionEnd::Unresponsive) => Some(Receipt::Acknowledged),
            None => None,
        }
    }

    /// The receipt where the kernel tells what was read. It forgets that when the client closes: what was unread is then
    /// known by the reset alone.
    fn after_reading(&self, read: u64, end: Option<ConnectionEnd>) -> Option<Receipt> {
        match end {
            Some(ConnectionEnd::Reset | ConnectionEnd::ClosedThenReset) => Some(Receipt::Unread),
            _ if read >= self.end => Some(Receipt::Read),
            _ => None,
        }
    }

    fn undelivered(&self, end: Option<ConnectionEnd>) -> Receipt {
        let any_acked = self.counts.acked > self.first;
        // Acknowledgements are delayed, and a reset brings none. Only who had closed before has nothing.
        let refused_all = end == Some(ConnectionEnd::ClosedThenReset) && !self.half_closed;
        Receipt::Undelivered { maybe_delivered: any_acked || !refused_all }
    }
}

#[cfg(test)]
mod tests;
