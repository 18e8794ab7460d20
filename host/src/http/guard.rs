//! Makes sure that each exchange ends, once, with an outcome that is true.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::cancel::Reason;
use crate::exchange::{Client, Exchange, Outcome};
use crate::guest::BodyError;
use crate::net::{Flushed, Link};

/// Held by the service future, then by the response body, then by the connection until it has flushed.
/// Wherever it is dropped without a word, the client has left.
pub(super) struct Guard {
    exchange: Arc<Exchange>,
    link: Arc<Link<Guard>>,
    http2: bool,
    /// Whether a part of the response may have left.
    maybe_delivered: bool,
    ended: bool,
    /// The request's share of what the server may have in progress.
    _permit: OwnedSemaphorePermit,
}

impl Guard {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        link: Arc<Link<Guard>>,
        http2: bool,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { exchange, link, http2, maybe_delivered: false, ended: false, _permit: permit }
    }

    /// A part of the response may have left.
    pub(super) fn part_may_have_left(&mut self) {
        self.maybe_delivered = true;
    }

    /// Whether the client has left, where it matters: where an event would be spent on it. The kernel may
    /// know before hyper has read it.
    pub(super) fn client_left(&self) -> bool {
        !self.exchange.holdings.is_empty() && self.link.ask_departure().is_some()
    }

    /// Whether the guest failed under way.
    pub(super) fn guest_failed(&self) -> bool {
        self.exchange.has_failed()
    }

    /// The whole response is with hyper. It is delivered once it has been flushed.
    pub(super) fn response_ended(mut self) {
        if !self.client_left() {
            self.maybe_delivered = true;
            self.link.clone().when_flushed(self);
        }
    }

    /// There is no response of the guest, or only a part of one.
    pub(super) fn failed(mut self) {
        self.end(Outcome::Failed { maybe_delivered: self.maybe_delivered });
    }

    /// The response broke off under way.
    pub(super) fn cut(self, error: &BodyError) {
        let (app, request) = (&*self.exchange.app, self.exchange.id);
        tracing::warn!(app, request = %request, "response cut off: {error}");
        self.failed();
    }

    fn end(&mut self, outcome: Outcome) {
        self.ended = true;
        self.exchange.end(outcome);
    }
}

impl Client for Link<Guard> {
    fn ask_departure(&self) -> Option<Reason> {
        Self::ask_departure(self)
    }
}

impl Flushed for Guard {
    fn flushed(mut self) {
        self.end(Outcome::Delivered);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // A stream of HTTP/2 ends early only by a reset, of it or of the connection.
        let unseen = if self.http2 { Reason::Reset } else { Reason::Closed };
        let reason = self.link.ask_departure().unwrap_or(unseen);
        self.end(Outcome::Lost { reason, maybe_delivered: self.maybe_delivered });
    }
}
