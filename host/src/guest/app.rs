//! An app: a component with what its configuration grants, and the way into its instances.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime::{Store, StoreLimitsBuilder};
use wasmtime_wasi::{FsPerms, ResourceTable, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use super::budget::Budget;
use super::cancels::Cancels;
use super::engine::{Engine, Handler, one_line};
use super::imports::outgoing::OutgoingHttp;
use super::log::{FloodGate, GuestOutput, Stream};
use super::meter::{Meter, meter};
use super::state::{Requests, State, Writing};
use super::{Body, CallError, Hold, Lane, LoadError, p2, p3};
use crate::config;
use crate::events::EventStore;
use crate::exchange::Exchange;

/// A component that serves requests.
pub struct App {
    name: Arc<str>,
    instances: Instances,
}

enum Instances {
    P2(p2::Instances),
    P3(p3::Pool),
}

impl App {
    /// Compiles and links the component, for calls from so many lanes, and with `cancels` so that its calls can be
    /// cancelled. Blocks for as long as that takes: up to seconds.
    pub fn load(
        (name, cancels): (&str, bool),
        config: &config::App,
        engine: &Engine,
        events: Arc<dyn EventStore>,
        lanes: usize,
    ) -> Result<Self, LoadError> {
        let handler = engine.load(&config.component, cancels)?;
        let name: Arc<str> = name.into();
        let factory = Factory {
            app: name.clone(),
            engine: engine.wasmtime().clone(),
            outgoing: OutgoingHttp::to(&config.outgoing_hosts),
            events,
            cancels: cancels.then(Arc::default),
            flood: Arc::new(FloodGate::new(config.max_log_lines)),
            config: config.clone(),
        };
        // Once now, so that a folder that cannot be opened is a mistake in the configuration.
        factory
            .store(&Meter::default(), &Arc::default())
            .map_err(|error| LoadError::Folder { app: name.to_string(), message: one_line(&error) })?;
        let instances = match handler {
            Handler::P2(pre) => Instances::P2(p2::Instances::new(pre, factory, lanes)),
            Handler::P3(pre) => Instances::P3(p3::Pool::new(pre, factory, lanes)),
        };
        Ok(Self { name, instances })
    }

    /// The app's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Gives a request to a guest, and waits for the head of its response.
    ///
    /// Dropping the future leaves the guest running: `exchange` tells it, and bounds it.
    pub async fn call(
        &self,
        lane: &Lane,
        exchange: Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<(http::Response<Body>, Hold), CallError> {
        match &self.instances {
            Instances::P2(instances) => instances.call(lane, exchange, request).await,
            Instances::P3(pool) => pool.call(lane, exchange, request).await,
        }
    }
}

/// Makes stores with what the app's configuration grants.
pub(super) struct Factory {
    pub(super) app: Arc<str>,
    pub(super) config: config::App,
    engine: wasmtime::Engine,
    outgoing: OutgoingHttp,
    /// What is known of cancelling its calls, where they are cancelled.
    pub(super) cancels: Option<Arc<Cancels>>,
    flood: Arc<FloodGate>,
    events: Arc<dyn EventStore>,
}

impl Factory {
    pub(super) fn store(&self, counts: &Meter, load: &Arc<AtomicUsize>) -> wasmtime::Result<Store<State>> {
        let writing = Writing::default();
        let limits = StoreLimitsBuilder::new()
            .memory_size(usize::try_from(self.config.instances.max_memory.as_u64()).unwrap_or(usize::MAX))
            .build();
        let state = State {
            table: self.table(),
            wasi: self.wasi(&writing)?,
            http: WasiHttpCtx::new(),
            outgoing: self.outgoing.clone(),
            limits,
            events: self.events.clone(),
            budget: Budget::new(self.config.instances.max_memory.as_u64()),
            requests: Requests::new(writing),
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

    fn wasi(&self, writing: &Writing) -> wasmtime::Result<wasmtime_wasi::WasiCtx> {
        let output = |stream| {
            let (app, writing, flood) = (self.app.clone(), writing.clone(), self.flood.clone());
            GuestOutput { app, stream, writing, flood }
        };
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(output(Stream::Stdout)).stderr(output(Stream::Stderr));
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
