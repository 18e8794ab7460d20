//! What a case is made of.

use std::fmt;
use std::time::Duration;

/// How a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 in clear.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls,
    /// HTTP/2 in clear, with prior knowledge.
    Http2,
    /// HTTP/2 over TLS, by ALPN.
    Http2Tls,
}

impl Protocol {
    /// Whether it is over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    /// Whether it is HTTP/2.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http1Tls => "HTTP/1.1 TLS",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "HTTP/2 TLS",
        })
    }
}

/// The request of a client that will leave: a poll, and what comes with it or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollRequest {
    /// A poll, and nothing else.
    Plain,
    /// HTTP/1.1: another request right behind it.
    Pipelined,
    /// HTTP/1.1: another request a little later, once the server has taken up the first.
    LatePipelined,
    /// HTTP/1.1: an empty line behind it.
    StrayLine,
    /// HTTP/1.1: an empty line a little later.
    LateStrayLine,
    /// HTTP/1.1: a body that fits in one packet.
    SmallBody,
    /// HTTP/1.1: 300 kB of body.
    LargeBody,
    /// HTTP/1.1: a body in chunks.
    ChunkedBody,
    /// HTTP/1.1: a body that waits for leave (`Expect: 100-continue`).
    ExpectBody,
    /// HTTP/1.1: as much of 20 MB of body as the server and both kernels take.
    EndlessBody,
    /// HTTP/1.1: half of a body with a known length.
    HalfBody,
    /// HTTP/1.1: a chunk without an end.
    HalfChunks,
    /// HTTP/1.1: a body whose second half comes later.
    LateBody,
    /// HTTP/2: a stream whose body is still to come.
    OpenBody,
    /// HTTP/2: a GOAWAY behind it.
    GoAway,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveMode {
    /// In order: over TLS with `close_notify`, then FIN.
    Close,
    /// With a FIN only: over TLS without `close_notify`.
    Fin,
    /// With a RST.
    Reset,
    /// Closes its sending half (FIN), and reads on.
    HalfClose,
    /// Over TLS: sends `close_notify`, and reads on.
    CloseNotify,
    /// HTTP/2: resets the stream, and keeps the connection.
    ResetStream,
}

impl LeaveMode {
    /// Whether such a client may still get an answer.
    #[must_use]
    pub fn reads_on(self) -> bool {
        matches!(self, Self::HalfClose | Self::CloseNotify)
    }
}

/// How large the event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSize {
    /// Some 60 bytes.
    Small,
    /// 256 KiB.
    Large,
}

/// How much of its answer a client takes from its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPortion {
    /// Nothing.
    None,
    /// Half of it.
    Half,
}

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundPlan {
    /// A parked client leaves, then an event is pushed: the next poll gets it.
    LeaveThenPush(PollRequest, LeaveMode),
    /// The same with nothing in between, so that the server may learn both at once.
    LeaveAndPush(LeaveMode),
    /// An event is pushed, and the parked client leaves without waiting for it: the next poll gets it.
    PushAndLeave(LeaveMode),
    /// A client that is still there gets its event.
    Stay(PollRequest),
    /// The answer reaches the client's kernel, and the client closes without reading all of it: the next
    /// poll gets the event again.
    Unread(EventSize, ReadPortion),
    /// The client reads its answer to the end and closes: the event does not come again.
    ReadThenClose(EventSize),
    /// The client reads its answer to the end and asks for something else on the same connection: the event
    /// does not come again.
    ReadThenAsk,
}

/// A way to leave (or to stay), and what has to become of the event.
#[derive(Clone, Copy, Debug)]
pub struct TestCase {
    /// The number of the stimulus. Several cases can share one.
    pub number: u32,
    /// A name that no other case has.
    pub name: &'static str,
    /// What the client does.
    pub stimulus: &'static str,
    /// What is to be seen then.
    pub expected: &'static str,
    /// By when: how long the next poll waits for the event, or after what time an event that was read must
    /// not come again.
    pub bound: Duration,
    /// Over what it makes sense.
    pub protocols: &'static [Protocol],
    /// What happens.
    pub play: RoundPlan,
}

impl TestCase {
    /// Whether it makes sense over this protocol.
    #[must_use]
    pub fn applies_to(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }
}
