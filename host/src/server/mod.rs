//! The composition: acceptors where connections come in, shards that serve them, and the drain.

mod acceptor;
mod polling;
mod shard;

use std::future::Future;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use linger_config::Config;
use linger_deploy::{AppSpec, ComponentLoader, Deployments};
use linger_events::EventStore;
use linger_http::{BodyBuffers, ConnectionPermits, HttpSettings, ListenerPolicy, ShardContext};
use linger_net::BoundListener;
use linger_telemetry::traces::{self, ExportThread, SpanExport, TracesError};
use linger_telemetry::{LogFilter, Metrics};
use linger_wasm::{Engine, LoadError, ShardHandle};

use crate::admin::{self, AdminContext, MetricsExposition};
use crate::reload::{ConfigReader, ConfigReloader};
use acceptor::Acceptor;
use shard::Shard;

/// The reason why the server cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An app cannot be loaded.
    #[error(transparent)]
    App(#[from] LoadError),
    /// Traces cannot be set up.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// A server with its apps loaded.
pub struct Server {
    /// One for each shard.
    contexts: Vec<Arc<ShardContext>>,
    deployments: Arc<Deployments>,
    reloader: ConfigReloader,
    events: Arc<dyn EventStore>,
    places: ConnectionPermits,
    body_buffers: Arc<BodyBuffers>,
    metrics: Metrics,
    export: Option<SpanExport>,
    stopping: CancellationToken,
}

impl Server {
    /// Loads the apps, whose events are in `events`. Blocks while they compile: up to seconds for each. `reread` reads the
    /// configuration again, if it is one that can change.
    pub fn load(
        config: Config,
        engine: Arc<Engine>,
        events: Arc<dyn EventStore>,
        reread: Option<ConfigReader>,
    ) -> Result<Self, ServerError> {
        let metrics = Metrics::default();
        let opened = config.traces.as_ref().map(|traces| traces::open(traces, &metrics)).transpose()?;
        let (tracer, export) = opened.unzip();
        let loader = ComponentLoader {
            engine,
            events: events.clone(),
            shards: config.threads,
            metrics: metrics.clone(),
        };
        let deployments = Arc::new(Deployments::load(loader, AppSpec::all(&config))?);
        let settings = HttpSettings::new(&config, |name| deployments.slot(name).ok());
        let places = ConnectionPermits::new(&config.limits);
        let body_buffers = settings.read_ahead.buffers.clone();
        let common = ShardContext {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            detection: config.detection.clone(),
            metrics: metrics.clone(),
            tracer,
            ack_tokens: Arc::default(),
            max_deliveries: config.queues.max_deliveries_per_request,
            replaced: deployments.subscribe_replaced(),
            clients: places.clients.clone(),
            connections: Arc::default(),
            idle_buffers: Arc::default(),
            busy_poll: config.busy_poll,
            begun: Arc::default(),
            stopping: CancellationToken::new(),
            shard: ShardHandle::default(),
        };
        let contexts = (0..config.threads).map(|index| {
            let shard = ShardHandle { index, tasks: TaskTracker::new() };
            let (connections, idle_buffers, begun) = Default::default();
            Arc::new(ShardContext { connections, idle_buffers, begun, shard, ..common.clone() })
        });
        let contexts = contexts.collect();
        let reloader = ConfigReloader::new(
            config,
            reread,
            deployments.clone(),
            common.settings,
            places.clone(),
            metrics.clone(),
        );
        let stopping = common.stopping;
        Ok(Self { contexts, deployments, reloader, events, places, body_buffers, metrics, export, stopping })
    }

    /// The shared state of each thread's connections, to serve connections without the server.
    #[doc(hidden)]
    pub fn contexts(&self) -> &[Arc<ShardContext>] {
        &self.contexts
    }

    /// Starts the threads that serve, and takes the listeners. To be called in the runtime that will accept. Fails if the threads cannot be had.
    pub fn start(
        self,
        listeners: Vec<(BoundListener, ListenerPolicy)>,
        admin: Option<(admin::AdminListener, LogFilter)>,
    ) -> io::Result<RunningServer> {
        let Self { contexts, deployments, reloader, events, places, body_buffers, metrics, export, stopping } =
            self;
        let (reloader, leaving) = (Arc::new(reloader), CancellationToken::new());
        let admin = admin.map(|(listener, log)| {
            let exposition =
                MetricsExposition::new(&metrics, &deployments, events.clone(), places.all.clone());
            let operated = AdminContext {
                deployments: Arc::downgrade(&deployments),
                reloader: Arc::downgrade(&reloader),
                events: events.clone(),
                metrics: metrics.clone(),
                exposition,
                body_buffers,
                connections: contexts.iter().map(|context| context.connections.clone()).collect(),
                log,
                leaving: leaving.clone(),
                stopping: stopping.clone(),
            };
            (listener, operated)
        });
        let exporting = export.map(SpanExport::start).transpose()?;
        let shards = contexts.into_iter().map(Shard::start).collect::<io::Result<Vec<_>>>()?;
        let acceptors = listeners
            .into_iter()
            .map(|(listener, entrance)| Acceptor::open(listener, entrance, places.clone(), metrics.clone()))
            .collect();
        Ok(RunningServer {
            shards,
            acceptors,
            admin,
            deployments,
            reloader,
            events,
            exporting,
            leaving,
            stopping,
        })
    }
}

/// Serves operators, if they have a listener, for as long as it is polled.
async fn operated(admin: Option<(admin::AdminListener, AdminContext)>) {
    match admin {
        Some((listener, operated)) => listener.serve(operated).await,
        None => std::future::pending().await,
    }
}

/// Reads the configuration again whenever that is asked for, for as long as it is polled.
async fn reload_when(asked: &Notify, reloader: &ConfigReloader) {
    loop {
        asked.notified().await;
        if let Err(error) = reloader.reload().await {
            tracing::error!("the configuration is not reloaded: {error}");
        }
    }
}

/// Waits until load balancers should know that the server is not ready.
async fn take_leave(reloader: &ConfigReloader) {
    let delay = reloader.shutdown_delay();
    if !delay.is_zero() {
        tracing::info!("not ready; connections and requests are still accepted for {delay:?}");
        tokio::time::sleep(delay).await;
    }
}

/// A server that has started.
pub struct RunningServer {
    shards: Vec<Shard>,
    acceptors: Vec<Acceptor>,
    admin: Option<(admin::AdminListener, AdminContext)>,
    deployments: Arc<Deployments>,
    reloader: Arc<ConfigReloader>,
    events: Arc<dyn EventStore>,
    exporting: Option<ExportThread>,
    leaving: CancellationToken,
    stopping: CancellationToken,
}

impl RunningServer {
    /// Serves until `shutdown` resolves, and for the configured time after that, as one that is not ready; then cancels the parked requests with `shutdown`, and lets all
    /// requests and guests end within the configured time. Returns whether they did. Meanwhile the configuration is read
    /// again whenever `reload` is notified.
    pub async fn until(self, shutdown: impl Future<Output = ()>, reload: &Notify) -> bool {
        let Self { shards, acceptors, admin, deployments, reloader, events, exporting, leaving, stopping } =
            self;
        let served = async {
            tokio::select! {
                _ = join_all(acceptors.iter().map(|acceptor| acceptor.accept(&shards))) => {}
                _ = join_all(acceptors.iter().map(Acceptor::tend)) => {}
                () = deployments.judge() => {}
                () = deployments.watch() => {}
                () = reload_when(reload, &reloader) => {}
                () = async {
                    shutdown.await;
                    leaving.cancel();
                    take_leave(&reloader).await;
                } => {}
            }
            // From here on the kernel refuses new connections.
            drop(acceptors);
            stopping.cancel();
            let shutdown_timeout = reloader.shutdown_timeout();
            // It knows the apps.
            drop(reloader);
            let drained = async {
                let loader = deployments.end().await;
                // With the last connection of all shards the apps go, and their instances end.
                drop(deployments);
                join_all(shards.into_iter().map(Shard::drain)).await;
                // Its thread ends the turns of guests.
                drop(loader);
            };
            let drained = tokio::time::timeout(shutdown_timeout, drained).await.is_ok();
            if let Some(exporting) = exporting {
                exporting.stop().await;
            }
            drained
        };
        tokio::select! {
            drained = served => drained,
            () = events.keep_time() => unreachable!("time goes on"),
            // To the end: who asks learns that the server stops.
            () = operated(admin) => unreachable!("it serves on"),
        }
    }
}
