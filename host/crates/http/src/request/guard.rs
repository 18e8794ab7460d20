//! Makes sure that each exchange ends once, with its true outcome.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use linger_base::{Outcome, Reason};
use linger_config::ReceiptWaits;
use linger_events::{AckToken, AckTokens, Settlement};
use linger_exchange::Exchange;
use linger_net::{Receipt, ReceiptBaseline};
use linger_telemetry::Failure;
use linger_wasm::BodyError;

use crate::connection::{ClientMonitor, Connection};
use crate::request::access::{AccessRecord, ResponsePhase};
use crate::request::progress::BodyProgress;
use crate::request::shares::RequestPermits;

/// Held by the service future, then by the response body, then until all of it has left. Wherever it is
/// dropped without a word, the client has left.
pub(crate) struct Guard {
    exchange: Arc<Exchange>,
    connection: Arc<Connection>,
    http2: bool,
    /// `None` once it has ended.
    access: Option<AccessRecord>,
    /// Whether the response, once delivered, commits what was taken for it.
    commits: bool,
    /// Whether a guest had the request.
    tried: bool,
    /// Whether a part of the response may have left.
    any_sent: Arc<AtomicBool>,
    /// Stands for what only the client can commit.
    token: Option<AwaitedAck>,
    _shares: RequestPermits,
}

/// A token that is out. Dropped when its response has ended and its events are settled, or have their time.
struct AwaitedAck {
    token: AckToken,
    ack_tokens: Arc<AckTokens>,
}

impl Drop for AwaitedAck {
    fn drop(&mut self) {
        self.ack_tokens.record_response_end(self.token);
    }
}

impl Guard {
    pub(crate) fn new(
        exchange: Arc<Exchange>,
        connection: Arc<Connection>,
        http2: bool,
        access: AccessRecord,
        shares: RequestPermits,
    ) -> Self {
        exchange.generation.record_begin();
        connection.supervisor.watch(exchange.clone(), !http2);
        // The supervisor tells those that are there when the client leaves. It may have left before.
        if let Some(reason) = connection.monitor.departure() {
            exchange.cancel(reason);
        }
        let (access, any_sent) = (Some(access), Arc::default());
        Self {
            exchange,
            connection,
            http2,
            access,
            commits: true,
            tried: true,
            any_sent,
            token: None,
            _shares: shares,
        }
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(crate) fn progress(&self) -> Arc<BodyProgress> {
        BodyProgress::new(self.connection.clone(), self.http2, self.any_sent.clone())
    }

    fn monitor(&self) -> &Arc<ClientMonitor> {
        &self.connection.monitor
    }

    /// The head of a response is with hyper.
    pub(crate) fn record_head(&mut self, status: StatusCode) {
        if let Some(access) = &mut self.access {
            access.status = Some(status);
            access.phase = ResponsePhase::DuringBody;
            access.head = Some(Instant::now());
        }
        self.exchange.mark_answered();
    }

    /// So many bytes of a body are with hyper.
    pub(crate) fn record_sent(&mut self, bytes: usize) {
        if let Some(access) = &mut self.access {
            access.bytes += bytes as u64;
        }
    }

    /// All of the response is with hyper or h2. It is watched over until it has left.
    pub(crate) fn mark_passed_on(&self) {
        if let Some(trace) = self.exchange.trace() {
            trace.mark_passed_on();
        }
        self.connection.supervisor.mark_passed_on(&self.exchange);
    }

    /// The response says that the handler failed: what it took is for another try.
    pub(crate) fn mark_no_ack(&mut self) {
        self.commits = false;
    }

    /// The token for what was taken that only the client can commit, if there is any.
    pub(crate) fn issue_ack_token(&mut self, ack_tokens: &Arc<AckTokens>) -> Option<AckToken> {
        let deliveries = self.exchange.deliveries.await_client();
        if deliveries.is_empty() {
            return None;
        }
        let token = ack_tokens.issue(deliveries)?;
        self.token = Some(AwaitedAck { token, ack_tokens: ack_tokens.clone() });
        Some(token)
    }

    /// The last bytes of the response are about to be written: notes what its receipt will be compared with.
    /// Only where requests come one after the other, and only for a response that holds events.
    pub(crate) fn mark(&self) -> Option<ReceiptBaseline> {
        (!self.http2 && self.connection.waits.is_some() && self.holds_events()).then(|| self.monitor().mark())
    }

    /// No guest had the request: its end says nothing of its generation.
    pub(crate) fn mark_not_tried(&mut self) {
        self.tried = false;
    }

    /// A part of the response may have left.
    pub(crate) fn mark_part_sent(&self) {
        self.any_sent.store(true, Ordering::Release);
    }

    /// Whether the client has left, where it matters: where an event would be spent on it. The kernel may
    /// know before hyper has read it.
    pub(crate) fn has_client_left(&self) -> bool {
        self.holds_events() && self.monitor().ask_departure().is_some()
    }

    /// The same, where the last bytes were marked: what the kernel knew then was noted.
    pub(crate) fn had_client_left(&self) -> bool {
        self.monitor().departure().is_some()
    }

    /// If there is something to read that could say that the client has left, where it matters, resolves
    /// when it has been read: in HTTP/2 the end of a stream is one frame among others.
    pub(crate) fn news(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        /// Reading takes microseconds; this is for a machine that is busy elsewhere.
        const LIMIT: Duration = Duration::from_millis(100);
        let expected = self.wants_news() && self.monitor().has_unused_input();
        let link = self.monitor().clone();
        expected.then_some(async move { link.read_dry(LIMIT).await })
    }

    /// Whether the end of the response has to wait for news.
    pub(crate) fn wants_news(&self) -> bool {
        self.http2 && self.holds_events()
    }

    fn holds_events(&self) -> bool {
        !self.exchange.deliveries.is_empty()
    }

    /// Whether the guest failed under way.
    pub(crate) fn has_guest_failed(&self) -> bool {
        self.exchange.has_failed()
    }

    /// All of the response has left for the kernel, as `span` of what the connection has written. What was taken
    /// for it is settled by what becomes of it there.
    pub(crate) fn end_delivered(mut self, span: &Range<u64>, mark: Option<ReceiptBaseline>) {
        if let Some(access) = &mut self.access {
            access.phase = ResponsePhase::AfterLastByte;
        }
        match self.connection.waits {
            // It was given up on the way.
            _ if self.exchange.has_ended() => self.end(Outcome::Failed { maybe_delivered: true }),
            _ if !self.commits => self.end(Outcome::Failed { maybe_delivered: false }),
            Some(waits) if self.holds_events() => self.await_receipt(span, mark, waits),
            _ => self.end(Outcome::Delivered),
        }
    }

    /// Settles by the receipt. The exchange has ended, for all but its events.
    fn await_receipt(&mut self, span: &Range<u64>, mark: Option<ReceiptBaseline>, waits: ReceiptWaits) {
        let Some(access) = self.access.take() else { return };
        self.connection.supervisor.forget(&self.exchange);
        let generation = &self.exchange.generation;
        generation.record_end(false);
        access.count(&self.exchange, Outcome::Delivered);
        let pending = self.exchange.mark_written();
        let waits = ReceiptWaits { resets_tell_nothing: self.connection.peer().is_trusted(), ..waits };
        let receipt = self.monitor().receipt(span, mark, waits);
        let (exchange, token) = (self.exchange.clone(), self.token.take());
        self.connection.quiet.begin();
        self.connection.receipts.spawn(async move {
            let receipt = receipt.await;
            exchange.generation.metrics.record_receipt(receipt);
            pending.settle(settlement(receipt));
            drop(token);
            access.tell(&exchange, Outcome::Delivered, Some(receipt));
        });
    }

    /// There is no response of the guest, or only a part of one.
    pub(crate) fn end_failed(mut self) {
        self.end(Outcome::Failed { maybe_delivered: self.any_sent.load(Ordering::Acquire) });
    }

    /// The client has stopped to read the response, or is too slow.
    pub(crate) fn end_stalled(mut self) {
        let maybe_delivered = self.any_sent.load(Ordering::Acquire);
        self.end(Outcome::Lost { reason: Reason::Unresponsive, maybe_delivered });
    }

    /// The response broke off under way.
    pub(crate) fn cut(self, error: &BodyError) {
        let (app, request) = (self.exchange.app(), self.exchange.id);
        tracing::warn!(app, request = %request, "the response was cut off: {error}");
        self.exchange.generation.metrics.record_failure(Failure::BrokeOff);
        self.end_failed();
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(access) = self.access.take() {
            self.connection.supervisor.forget(&self.exchange);
            let generation = &self.exchange.generation;
            if self.tried {
                generation.record_end(access.is_failure(outcome));
            } else {
                generation.record_refusal();
            }
            access.count(&self.exchange, outcome);
            self.exchange.end(outcome);
            access.tell(&self.exchange, outcome, None);
        }
    }
}

/// What a receipt makes of an event.
fn settlement(receipt: Receipt) -> Settlement {
    match receipt {
        Receipt::Read | Receipt::Acknowledged | Receipt::Written => Settlement::Ack,
        Receipt::Unread => Settlement::Requeue { maybe_delivered: true },
        Receipt::Undelivered { maybe_delivered } => Settlement::Requeue { maybe_delivered },
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.access.is_none() {
            return;
        }
        let reason = self.monitor().ask_ending().unwrap_or_else(|| match self.http2 {
            // A stream of HTTP/2 ends early only by a reset, or with a connection that hyper gave up.
            true if self.monitor().is_silent() => Reason::Unresponsive,
            true => Reason::Reset,
            // It was given up before it had all of the response.
            false if self.exchange.has_ended() => Reason::Unresponsive,
            false => Reason::Closed,
        });
        self.end(Outcome::Lost { reason, maybe_delivered: self.any_sent.load(Ordering::Acquire) });
    }
}
