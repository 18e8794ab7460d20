//! The host's state of an instance.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use linger_events::EventStore;
use linger_exchange::{Exchange, RequestId};
use linger_telemetry::AppMetrics;

use super::budget::HostBudget;
use super::cancels::CancelSupport;
use super::limits::MemoryLimiter;
use super::outgoing::OutgoingHttp;

/// The data of a wasmtime store.
pub(crate) struct StoreState {
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) http: WasiHttpCtx,
    pub(super) outgoing: OutgoingHttp,
    pub(super) limits: MemoryLimiter,
    pub(super) events: Arc<dyn EventStore>,
    /// What is counted of its app.
    pub(super) metrics: Arc<AppMetrics>,
    /// Bounds what the host holds for it.
    pub(super) budget: HostBudget,
    /// How long its guests wait for room in that.
    pub(super) patience: Duration,
    pub(super) requests: InstanceRequests,
    /// What is known of cancelling calls of this component, where they are cancelled.
    pub(super) cancels: Option<Arc<CancelSupport>>,
    /// Requests that are in the instance.
    pub(super) load: Arc<AtomicUsize>,
}

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for StoreState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// The requests that an instance works for.
#[derive(Default)]
pub(super) struct InstanceRequests {
    /// A guest can work on after its request has ended, and ask for it. So an entry stays until the id of
    /// its task names another one: there are never more than the instance had tasks at a time.
    by_task: HashMap<GuestTaskId, Arc<Exchange>>,
    /// The one of a WASI 0.2 instance.
    sole: Option<Arc<Exchange>>,
    writing: WritingRequest,
}

/// The request that is writing to the instance's standard streams, for the log.
#[derive(Clone, Default)]
pub(super) struct WritingRequest(Arc<Mutex<Option<RequestId>>>);

impl WritingRequest {
    pub(super) fn get(&self) -> Option<RequestId> {
        *self.0.lock()
    }

    fn set(&self, id: Option<RequestId>) {
        *self.0.lock() = id;
    }
}

impl InstanceRequests {
    pub(super) fn new(writing: WritingRequest) -> Self {
        Self { writing, ..Self::default() }
    }

    pub(super) fn set_sole(&mut self, exchange: Arc<Exchange>) {
        self.writing.set(Some(exchange.id));
        self.sole = Some(exchange);
    }

    pub(super) fn sole(&self) -> Option<Arc<Exchange>> {
        self.sole.clone()
    }

    /// Notes whose task it is. With one request aboard, all that is written is its own, whichever way it comes.
    pub(super) fn insert(&mut self, task: GuestTaskId, exchange: Arc<Exchange>, alone: bool) {
        self.writing.set(alone.then_some(exchange.id));
        self.by_task.insert(task, exchange);
    }

    /// Marks all as failed, and returns those that had not ended.
    pub(super) fn fail_all(&self) -> Vec<Arc<Exchange>> {
        let aboard: Vec<_> =
            self.by_task.values().filter(|exchange| !exchange.has_ended()).cloned().collect();
        for exchange in &aboard {
            exchange.mark_failed();
        }
        aboard
    }
}

/// The request that the running guest code works for: the one at the root of its task.
pub(super) fn current(mut store: StoreContextMut<'_, StoreState>) -> wasmtime::Result<Option<Arc<Exchange>>> {
    if let Some(sole) = store.data().requests.sole() {
        return Ok(Some(sole));
    }
    let root = store.async_call_stack()?.last();
    Ok(root.and_then(|task| store.data().requests.by_task.get(&task).cloned()))
}

/// Notes which request is about to write to a standard stream.
pub(super) fn note_writer(mut store: StoreContextMut<'_, StoreState>) -> wasmtime::Result<()> {
    if let Some(exchange) = current(store.as_context_mut())? {
        store.data().requests.writing.set(Some(exchange.id));
    }
    Ok(())
}
