//! `linger:host/queue`, and what `queue-p2` shares with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Access, Accessor, FutureProducer, FutureReader, Resource};
use wasmtime::{AsContextMut as _, Result, StoreContextMut};
use wasmtime_wasi_http::p3::Response;
use wit::queue::Taking;
use wit::types::{EventError, PushOptions};
use wit::whole::ResponseError;

use linger_base::{Name, Reason};
use linger_events::{
    Delivery, EventId, HoldError, LimitKind, NewEvent, PendingLease, Schedule, Settlement, StoreError,
    is_content_type,
};
use linger_exchange::Exchange;
use linger_telemetry::{Reached, WaitPoint};

use super::parking::ParkedWait;
use super::pending::GuestWait;
use super::whole::HeaderFields;
use super::{LingerImports, wit};
use crate::state::{StoreState, current};

/// An open queue.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct QueueHandle {
    pub(super) name: Name,
}

/// A delivery, as its guest holds it. Dropped with its instance too, so that nothing unseen stays away.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct GuestDelivery(pub(super) Arc<Delivery>);

impl Drop for GuestDelivery {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl From<StoreError> for EventError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OverLimit(limit) => Self::OverLimit(limit.into()),
            StoreError::TooLarge { limit } => Self::TooLarge(limit),
            StoreError::Settled => Self::Settled,
            StoreError::Unavailable(how) => {
                tracing::error!("the store is unavailable: {how}");
                Self::Unavailable
            }
        }
    }
}

impl From<EventId> for wit::types::EventId {
    fn from(EventId { epoch, number }: EventId) -> Self {
        Self { epoch, number }
    }
}

impl From<LimitKind> for wit::types::Limit {
    fn from(limit: LimitKind) -> Self {
        match limit {
            LimitKind::Events => Self::Events,
            LimitKind::Bytes => Self::Bytes,
            LimitKind::TotalBytes => Self::TotalBytes,
            LimitKind::Names => Self::Names,
            LimitKind::Waiters => Self::Waiters,
            LimitKind::Deliveries => Self::Deliveries,
        }
    }
}

pub(super) fn open(state: &mut StoreState, name: &str) -> Result<Result<Resource<QueueHandle>, EventError>> {
    match name.parse() {
        Ok(name) => Ok(Ok(state.table.push(QueueHandle { name })?)),
        Err(_) => Ok(Err(EventError::InvalidName)),
    }
}

/// An event as a guest describes it.
pub(super) fn new_event(data: Vec<u8>, content_type: Option<String>) -> Result<NewEvent, EventError> {
    if content_type.as_deref().is_none_or(is_content_type) {
        Ok(NewEvent { data: Bytes::from(data), content_type: content_type.map(Into::into) })
    } else {
        Err(EventError::InvalidContentType)
    }
}

/// Starts a push.
pub(super) fn push(
    state: &mut StoreState,
    queue: &Resource<QueueHandle>,
    data: Vec<u8>,
    options: PushOptions,
) -> Result<impl Future<Output = Result<wit::types::EventId, EventError>> + Send + 'static + use<>> {
    let queue = &state.table.get(queue)?.name;
    let PushOptions { content_type, delay, time_to_live } = options;
    let schedule = Schedule {
        delay: delay.map(Duration::from_nanos),
        time_to_live: time_to_live.map(Duration::from_nanos),
    };
    let pushed = new_event(data, content_type).map(|event| state.events.clone().push(queue, event, schedule));
    let metrics = state.metrics.clone();
    Ok(async move {
        let pushed =
            pushed?.await.inspect_err(|error| metrics.record_events_refused(WaitPoint::Queue, error));
        Ok(pushed?.into())
    })
}

/// Starts to settle a delivery early.
pub(super) fn settle(
    state: &mut StoreState,
    delivery: &Resource<GuestDelivery>,
    settlement: Settlement,
) -> Result<impl Future<Output = Result<(), EventError>> + Send + 'static + use<>> {
    let settled = state.table.get(delivery)?.0.claim().map(|lease| lease.settle(settlement));
    Ok(async move { Ok(settled?.await?) })
}

/// A wait for an event on behalf of a request.
#[expect(unreachable_pub, reason = "a part of what generated code re-exports")]
pub struct TakeWait(Result<WaitingTake, EventError>);

struct WaitingTake {
    exchange: Arc<Exchange>,
    lease: PendingLease,
    parking: Option<ParkedWait>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl TakeWait {
    pub(super) fn start(state: &StoreState, queue: &Name, exchange: Option<Arc<Exchange>>) -> Self {
        let Some(exchange) = exchange else {
            return Self(Err(EventError::Cancelled(Reason::Completed.into())));
        };
        exchange.mark_asked_for_events();
        let wait = exchange.deliveries.wait(|| state.events.clone().take(queue));
        Self(wait.map_err(|error| refusal(error, &exchange)).map(|lease| {
            let (watched, parking) = (exchange.clone(), ParkedWait::of(&exchange, WaitPoint::Queue, queue));
            WaitingTake {
                exchange,
                lease,
                parking,
                ended: Box::pin(async move { watched.wait_ended().await }),
            }
        }))
    }
}

/// Resolves with a delivery that the request holds, or with the reason why it gets none.
impl GuestWait for TakeWait {
    type Output = GuestDelivery;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<GuestDelivery, EventError>> {
        match &mut self.0 {
            Ok(waiting) => {
                let polled = waiting.poll(cx);
                if let Some(parking) = &mut waiting.parking {
                    parking.note(&polled);
                }
                polled
            }
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}

impl WaitingTake {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<GuestDelivery, EventError>> {
        // First: whoever left gets nothing, whatever has arrived.
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(refusal(HoldError::Ended, &self.exchange)));
        }
        let Some(lease) = ready!(self.lease.poll(cx)) else {
            // Given up because the exchange ends, or given before.
            return Poll::Ready(Err(match self.exchange.reason() {
                Some(_) => refusal(HoldError::Ended, &self.exchange),
                None => EventError::Settled,
            }));
        };
        let metrics = &self.exchange.generation.metrics;
        let lease = lease.inspect_err(|error| metrics.record_events_refused(WaitPoint::Queue, error));
        Poll::Ready(lease.map_err(Into::into).and_then(|lease| {
            // Else the lease is dropped here, untaken: the next waiter gets the event.
            if !self.exchange.client_is_there() {
                return Err(refusal(HoldError::Ended, &self.exchange));
            }
            let held = self.exchange.deliveries.hold(lease);
            held.map(GuestDelivery).map_err(|error| refusal(error, &self.exchange))
        }))
    }
}

fn refusal(error: HoldError, exchange: &Exchange) -> EventError {
    match error {
        HoldError::TooMany => {
            exchange.generation.metrics.record_reached(Reached::Deliveries);
            EventError::OverLimit(LimitKind::Deliveries.into())
        }
        HoldError::Ended => EventError::Cancelled(exchange.reason().unwrap_or(Reason::Completed).into()),
    }
}

/// Gives the delivery to the guest when the guest reads the future.
struct TakeProducer(TakeWait);

impl FutureProducer<StoreState> for TakeProducer {
    type Item = Result<Resource<GuestDelivery>, EventError>;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, StoreState>,
        finish: bool,
    ) -> Poll<Result<Option<Self::Item>>> {
        match self.0.poll(cx) {
            Poll::Ready(Ok(held)) => Poll::Ready(Ok(Some(Ok(store.data_mut().table.push(held)?)))),
            Poll::Ready(Err(error)) => Poll::Ready(Ok(Some(Err(error)))),
            Poll::Pending if finish => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl wit::queue::Host for StoreState {}

impl wit::queue::HostQueue for StoreState {
    fn open(&mut self, name: String) -> Result<Result<Resource<QueueHandle>, EventError>> {
        open(self, &name)
    }

    fn drop(&mut self, this: Resource<QueueHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::queue::HostQueueWithStore<StoreState> for LingerImports {
    async fn push(
        accessor: &Accessor<StoreState, Self>,
        this: Resource<QueueHandle>,
        data: Vec<u8>,
        options: PushOptions,
    ) -> Result<Result<wit::types::EventId, EventError>> {
        Ok(accessor.with(|mut store| push(store.get(), &this, data, options))?.await)
    }

    fn take(mut store: Access<'_, StoreState, Self>, this: Resource<QueueHandle>) -> Result<Taking> {
        let exchange = current(store.as_context_mut())?;
        let state = store.get();
        let queue = state.table.get(&this)?.name.clone();
        let mut take = TakeWait::start(state, &queue, exchange);
        // Nobody has to be woken: the future polls anew.
        Ok(match take.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(held)) => Taking::Ready(Ok(state.table.push(held)?)),
            Poll::Ready(Err(error)) => Taking::Ready(Err(error)),
            Poll::Pending => Taking::Pending(FutureReader::new(store.as_context_mut(), TakeProducer(take))?),
        })
    }
}

impl wit::queue::HostDelivery for StoreState {
    fn id(&mut self, this: Resource<GuestDelivery>) -> Result<wit::types::EventId> {
        Ok(self.table.get(&this)?.0.event().id.into())
    }

    fn data(&mut self, this: Resource<GuestDelivery>) -> Result<Vec<u8>> {
        Ok(self.table.get(&this)?.0.see().data.to_vec())
    }

    fn respond(
        &mut self,
        this: Resource<GuestDelivery>,
        status: u16,
        headers: HeaderFields,
    ) -> Result<Result<Resource<Response>, ResponseError>> {
        let data = self.table.get(&this)?.0.see().data.clone();
        self.respond_with(status, headers, data)
    }

    fn content_type(&mut self, this: Resource<GuestDelivery>) -> Result<Option<String>> {
        Ok(self.table.get(&this)?.0.event().content_type.as_deref().map(str::to_owned))
    }

    fn attempt(&mut self, this: Resource<GuestDelivery>) -> Result<u32> {
        Ok(self.table.get(&this)?.0.event().attempt)
    }

    fn maybe_delivered(&mut self, this: Resource<GuestDelivery>) -> Result<bool> {
        Ok(self.table.get(&this)?.0.event().maybe_delivered)
    }

    fn drop(&mut self, this: Resource<GuestDelivery>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::queue::HostDeliveryWithStore<StoreState> for LingerImports {
    async fn ack(
        accessor: &Accessor<StoreState, Self>,
        this: Resource<GuestDelivery>,
    ) -> Result<Result<(), EventError>> {
        let settled = accessor.with(|mut store| settle(store.get(), &this, Settlement::Ack))?;
        Ok(settled.await)
    }

    async fn release(
        accessor: &Accessor<StoreState, Self>,
        this: Resource<GuestDelivery>,
    ) -> Result<Result<(), EventError>> {
        let untaken = Settlement::Requeue { maybe_delivered: false };
        let settled = accessor.with(|mut store| settle(store.get(), &this, untaken))?;
        Ok(settled.await)
    }
}
