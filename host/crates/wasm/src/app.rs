//! An app: a component with its permissions, and calls into its instances.

use std::sync::Arc;

use linger_config::OnDisconnect;
use linger_events::EventStore;
use linger_exchange::Exchange;
use linger_telemetry::AppMetrics;

use super::engine::{ComponentHandler, ComponentSource, Engine, WasiVersion, imports_events, one_line};
use super::factory::StoreFactory;
use super::log::FloodGate;
use super::meter::CpuMeter;
use super::outgoing::OutgoingHttp;
use super::{BoundaryBody, CallError, LoadError, ResponseGuard, ShardHandle, p2, p3};

/// A component that serves requests.
pub struct App {
    instances: AppInstances,
    /// Those whose calls can be cancelled, where some routes want that and others do not.
    cancelling: Option<AppInstances>,
    may_ask_for_events: bool,
}

/// The kinds of instances that an app's routes need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceKinds {
    /// Of the component as it is.
    pub plain: bool,
    /// Those whose calls can be cancelled: `on_disconnect = "cancel"`.
    pub cancelling: bool,
}

enum AppInstances {
    P2(p2::SoloInstances),
    P3(p3::InstancePool),
}

impl App {
    /// Compiles and links a component, for calls from so many shards. Blocks for as long as that takes: up to seconds.
    pub fn load(
        metrics: &Arc<AppMetrics>,
        source: &ComponentSource,
        kinds: InstanceKinds,
        config: &linger_config::AppConfig,
        engine: &Engine,
        events: Arc<dyn EventStore>,
        shards: usize,
    ) -> Result<Self, LoadError> {
        let factory = StoreFactory {
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
            .store(&CpuMeter::default(), &Arc::default(), factory.budget(|| ()))
            .map_err(|error| LoadError::Folder { app: metrics.app.to_string(), message: one_line(&error) })?;
        let (instances, cancelling) = instances(source, kinds, factory, engine, shards)?;
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
            AppInstances::P2(instances) => instances.count(),
            // Of both.
            AppInstances::P3(pool) => pool.count(),
        }
    }

    /// Starts an instance, and drops it.
    pub async fn try_start(&self) -> Result<(), CallError> {
        match &self.instances {
            AppInstances::P2(instances) => instances.try_start().await,
            AppInstances::P3(pool) => pool.try_start().await,
        }
    }

    /// Like [`call`](Self::call), in an instance of its own if there is room for one. Does not wait for room.
    pub async fn call_apart(
        &self,
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        match &self.instances {
            AppInstances::P2(instances) => instances.call_apart(shard, exchange, request).await,
            AppInstances::P3(pool) => pool.call_apart(shard, exchange, request).await,
        }
    }

    fn instances(&self, on_disconnect: OnDisconnect) -> &AppInstances {
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
        shard: &ShardHandle,
        exchange: Arc<Exchange>,
        request: Box<http::Request<BoundaryBody>>,
    ) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
        let watched = exchange.clone();
        let answer = match self.instances(exchange.on_disconnect()) {
            AppInstances::P2(instances) => instances.call(shard, exchange, request).await,
            AppInstances::P3(pool) => pool.call(shard, exchange, request).await,
        };
        unless_over_limit(&watched, answer)
    }
}

/// A guest that was refused its answer, since the host holds too much for its instance, can only say that it failed: what
/// others are to blame for, who read slowly.
fn unless_over_limit(
    exchange: &Exchange,
    answer: Result<(http::Response<BoundaryBody>, ResponseGuard), CallError>,
) -> Result<(http::Response<BoundaryBody>, ResponseGuard), CallError> {
    let says_so = match &answer {
        Ok((response, _)) => response.status().is_server_error() || response.status().is_client_error(),
        Err(error) => matches!(error, CallError::Refused(_) | CallError::NoResponse),
    };
    if says_so && exchange.was_over_limit() { Err(CallError::OverLimit) } else { answer }
}

impl AppInstances {
    fn may_ask_for_events(&self) -> bool {
        imports_events(match self {
            Self::P2(instances) => instances.component(),
            Self::P3(pool) => pool.component(),
        })
    }
}

/// The instances of a component, and those whose calls can be cancelled where only some routes want that.
fn instances(
    source: &ComponentSource,
    kinds: InstanceKinds,
    factory: StoreFactory,
    engine: &Engine,
    shards: usize,
) -> Result<(AppInstances, Option<AppInstances>), LoadError> {
    let pre = match engine.load(source)? {
        // An instance of WASI 0.2 is dropped instead.
        ComponentHandler::P2(pre) => {
            let uses = factory.max_uses(WasiVersion::P2, source);
            return Ok((AppInstances::P2(p2::SoloInstances::new(pre, factory, uses, shards)), None));
        }
        ComponentHandler::P3(pre) => pre,
    };
    let uses = factory.max_uses(WasiVersion::P3, source);
    let cancelling = match kinds.cancelling.then(|| engine.load_cancelling(source)).transpose()? {
        Some(ComponentHandler::P3(pre)) => {
            let factory = StoreFactory { cancels: Some(Arc::default()), ..factory.clone() };
            Some(p3::InstancePool::new(pre, factory, uses, shards, None))
        }
        Some(ComponentHandler::P2(_)) | None => None,
    };
    Ok(match cancelling {
        Some(pool) if !kinds.plain => (AppInstances::P3(pool), None),
        cancelling => {
            let plain = p3::InstancePool::new(pre, factory, uses, shards, cancelling.as_ref());
            (AppInstances::P3(plain), cancelling.map(AppInstances::P3))
        }
    })
}
