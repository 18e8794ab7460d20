//! A request's place in an instance, and what is known of its call from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use linger_exchange::Exchange;

use super::head::RequestHead;
use super::worker::Worker;
use crate::replay::may_run_twice;
use crate::{BoundaryBody, CallError, ResponseGuard, empty};

/// A request on its way into an instance.
pub(super) struct RequestJob {
    pub(super) exchange: Arc<Exchange>,
    pub(super) incoming: Box<GuestRequest>,
    pub(super) answer: oneshot::Sender<GuestResponse>,
    pub(super) permit: InstancePermit,
}

/// A request as its guest gets it. Boxed, for it moves through what waits for its answer.
pub(super) struct GuestRequest {
    pub(super) head: RequestHead,
    pub(super) body: BoundaryBody,
}

impl GuestRequest {
    // Its box is free when this returns. Moved out of in an async function it would stay until that ends.
    pub(super) fn of(request: Box<http::Request<BoundaryBody>>) -> Box<Self> {
        let (parts, body) = request.into_parts();
        Box::new(Self { head: RequestHead::of(parts), body })
    }

    /// The same once more, if it may run twice.
    pub(super) fn replay(&self) -> Option<Box<Self>> {
        may_run_twice(self.head.method(), &self.body)
            .then(|| Box::new(Self { head: self.head.clone(), body: empty() }))
    }
}

type GuestResponse = Result<http::Response<BoundaryBody>, CallError>;

/// A place in an instance, free when the last clone is dropped: the guest's call has returned, and its response has
/// gone. An instance does not end while somebody has one.
#[derive(Clone)]
pub(super) struct InstancePermit(Arc<PermitState>);

struct PermitState {
    worker: Arc<Worker>,
    given_up: AtomicBool,
}

impl PermitState {
    fn give_up(&self) {
        if !self.given_up.swap(true, Ordering::AcqRel) {
            self.worker.free_permit();
        }
    }
}

impl Drop for PermitState {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl InstancePermit {
    /// To be called under the lock of the list that the worker is in, so that it is not retired meanwhile.
    pub(super) fn take(worker: &Arc<Worker>) -> Self {
        worker.take_permit();
        Self(Arc::new(PermitState { worker: worker.clone(), given_up: AtomicBool::new(false) }))
    }

    pub(super) fn worker(&self) -> &Arc<Worker> {
        &self.0.worker
    }

    /// What the caller keeps until the response has gone.
    pub(super) fn into_guard(self) -> ResponseGuard {
        ResponseGuard::new(self.0)
    }
}

/// A request whose caller waits no longer: to be watched until its guest's call has returned.
pub(super) struct AbandonedCall {
    exchange: Arc<Exchange>,
    /// Resolves when the call has returned.
    answered: oneshot::Receiver<GuestResponse>,
    permit: InstancePermit,
}

impl AbandonedCall {
    /// Waits for the answer; `None` if the instance is gone. Dropped before, the call is abandoned.
    pub(super) async fn unless_answered(
        exchange: &Arc<Exchange>,
        answered: oneshot::Receiver<GuestResponse>,
        permit: &InstancePermit,
    ) -> Option<GuestResponse> {
        let mut waiting =
            WaitingCaller(Some(Self { exchange: exchange.clone(), answered, permit: permit.clone() }));
        let answer = match &mut waiting.0 {
            Some(abandoned) => (&mut abandoned.answered).await.ok(),
            None => None,
        };
        waiting.0 = None;
        answer
    }

    /// Whether the guest's call returned before the grace of its ended request was over. If not, its permit is free:
    /// nothing waits for it any more.
    pub(super) async fn returned_in_time(self) -> bool {
        let Self { exchange, answered, permit } = self;
        tokio::select! {
            biased;
            answer = answered => {
                // An answer that nobody wants, or none.
                if answer.is_ok() && exchange.has_ended() {
                    permit.worker().call_ended_well();
                }
                true
            }
            () = exchange.wait_overdue() => {
                let (app, request) = (exchange.app(), exchange.id);
                tracing::warn!(app, request = %request, "guest continues to run after its request has ended; its instance gets no more requests");
                permit.0.give_up();
                false
            }
        }
    }
}

/// A caller who waits.
struct WaitingCaller(Option<AbandonedCall>);

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        if let Some(abandoned) = self.0.take() {
            let worker = abandoned.permit.worker().clone();
            worker.watch_call(abandoned);
        }
    }
}
