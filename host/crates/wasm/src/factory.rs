//! The stores of an app: each with what its configuration grants.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime::Store;
use wasmtime_wasi::{FsPerms, ResourceTable, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use linger_events::EventStore;
use linger_telemetry::AppMetrics;

use super::budget::HostBudget;
use super::cancels::CancelSupport;
use super::engine::{ComponentSource, WasiVersion};
use super::limits::MemoryLimiter;
use super::log::{FloodGate, GuestOutput, StandardStream};
use super::meter::{CpuMeter, meter};
use super::outgoing::OutgoingHttp;
use super::runtime::{LanguageRuntime, usual_uses};
use super::state::{InstanceRequests, StoreState, WritingRequest};

/// Makes stores with what the app's configuration grants.
#[derive(Clone)]
pub(super) struct StoreFactory {
    pub(super) app: Arc<str>,
    /// What is counted of it.
    pub(super) metrics: Arc<AppMetrics>,
    pub(super) config: linger_config::AppConfig,
    pub(super) engine: wasmtime::Engine,
    pub(super) outgoing: OutgoingHttp,
    /// What is known of cancelling its calls, where they are cancelled.
    pub(super) cancels: Option<Arc<CancelSupport>>,
    pub(super) flood: Arc<FloodGate>,
    pub(super) events: Arc<dyn EventStore>,
}

impl StoreFactory {
    /// Requests that an instance of this component is used for.
    pub(super) fn max_uses(&self, wasi: WasiVersion, component: &ComponentSource) -> u64 {
        if let Some(uses) = self.config.instances.max_uses {
            return uses;
        }
        // Only there it matters, and to look takes a while.
        let runtime = if wasi == WasiVersion::P2 { LanguageRuntime::of(&component.bytes) } else { None };
        let uses = usual_uses(wasi, runtime);
        if let Some(runtime) = runtime {
            tracing::info!(
                app = &*self.app,
                "{runtime}: each instance handles up to {uses} requests, one at a time (instances.max_uses)"
            );
        }
        uses
    }

    /// What an instance may make the host hold. `relieved` is called when it can take requests again.
    pub(super) fn budget(&self, relieved: impl Fn() + Send + Sync + 'static) -> HostBudget {
        HostBudget::new(self.config.instances.max_memory.as_u64(), relieved)
    }

    pub(super) fn store(
        &self,
        counts: &CpuMeter,
        load: &Arc<AtomicUsize>,
        budget: HostBudget,
    ) -> wasmtime::Result<Store<StoreState>> {
        let writing = WritingRequest::default();
        let state = StoreState {
            table: self.table(),
            wasi: self.wasi(&writing)?,
            http: WasiHttpCtx::new(),
            outgoing: self.outgoing.clone(),
            limits: MemoryLimiter::new(self.config.instances.max_memory),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
            budget,
            patience: self.config.instances.queue_timeout,
            requests: InstanceRequests::new(writing),
            cancels: self.cancels.clone(),
            load: load.clone(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limits);
        meter(&mut store, counts.clone(), &self.config.instances);
        Ok(store)
    }

    /// A guest that leaks handles ends its instance, and not the host.
    fn table(&self) -> ResourceTable {
        /// More than any handler holds for a request.
        const HANDLES: usize = 1_000;
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.config.instances.max_requests.saturating_add(10).saturating_mul(HANDLES));
        table
    }

    fn wasi(&self, writing: &WritingRequest) -> wasmtime::Result<wasmtime_wasi::WasiCtx> {
        let output = |stream| {
            let (app, writing, flood) = (self.app.clone(), writing.clone(), self.flood.clone());
            GuestOutput { app, stream, writing, flood }
        };
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(output(StandardStream::Stdout)).stderr(output(StandardStream::Stderr));
        for (name, value) in &self.config.env {
            wasi.env(name, value);
        }
        for dir in &self.config.dirs {
            let permissions = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            wasi.preopened_dir(&dir.host, &dir.guest, permissions)
                .map_err(|error| error.context(format!("{}", dir.host.display())))?;
        }
        if !self.config.sockets.is_empty() {
            let allowed: Arc<[_]> = self.config.sockets.clone().into();
            wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, usage| {
                let allowed = allowed.contains(&address) || is_implicit_bind(usage, address);
                Box::pin(std::future::ready(allowed))
            });
        }
        Ok(wasi.build())
    }
}

/// A socket that connects is first bound to any address and port, which reaches nobody.
fn is_implicit_bind(usage: wasmtime_wasi::sockets::SocketAddrUse, address: std::net::SocketAddr) -> bool {
    use wasmtime_wasi::sockets::SocketAddrUse::{TcpBind, UdpBind};
    matches!(usage, TcpBind | UdpBind) && address.ip().is_unspecified() && address.port() == 0
}
