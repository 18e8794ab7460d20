//! `linger:host/topic`, and what `topic-p2` shares with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use wasmtime::component::{Access, FutureProducer, FutureReader, Resource};
use wasmtime::{AsContextMut as _, Result, StoreContextMut};
use wasmtime_wasi_http::p3::Response;
use wit::types::EventError;
use wit::whole::ResponseError;

use linger_base::{Name, Reason};
use linger_events::{Cursor, PublishedEvent, StoreError, TopicBatch};
use linger_exchange::Exchange;
use linger_telemetry::WaitPoint;

use super::parking::ParkedWait;
use super::pending::GuestWait;
use super::queue::new_event;
use super::whole::HeaderFields;
use super::{LingerImports, wit};
use crate::state::{StoreState, current};

/// An open topic.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct TopicHandle {
    pub(super) name: Name,
}

/// An event of a topic, which its readers share.
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub type SharedEvent = Arc<PublishedEvent>;

pub(super) fn open(state: &mut StoreState, name: &str) -> Result<Result<Resource<TopicHandle>, EventError>> {
    match name.parse() {
        Ok(name) => Ok(Ok(state.table.push(TopicHandle { name })?)),
        Err(_) => Ok(Err(EventError::InvalidName)),
    }
}

/// Starts to publish.
pub(super) fn publish(
    state: &mut StoreState,
    topic: &Resource<TopicHandle>,
    data: Vec<u8>,
    content_type: Option<String>,
) -> Result<impl Future<Output = Result<String, EventError>> + Send + 'static + use<>> {
    let topic = &state.table.get(topic)?.name;
    let published = new_event(data, content_type).map(|event| state.events.clone().publish(topic, event));
    let metrics = state.metrics.clone();
    Ok(async move {
        let published =
            published?.await.inspect_err(|error| metrics.record_events_refused(WaitPoint::Topic, error));
        Ok(published?.to_string())
    })
}

/// Asks for the end.
pub(super) fn end(
    state: &mut StoreState,
    topic: &Resource<TopicHandle>,
) -> Result<impl Future<Output = Result<String, EventError>> + Send + 'static + use<>> {
    let end = state.events.clone().end(&state.table.get(topic)?.name);
    let metrics = state.metrics.clone();
    Ok(async move {
        let end = end.await.inspect_err(|error| metrics.record_events_refused(WaitPoint::Topic, error));
        Ok(end?.to_string())
    })
}

/// A wait for events on behalf of a request.
#[expect(unreachable_pub, reason = "a part of what generated code re-exports")]
pub struct TopicRead {
    batch: Pin<Box<dyn Future<Output = Result<TopicBatch, EventError>> + Send>>,
    parking: Option<ParkedWait>,
}

impl TopicRead {
    pub(super) fn start(
        state: &StoreState,
        topic: &Name,
        after: Option<&str>,
        limit: u32,
        exchange: Option<Arc<Exchange>>,
    ) -> Self {
        let batch = match after.map(str::parse::<Cursor>).transpose() {
            Ok(after) => {
                Ok(state.events.clone().read(topic, after, usize::try_from(limit).unwrap_or(usize::MAX)))
            }
            Err(_) => Err(EventError::InvalidCursor),
        };
        exchange.as_deref().inspect(|exchange| exchange.mark_asked_for_events());
        let parking =
            exchange.as_ref().and_then(|exchange| ParkedWait::of(exchange, WaitPoint::Topic, topic));
        let batch = Box::pin(async move {
            let (batch, cancelled) = (batch?, EventError::Cancelled(Reason::Completed.into()));
            let exchange = exchange.ok_or(cancelled)?;
            tokio::select! {
                biased;
                () = exchange.wait_ended() => {
                    let reason = exchange.reason().unwrap_or(Reason::Completed);
                    Err(EventError::Cancelled(reason.into()))
                }
                batch = batch => batch
                    .inspect_err(|error| exchange.generation.metrics.record_events_refused(WaitPoint::Topic, error))
                    .map_err(StoreError::into),
            }
        });
        Self { batch, parking }
    }
}

/// Resolves with events, or with the reason why there are none.
impl GuestWait for TopicRead {
    type Output = TopicBatch;

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<TopicBatch, EventError>> {
        let polled = self.batch.as_mut().poll(cx);
        if let Some(parking) = &mut self.parking {
            parking.note(&polled);
        }
        polled
    }
}

/// The events as resources of the guest.
pub(super) fn push_events(
    state: &mut StoreState,
    events: Vec<SharedEvent>,
) -> Result<Vec<Resource<SharedEvent>>> {
    events.into_iter().map(|event| Ok(state.table.push(event)?)).collect()
}

/// Gives the events to the guest when the guest reads the future.
struct ReadProducer(TopicRead);

impl FutureProducer<StoreState> for ReadProducer {
    type Item = Result<wit::topic::Batch, EventError>;

    fn poll_produce(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'_, StoreState>,
        finish: bool,
    ) -> Poll<Result<Option<Self::Item>>> {
        match self.0.poll(cx) {
            Poll::Ready(Ok(TopicBatch { events, next, missed, restarted })) => {
                let events = push_events(store.data_mut(), events)?;
                Poll::Ready(Ok(Some(Ok(wit::topic::Batch {
                    events,
                    next: next.to_string(),
                    missed,
                    restarted,
                }))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ok(Some(Err(error)))),
            Poll::Pending if finish => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl wit::topic::Host for StoreState {}

impl wit::topic::HostTopic for StoreState {
    fn open(&mut self, name: String) -> Result<Result<Resource<TopicHandle>, EventError>> {
        open(self, &name)
    }

    fn drop(&mut self, this: Resource<TopicHandle>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl wit::topic::HostTopicWithStore<StoreState> for LingerImports {
    fn publish(
        mut store: Access<'_, StoreState, Self>,
        this: Resource<TopicHandle>,
        data: Vec<u8>,
        content_type: Option<String>,
    ) -> Result<FutureReader<Result<String, EventError>>> {
        let published = publish(store.get(), &this, data, content_type)?;
        FutureReader::new(store.as_context_mut(), async { wasmtime::error::Ok(published.await) })
    }

    fn read(
        mut store: Access<'_, StoreState, Self>,
        this: Resource<TopicHandle>,
        after: Option<String>,
        limit: u32,
    ) -> Result<FutureReader<Result<wit::topic::Batch, EventError>>> {
        let exchange = current(store.as_context_mut())?;
        let state = store.get();
        let read = TopicRead::start(state, &state.table.get(&this)?.name, after.as_deref(), limit, exchange);
        FutureReader::new(store.as_context_mut(), ReadProducer(read))
    }

    fn end(
        mut store: Access<'_, StoreState, Self>,
        this: Resource<TopicHandle>,
    ) -> Result<FutureReader<Result<String, EventError>>> {
        let end = end(store.get(), &this)?;
        FutureReader::new(store.as_context_mut(), async { wasmtime::error::Ok(end.await) })
    }
}

impl wit::topic::HostEvent for StoreState {
    fn cursor(&mut self, this: Resource<SharedEvent>) -> Result<String> {
        Ok(self.table.get(&this)?.cursor.to_string())
    }

    fn data(&mut self, this: Resource<SharedEvent>) -> Result<Vec<u8>> {
        Ok(self.table.get(&this)?.data.to_vec())
    }

    fn respond(
        &mut self,
        this: Resource<SharedEvent>,
        status: u16,
        headers: HeaderFields,
    ) -> Result<Result<Resource<Response>, ResponseError>> {
        let data = self.table.get(&this)?.data.clone();
        self.respond_with(status, headers, data)
    }

    fn content_type(&mut self, this: Resource<SharedEvent>) -> Result<Option<String>> {
        Ok(self.table.get(&this)?.content_type.as_deref().map(str::to_owned))
    }

    fn drop(&mut self, this: Resource<SharedEvent>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
