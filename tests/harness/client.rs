//! A request under way on a connection of its own, of either version of HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::http1::Cut;
use super::http2::TestStream;
use super::{Answer, Head, Http1, Http2, Protocol, Request};

/// A request that was sent.
pub(crate) enum Open {
    One(Http1),
    Two(TestStream),
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientLeave {
    /// Closes the connection.
    Close,
    /// Resets the connection (HTTP/1.1) or the stream (HTTP/2).
    Reset,
}

impl ClientLeave {
    /// The reason that the guest is told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Close => "closed",
            Self::Reset => "reset",
        }
    }
}

impl Open {
    pub(crate) async fn try_answer(&mut self) -> Result<Answer, Cut> {
        match self {
            Self::One(connection) => connection.try_answer().await,
            Self::Two(stream) => stream.split().1.try_answer().await,
        }
    }

    /// The whole response.
    pub(crate) async fn answer(mut self) -> Answer {
        self.try_answer().await.expect("a whole response")
    }

    pub(crate) async fn head(&mut self) -> Head {
        match self {
            Self::One(connection) => connection.head().await,
            Self::Two(stream) => stream.split().1.head().await,
        }
    }

    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        match self {
            Self::One(connection) => connection.chunk().await,
            Self::Two(stream) => stream.split().1.chunk().await,
        }
    }

    /// Whether there is an answer already. It is thrown away.
    pub(super) async fn is_answered(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self.try_answer()).await.is_ok()
    }

    /// Leaves without waiting for the answer. On return the kernel has the client's last word. A reset
    /// stream leaves its connection, which is closed when it is dropped.
    #[must_use = "dropping a connection closes it"]
    pub(crate) async fn leave(self, how: ClientLeave) -> Option<Http2> {
        match (self, how) {
            (Self::One(connection), ClientLeave::Close) => drop(connection),
            (Self::One(connection), ClientLeave::Reset) => connection.reset(),
            (Self::Two(stream), ClientLeave::Close) => stream.into_connection().close().await,
            (Self::Two(mut stream), ClientLeave::Reset) => {
                stream.split().0.reset().await;
                let mut connection = stream.into_connection();
                // The kernel can be late to pass it on: then an answer crosses it, which HTTP/2 does not tell.
                connection.is_read().await;
                return Some(connection);
            }
        }
        None
    }
}

/// A client that keeps its connection.
pub(crate) enum KeptConnection {
    One(Http1),
    Two(Http2),
}

impl KeptConnection {
    pub(crate) async fn connect(protocol: Protocol, address: SocketAddr) -> Self {
        match protocol {
            Protocol::Http1 => Self::One(Http1::connect(address).await),
            Protocol::Http2 => Self::Two(Http2::connect(address).await),
        }
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        match self {
            Self::One(client) => client.ask(request).await,
            Self::Two(client) => client.ask(request).await,
        }
    }
}
