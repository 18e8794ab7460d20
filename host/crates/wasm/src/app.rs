//! An app: a component with what its configuration grants, and the way into its instances.

use std::sync::Arc;

use linger_config::OnDisconnect;
use linger_events::EventStore;
use linger_exchange::Exchange;
use linger_telemetry::AppMetrics;

use super::engine::{Engine, Handler, Source, Wasi, imports_events, one_line};
use super::factory::Factory;
use super::log::FloodGate;
use super::meter::Meter;
use super::outgoing::OutgoingHttp;
use super::{Body, CallError, Hold, Lane, LoadError, p2, p3};

/// A component that serves requests.
pub struct App {
    instances: Instances,
    /// Those whose calls can be cancelled, where some routes want that and others do not.
    cancelling: Option<Instances>,
    may_ask_for_events: bool,
}

/// Which kinds of instances an app's routes want.
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
        config: &linger_config::AppConfig,
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

    /// Whether it can take from queues or read topics.
    #[must_use]
    pub fn may_ask_for_events(&self) -> bool {
        self.may_ask_for_events
    }

    /// Instances that there are.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        match &self.instances {
            Instances::P2(instances) => instances.count(),
            // Of both.
            Instances::P3(pool) => pool.count(),
        }
    }

    /// Starts an instance, and drops it. An error says why none starts.
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
    /// Dropping the future leaves the guest running: `exchange` tells it, and bounds it.
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
