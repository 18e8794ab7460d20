//! An app: a component with its permissions, and calls into its instances.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use wasmtime::Store;
use wasmtime_wasi::{FsPerms, ResourceTable, WasiCtxBuilder};
use wasmtime_wasi_http::WasiHttpCtx;

use linger_config::OnDisconnect;
use linger_events::EventStore;
use linger_exchange::Exchange;
use linger_telemetry::AppMetrics;

use super::budget::Budget;
use super::cancels::Cancels;
use super::engine::{Engine, Handler, Source, Wasi, imports_events, one_line};
use super::imports::outgoing::OutgoingHttp;
use super::limits::Limits;
use super::log::{FloodGate, GuestOutput, Stream};
use super::meter::{Meter, meter};
use super::runtime::{Runtime, usual_uses};
use super::state::{Requests, State, Writing};
use super::{Body, CallError, Hold, Lane, LoadError, p2, p3};

/// A component that serves requests.
pub struct App {
    instances: Instances,
    /// Those whose calls can be cancelled, where some routes want that and others do not.
    cancelling: Option<Instances>,
    may_ask_for_events: bool,
}

/// The kinds of instances that an app's routes need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Of the component as it is.
    pub plain: bool,
    /// Those whose calls can be cancelled: `on_disconnect = "cancel"`.
    pub cancelling: bool,
}

enum Instances {
    P2(p2::Instances),
    P3(p3::Pool),
}

impl App {
    /// Compiles and links a component, for calls from so many lanes. Blocks for as long as that takes: up to seconds.
    pub fn load(
        metrics: &Arc<AppMetrics>,
        source: &Source,
        kinds: Kinds,
        config: &linger_config::App,
        engine: &Engine,
        events: Arc<dyn EventStore>,
        lanes: usize,
    ) -> Result<Self, LoadError> {
        let factory = Factory {
            app: metrics.app.clone(),
            metrics: metrics.clone(),
            engine: engine.wasmtime().clone(),
            outgoing: OutgoingHttp::to(&config.outgoing_hosts),
            events,
            cancels: None,
            flood: Arc::new(FloodGate::new(config.max_log_lines, metrics.clone())),
            config: config.clone(),
        };
        // Once now, so that a folder that cannot be opened is a mistake in the configuration.
        factory
            .store(&Meter::default(), &Arc::default(), factory.budget(|| ()))
            .map_err(|error| LoadError::Folder { app: metrics.app.to_string(), message: one_line(&error) })?;
        let (instances, cancelling) = instances(source, kinds, factory, engine, lanes)?;
        let may_ask_for_events = instances.may_ask_for_events();
        Ok(Self { instances, cancelling, may_ask_for_events })
    }

    /// Whether its imports let it take from queues or read topics.
    #[must_use]
    pub fn may_ask_for_events(&self) -> bool {
        self.may_ask_for_events
    }

    /// The number of instances.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        match &self.instances {
            Instances::P2(instances) => instances.count(),
            // Of both.
            Instances::P3(pool) => pool.count(),
        }
    }

    /// Starts an instance, and drops it.
    pub async fn try_start(&self) -> Result<(), CallError> {
        match &self.instances {
            Instances::P2(instances) => instances.try_start().await,
            Instances::P3(pool) => pool.try_start().await,
        }
    }

    /// Like [`call`](Self::call), in an instance of its own if there is room for one. Does not wait for room.
    pub async fn call_apart(
        &self,
        lane: &Lane,
        exchange: Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<(http::Response<Body>, Hold), CallError> {
        match &self.instances {
            Instances::P2(instances) => instances.call_apart(lane, exchange, request).await,
            Instances::P3(pool) => pool.call_apart(lane, exchange, request).await,
        }
    }

    fn instances(&self, on_disconnect: OnDisconnect) -> &Instances {
        match &self.cancelling {
            Some(cancelling) if on_disconnect == OnDisconnect::Cancel => cancelling,
            _ => &self.instances,
        }
    }

    /// Gives a request to a guest, and waits for the head of its response.
    ///
    /// Dropping the future leaves the guest running: `exchange` cancels it, and bounds its time.
    pub async fn call(
        &self,
        lane: &Lane,
        exchange: Arc<Exchange>,
        request: Box<http::Request<Body>>,
    ) -> Result<(http::Response<Body>, Hold), CallError> {
        let watched = exchange.clone();
        let answer = match self.instances(exchange.on_disconnect()) {
            Instances::P2(instances) => instances.call(lane, exchange, request).await,
            Instances::P3(pool) => pool.call(lane, exchange, request).await,
        };
        unless_over_limit(&watched, answer)
    }
}

/// A guest that was refused its answer, since the host holds too much for its instance, can only say that it failed: what
/// others are to blame for, who read slowly.
fn unless_over_limit(
    exchange: &Exchange,
    answer: Result<(http::Response<Body>, Hold), CallError>,
) -> Result<(http::Response<Body>, Hold), CallError> {
    let says_so = match &answer {
        Ok((response, _)) => response.status().is_server_error() || response.status().is_client_error(),
        Err(error) => matches!(error, CallError::Refused(_) | CallError::NoResponse),
    };
    if says_so && exchange.was_over_limit() { Err(CallError::OverLimit) } else { answer }
}

impl Instances {
    fn may_ask_for_events(&self) -> bool {
        imports_events(match self {
            Self::P2(instances) => instances.component(),
            Self::P3(pool) => pool.component(),
        })
    }
}

/// The instances of a component, and those whose calls can be cancelled where only some routes want that.
fn instances(
    source: &Source,
    kinds: Kinds,
    factory: Factory,
    engine: &Engine,
    lanes: usize,
) -> Result<(Instances, Option<Instances>), LoadError> {
    let pre = match engine.load(source)? {
        // An instance of WASI 0.2 is dropped instead.
        Handler::P2(pre) => {
            let uses = factory.max_uses(Wasi::P2, source);
            return Ok((Instances::P2(p2::Instances::new(pre, factory, uses, lanes)), None));
        }
        Handler::P3(pre) => pre,
    };
    let uses = factory.max_uses(Wasi::P3, source);
    let cancelling = match kinds.cancelling.then(|| engine.load_cancelling(source)).transpose()? {
        Some(Handler::P3(pre)) => {
            let factory = Factory { cancels: Some(Arc::default()), ..factory.clone() };
            Some(p3::Pool::new(pre, factory, uses, lanes, None))
        }
        Some(Handler::P2(_)) | None => None,
    };
    Ok(match cancelling {
        Some(pool) if !kinds.plain => (Instances::P3(pool), None),
        cancelling => {
            let plain = p3::Pool::new(pre, factory, uses, lanes, cancelling.as_ref());
            (Instances::P3(plain), cancelling.map(Instances::P3))
        }
    })
}

/// Makes stores with what the app's configuration grants.
#[derive(Clone)]
pub(super) struct Factory {
    pub(super) app: Arc<str>,
    /// What is counted of it.
    pub(super) metrics: Arc<AppMetrics>,
    pub(super) config: linger_config::App,
    engine: wasmtime::Engine,
    outgoing: OutgoingHttp,
    /// What is known of cancelling its calls, where they are cancelled.
    pub(super) cancels: Option<Arc<Cancels>>,
    flood: Arc<FloodGate>,
    events: Arc<dyn EventStore>,
}

impl Factory {
    /// Requests that an instance of this component is used for.
    fn max_uses(&self, wasi: Wasi, component: &Source) -> u64 {
        if let Some(uses) = self.config.instances.max_uses {
            return uses;
        }
        // Only there it matters, and to look takes a while.
        let runtime = if wasi == Wasi::P2 { Runtime::of(&component.bytes) } else { None };
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
    pub(super) fn budget(&self, relieved: impl Fn() + Send + Sync + 'static) -> Budget {
        Budget::new(self.config.instances.max_memory.as_u64(), relieved)
    }

    pub(super) fn store(
        &self,
        counts: &Meter,
        load: &Arc<AtomicUsize>,
        budget: Budget,
    ) -> wasmtime::Result<Store<State>> {
        let writing = Writing::default();
        let state = State {
            table: self.table(),
            wasi: self.wasi(&writing)?,
            http: WasiHttpCtx::new(),
            outgoing: self.outgoing.clone(),
            limits: Limits::new(self.config.instances.max_memory),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
            budget,
            patience: self.config.instances.queue_timeout,
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
