//! One request, from its parsed head to its recorded outcome, as shared by all code that works for it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http::{Method, Uri};
use tokio::sync::SetOnce;
use tokio::time::Instant;

use linger_base::{Cancellation, ClientAddress, ClientProbe, Outcome, Reason};
use linger_config::{OnDisconnect, RouteConfig};
use linger_events::{Deliveries, PendingSettlement, Settlement};
use linger_telemetry::RequestTrace;

use crate::{Generation, RequestId};

/// The reason to stop waiting for a guest's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// There is nobody to answer.
    ClientLeft,
    /// The request was cancelled, and its guest did not respond within `grace`.
    GaveUp(Reason),
    /// Its body will not be read to the end.
    Unread(UnreadCause),
}

/// The reason why a request body is not read to its end, although the client is still connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadCause {
    /// There is no room for it.
    NoRoom,
    /// The client has stopped sending it, or is too slow.
    TooSlow,
    /// It is malformed, so the rest of it cannot be read.
    Malformed,
}

/// What a route says of the time of its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutePolicy {
    /// After this time a request is cancelled.
    pub deadline: Option<Duration>,
    /// How long a guest may continue after that, or after the request has ended.
    pub grace: Duration,
    /// The effect of a disconnect on the guest.
    pub on_disconnect: OnDisconnect,
}

impl From<&RouteConfig> for RoutePolicy {
    fn from(&RouteConfig { deadline, grace, on_disconnect, .. }: &RouteConfig) -> Self {
        Self { deadline, grace, on_disconnect }
    }
}

/// What was asked for, and by whom.
#[derive(Clone, Debug, Default)]
pub struct RequestInfo {
    /// What to do.
    pub method: Method,
    /// With what, as the client sent it.
    pub uri: Uri,
    /// Where the client is, if that is known.
    pub client: Option<ClientAddress>,
}

/// One request: its cancellation, what it holds, and whether it has ended.
#[derive(Debug)]
pub struct Exchange {
    /// Its name.
    pub id: RequestId,
    /// The generation of an app that serves it.
    pub generation: Arc<Generation>,
    /// When its head was parsed.
    pub began: Instant,
    /// What was asked for, and by whom.
    pub info: RequestInfo,
    /// What its route says of its time.
    policy: RoutePolicy,
    /// Tells the guest to stop.
    pub cancellation: Cancellation,
    /// The events that it took.
    pub deliveries: Deliveries,
    /// Not owned: a guest may know its exchange for longer than there is a connection.
    client: Weak<dyn ClientProbe>,
    /// How it ended, or why.
    ending: OnceLock<Reason>,
    /// Why nobody waits for its response any more.
    stop: SetOnce<StopCause>,
    /// Whether the head of its response is with the client's connection.
    answered: AtomicBool,
    failed: AtomicBool,
    /// Whether the host holds too much for its instance.
    over_limit: AtomicBool,
    /// Whether it may not be run again.
    last_try: AtomicBool,
    /// Whether nobody gets a body, whatever its guest answers.
    for_nobody: bool,
    /// Whether its guest has asked for events.
    asked_for_events: AtomicBool,
    /// When its guest had it, in nanoseconds after it began. 0: not yet.
    handed_over: AtomicU64,
    /// When its guest was told to stop, in nanoseconds after it began. 0: not yet.
    told: AtomicU64,
    /// Ticks of processor time that its guest was seen to use.
    ticks: AtomicU32,
    /// What is noted for its spans, if there are traces.
    trace: Option<Box<RequestTrace>>,
    ended: SetOnce<()>,
}

impl Exchange {
    /// A request that just arrived.
    #[must_use]
    pub fn new(
        generation: Arc<Generation>,
        terms: RoutePolicy,
        max_deliveries: usize,
        client: Weak<dyn ClientProbe>,
        asked: RequestInfo,
    ) -> Self {
        Self {
            for_nobody: asked.method == Method::HEAD,
            id: RequestId::next(),
            generation,
            began: Instant::now(),
            info: asked,
            policy: terms,
            cancellation: Cancellation::new(),
            deliveries: Deliveries::new(max_deliveries),
            client,
            ending: OnceLock::new(),
            stop: SetOnce::new(),
            answered: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            over_limit: AtomicBool::new(false),
            last_try: AtomicBool::new(false),
            asked_for_events: AtomicBool::new(false),
            handed_over: AtomicU64::new(0),
            told: AtomicU64::new(0),
            ticks: AtomicU32::new(0),
            trace: None,
            ended: SetOnce::new(),
        }
    }

    /// The same, with spans.
    #[must_use]
    pub fn traced(self, trace: Option<Box<RequestTrace>>) -> Self {
        Self { trace, ..self }
    }

    /// The same, of which nobody gets a body, as of a `HEAD`: what is taken for it returns as if it had not been taken. Who asks again and
    /// again, as monitors do, must not bring an event to its last attempt.
    #[must_use]
    pub fn for_nobody(self) -> Self {
        Self { for_nobody: true, ..self }
    }

    /// What is noted for its spans, if there are traces.
    pub fn trace(&self) -> Option<&RequestTrace> {
        self.trace.as_deref()
    }

    /// The name of the app that serves it.
    pub fn app(&self) -> &str {
        &self.generation.metrics.app
    }

    /// Records that its response was written to its end, and hands over what it held: how the response ended
    /// is yet to be seen. For everybody else it has ended in order.
    pub fn mark_written(&self) -> PendingSettlement {
        self.close(Reason::Completed)
    }

    /// Records how it ended, and settles what it held. Only the first call counts.
    pub fn end(&self, outcome: Outcome) {
        let (settlement, reason) = match outcome {
            Outcome::Delivered => (Settlement::Ack, Reason::Completed),
            Outcome::Lost { reason, maybe_delivered } => (Settlement::Requeue { maybe_delivered }, reason),
            Outcome::Failed { maybe_delivered } => {
                (Settlement::Requeue { maybe_delivered }, Reason::Completed)
            }
        };
        self.close(reason).settle(self.settlement(settlement));
    }

    /// The host sends no body with the head of its response, which is known now: what was taken for it returns, since no
    /// client gets it, and it takes nothing from now on.
    pub fn mark_bodiless(&self) {
        self.deliveries.close().settle(self.settlement(Settlement::Requeue { maybe_delivered: false }));
    }

    fn settlement(&self, settlement: Settlement) -> Settlement {
        if self.for_nobody { Settlement::Release } else { settlement }
    }

    fn close(&self, reason: Reason) -> PendingSettlement {
        // First the reason: who is woken by a put-back, or sees a refused `take`, can ask why.
        self.cancel(reason);
        // Only the first counts.
        let _ = self.ending.set(reason);
        let pending = self.deliveries.close();
        // Only the first counts.
        let _ = self.ended.set(());
        pending
    }

    /// Cancels the guest for this reason, unless the guest must not know of it: a detached guest does not learn
    /// that its client has disconnected.
    pub fn cancel(&self, reason: Reason) {
        if reason.client_is_gone() {
            self.stop(StopCause::ClientLeft);
        }
        if !(self.policy.on_disconnect == OnDisconnect::Detach && reason.client_is_gone()) {
            self.cancel_guest(reason);
        }
    }

    /// Tells the guest to stop, for this reason.
    pub fn cancel_guest(&self, reason: Reason) {
        if self.cancellation.cancel(reason) && reason != Reason::Completed {
            let after = self.began.elapsed();
            self.told.store(nanoseconds(after), Ordering::Relaxed);
            self.generation.metrics.record_cancelled(reason, after);
        }
    }

    /// Waits until there is a reason not to wait for its response any more. Cancel-safe.
    pub async fn wait_stopped(&self) -> StopCause {
        *self.stop.wait().await
    }

    /// Nobody waits for its response any more because its body is not read to the end.
    pub fn mark_unread(&self, why: UnreadCause) {
        self.stop(StopCause::Unread(why));
    }

    /// Notes that its guest was refused something, because the host holds too much for its instance.
    pub fn mark_over_limit(&self) {
        self.over_limit.store(true, Ordering::Release);
    }

    /// Whether its guest was refused something, because the instance reached its limit of buffered data.
    #[must_use]
    pub fn was_over_limit(&self) -> bool {
        self.over_limit.load(Ordering::Acquire)
    }

    fn stop(&self, stop: StopCause) {
        // Only the first counts.
        let _ = self.stop.set(stop);
    }

    /// Notes that a guest has it: it has waited for a place in an instance so long.
    pub fn mark_handed_over(&self) {
        let waited = nanoseconds(self.began.elapsed());
        // Only the first counts: what runs again has not waited for so long.
        let _ = self.handed_over.compare_exchange(0, waited, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long it waited for an instance. None if it has none yet.
    #[must_use]
    pub fn time_queued(&self) -> Option<Duration> {
        match self.handed_over.load(Ordering::Relaxed) {
            0 => None,
            waited => Some(Duration::from_nanos(waited)),
        }
    }

    /// Notes that the guest's call has ended. If it was told to stop before, that took it so long.
    fn record_call_end(&self) {
        let told = self.told.load(Ordering::Relaxed);
        if let (1.., Some(reason)) = (told, self.cancellation.reason()) {
            let took = self.began.elapsed().saturating_sub(Duration::from_nanos(told));
            self.generation.metrics.record_stopped(reason, took);
        }
    }

    /// Notes that the head of its response is with the client's connection.
    pub fn mark_answered(&self) {
        self.answered.store(true, Ordering::Release);
    }

    /// Its guest had its grace, or its client had it to read: ends it as failed, here or where its response is waited
    /// for. Returns whether a response was under way.
    pub fn give_up(&self) -> bool {
        self.stop(StopCause::GaveUp(self.reason().unwrap_or(Reason::Deadline)));
        let answered = self.answered.load(Ordering::Acquire);
        if answered {
            self.end(Outcome::Failed { maybe_delivered: true });
        }
        answered
    }

    /// Whether the head of its response is with the client's connection.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// The reason of its cancellation, or the reason why its guest gets nothing any more.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.cancellation.reason().or_else(|| self.ending.get().copied())
    }

    /// The effect of a disconnect on its guest.
    pub fn on_disconnect(&self) -> OnDisconnect {
        self.policy.on_disconnect
    }

    /// How long the guest may continue after the request was cancelled or has ended.
    pub fn grace(&self) -> Duration {
        self.policy.grace
    }

    /// Its deadline, if it has one.
    pub fn deadline(&self) -> Option<Instant> {
        self.began.checked_add(self.policy.deadline?)
    }

    /// Waits until its outcome is recorded, and its guest has had its time after that. Cancel-safe.
    pub async fn wait_overdue(&self) {
        self.wait_ended().await;
        if self.cancellation.reason().is_none() {
            // Its guest is detached.
            match self.deadline() {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
            self.cancel_guest(Reason::Deadline);
        }
        tokio::time::sleep(self.policy.grace).await;
    }

    /// Waits until its outcome is recorded. Cancel-safe.
    pub async fn wait_ended(&self) {
        self.ended.wait().await;
    }

    /// Whether its outcome is recorded.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.initialized()
    }

    /// Counts a tick of CPU time, and returns the number of ticks.
    pub fn count_tick(&self) -> u32 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What its guest did should not be done again.
    pub fn forbid_retry(&self) {
        self.last_try.store(true, Ordering::Release);
    }

    /// Prepares a replay after its instance trapped: its events are requeued first. Returns whether it may be replayed,
    /// which is allowed once, while the client waits for its response.
    #[must_use]
    pub fn try_retry(&self) -> bool {
        let last = self.last_try.swap(true, Ordering::AcqRel);
        if last || self.has_ended() || self.cancellation.reason().is_some() {
            return false;
        }
        self.deliveries.requeue(self.settlement(Settlement::Requeue { maybe_delivered: false }));
        self.generation.metrics.retries.inc();
        self.failed.store(false, Ordering::Release);
        self.over_limit.store(false, Ordering::Release);
        true
    }

    /// Whether there still is a client to take an event for. One system call: hyper may not have read yet
    /// what the kernel knows already.
    #[must_use]
    pub fn client_is_there(&self) -> bool {
        let departure = match self.client.upgrade() {
            Some(client) => client.ask_departure(),
            None => Some(Reason::Closed),
        };
        match departure {
            None => true,
            Some(reason) => {
                self.cancel(reason);
                false
            }
        }
    }

    /// Notes that its guest asks for events: what it answers is for this client and this moment.
    pub fn mark_asked_for_events(&self) {
        self.asked_for_events.store(true, Ordering::Release);
    }

    /// Whether its guest has asked for events.
    #[must_use]
    pub fn has_asked_for_events(&self) -> bool {
        self.asked_for_events.load(Ordering::Acquire)
    }

    /// Marks that the guest failed under way, so that a body that stops short is not taken for whole.
    pub fn mark_failed(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether the guest failed during its response.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// More than 0, which stands for never.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

/// A guest's call. Dropping it means that the call has ended, in any way.
#[derive(Debug)]
pub struct GuestCall(pub Arc<Exchange>);

impl Drop for GuestCall {
    fn drop(&mut self) {
        self.0.record_call_end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| RequestId::next().to_string()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }

    #[derive(Debug)]
    struct Present;

    impl ClientProbe for Present {
        fn ask_departure(&self) -> Option<Reason> {
            None
        }
    }

    #[tokio::test]
    async fn first_outcome_counts() {
        let client: Arc<dyn ClientProbe> = Arc::new(Present);
        let exchange = Exchange::new(
            Generation::new(linger_telemetry::Metrics::default().of_app("a"), 1),
            RoutePolicy::default(),
            1,
            Arc::downgrade(&client),
            RequestInfo::default(),
        );
        assert!(exchange.client_is_there());
        exchange.end(Outcome::Lost { reason: Reason::Reset, maybe_delivered: false });
        exchange.end(Outcome::Delivered);
        exchange.wait_ended().await;
        assert_eq!(exchange.cancellation.reason(), Some(Reason::Reset));
    }
}
