//! The access log, metrics and trace of each ended request.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use linger_base::{Outcome, Reason};
use linger_exchange::Exchange;
use linger_net::Receipt;
use linger_telemetry::{EndingLabels, TraceEnd};

/// The status that stands for "the client left before there was a response", as in other servers' logs.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponsePhase {
    BeforeHead,
    DuringBody,
    AfterLastByte,
}

impl ResponsePhase {
    fn as_str(self) -> &'static str {
        match self {
            Self::BeforeHead => "before the head",
            Self::DuringBody => "during the body",
            Self::AfterLastByte => "after the last byte",
        }
    }
}

/// What is told of one request.
pub(crate) struct AccessRecord {
    pub(crate) status: Option<StatusCode>,
    pub(crate) phase: ResponsePhase,
    /// When the head of the response came.
    pub(crate) head: Option<Instant>,
    /// Of the response's body, as the guest has written it.
    pub(crate) bytes: u64,
}

impl Default for AccessRecord {
    fn default() -> Self {
        Self { status: None, phase: ResponsePhase::BeforeHead, head: None, bytes: 0 }
    }
}

/// Numbers, which programs can compare; their names say the unit.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl AccessRecord {
    /// Tells the log and the trace how it ended, when all is known of that.
    pub(crate) fn tell(&self, exchange: &Exchange, outcome: Outcome, receipt: Option<Receipt>) {
        self.log(exchange, outcome, receipt);
        if let Some(trace) = exchange.trace() {
            let &Self { status, head, bytes, .. } = self;
            trace.finish(&TraceEnd {
                app: &exchange.generation.metrics.app,
                generation: exchange.generation.number,
                request: &exchange.id,
                began: exchange.began,
                queued: exchange.time_queued(),
                cancelled: exchange.cancellation.reason(),
                outcome,
                receipt,
                status,
                head,
                bytes,
            });
        }
    }

    /// Logs how it ended: at `info` where the client has left with its events, or may have, at `debug` otherwise.
    fn log(&self, exchange: &Exchange, outcome: Outcome, receipt: Option<Receipt>) {
        let left = matches!(outcome, Outcome::Lost { .. })
            || matches!(receipt, Some(Receipt::Undelivered { .. } | Receipt::Unread));
        if left {
            self.log_left(exchange, outcome, receipt);
        } else {
            self.log_ended(exchange, outcome, receipt);
        }
    }

    fn log_left(&self, exchange: &Exchange, outcome: Outcome, receipt: Option<Receipt>) {
        let reason = match outcome {
            Outcome::Lost { reason, .. } => Some(tracing::field::display(reason)),
            _ => None,
        };
        tracing::info!(
            target: "linger::access",
            app = exchange.app(),
            generation = exchange.generation.number,
            request = %exchange.id,
            trace = exchange.trace().map(|trace| tracing::field::display(trace.id())),
            client = exchange.info.client.map(tracing::field::display),
            reason,
            when = self.phase.as_str(),
            receipt = receipt.map(Receipt::as_str),
            bytes = self.bytes,
            took_us = micros(exchange.began.elapsed()),
            queued_us = exchange.time_queued().map(micros),
            "{} {} {}: the client disconnected", exchange.info.method, exchange.info.uri, self.status(),
        );
    }

    fn log_ended(&self, exchange: &Exchange, outcome: Outcome, receipt: Option<Receipt>) {
        tracing::debug!(
            target: "linger::access",
            app = exchange.app(),
            generation = exchange.generation.number,
            request = %exchange.id,
            trace = exchange.trace().map(|trace| tracing::field::display(trace.id())),
            client = exchange.info.client.map(tracing::field::display),
            reason = exchange.cancellation.reason().filter(|&reason| reason != Reason::Completed).map(Reason::as_str),
            receipt = receipt.map(Receipt::as_str),
            bytes = self.bytes,
            took_us = micros(exchange.began.elapsed()),
            queued_us = exchange.time_queued().map(micros),
            guest_us = self.guest(exchange).map(micros),
            "{} {} {}: {outcome}", exchange.info.method, exchange.info.uri, self.status(),
        );
    }

    /// From when the guest had it to the head of its response.
    fn guest(&self, exchange: &Exchange) -> Option<Duration> {
        Some(self.head?.saturating_duration_since(exchange.began).saturating_sub(exchange.time_queued()?))
    }

    /// Whether it ended in a way that its guest is to blame for.
    pub(crate) fn is_failure(&self, outcome: Outcome) -> bool {
        let answered_so = self.status.is_some_and(|status| status.is_server_error());
        answered_so || matches!(outcome, Outcome::Failed { .. })
    }

    /// Counts how it ended, before all else learns of it.
    pub(crate) fn count(&self, exchange: &Exchange, outcome: Outcome) {
        if let Some(trace) = exchange.trace() {
            trace.mark_ended();
        }
        let metrics = &exchange.generation.metrics;
        metrics.record_ending(EndingLabels::new(outcome, exchange.cancellation.reason()));
        if let Some(status) = self.status {
            metrics.record_response(&exchange.info.method, status, exchange.began.elapsed());
        }
    }

    fn status(&self) -> u16 {
        self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16())
    }
}
