//! WASI 0.2: an instance for each request.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::app::Factory;
use super::p3::WAIT_FOR_PLACE;
use super::state::State;
use super::{Body, CallError, not_started};
use crate::exchange::Exchange;

type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Runs each request in a fresh instance.
pub(super) struct Instances {
    inner: Arc<Inner>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

struct Inner {
    pre: ProxyPre<State>,
    factory: Factory,
}

impl Instances {
    pub(super) fn new(pre: ProxyPre<State>, factory: Factory, tasks: TaskTracker) -> Self {
        let room = Arc::new(Semaphore::new(factory.config.instances.max.min(Semaphore::MAX_PERMITS)));
        Self { inner: Arc::new(Inner { pre, factory }), room, tasks }
    }

    pub(super) async fn call(
        &self,
        exchange: Arc<Exchange>,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, CallError> {
        let room = self.room.clone().acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(WAIT_FOR_PLACE, room).await else {
            return Err(CallError::Busy);
        };
        let (sender, answer) = oneshot::channel();
        let inner = self.inner.clone();
        // A task of its own: the guest runs on while its body is sent, and for its grace when the client left.
        let guest = self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                result = inner.run(&exchange, request, sender) => result,
                () = overdue(&exchange) => {
                    tracing::warn!(app = &*exchange.app, request = %exchange.id, "guest stopped: it ran on for its whole grace after the request had ended");
                    Err(CallError::Trapped)
                }
            }
        });
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(CallError::Refused(format!("{error:?}"))),
            // The guest ended without an answer: its task says how.
            Err(_) => Err(match guest.await {
                Ok(Err(error)) => error,
                Ok(Ok(())) => CallError::NoResponse,
                Err(_) => CallError::Trapped,
            }),
        }
    }
}

impl Inner {
    async fn run(
        &self,
        exchange: &Arc<Exchange>,
        request: http::Request<Body>,
        sender: oneshot::Sender<Answer>,
    ) -> Result<(), CallError> {
        let mut store = self.factory.store().map_err(|error| not_started(&error))?;
        store.data_mut().requests.set_sole(exchange.clone());
        let mut http = store.data_mut().http();
        let request =
            http.new_incoming_request(Scheme::Http, request).map_err(|error| not_started(&error))?;
        let out = http.new_response_outparam(sender).map_err(|error| not_started(&error))?;
        let proxy = self.pre.instantiate_async(&mut store).await.map_err(|error| not_started(&error))?;
        let result = proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await;
        if let Err(error) = result {
            // Before the store goes, and the body with it.
            exchange.fail();
            let (app, request) = (&*exchange.app, exchange.id);
            tracing::error!(app, request = %request, "guest trapped: {error:#}");
            return Err(CallError::Trapped);
        }
        Ok(())
    }
}

/// Waits until a request has ended, and its grace has passed.
pub(super) async fn overdue(exchange: &Exchange) {
    exchange.ended().await;
    tokio::time::sleep(exchange.grace).await;
}
