//! The composition: doors where connections come in, cores that serve them, and the drain.

mod core;
mod door;
mod polling;

use core::Core;
use std::future::Future;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use linger_config::Config;
use linger_deploy::{Deployments, Loader, Spec};
use linger_events::EventStore;
use linger_http::{Buffers, Context, Entrance, Places, Settings};
use linger_net::Listener;
use linger_telemetry::traces::{self, Export, Exporting, TracesError};
use linger_telemetry::{Log, Metrics};
use linger_wasm::{Engine, Lane, LoadError};

use crate::admin::Exposition;
use crate::admin::{self, Operated};
use crate::reload::{Reloader, Reread};
use door::Door;

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
    /// One for each core.
    contexts: Vec<Arc<Context>>,
    deployments: Arc<Deployments>,
    reloader: Reloader,
    events: Arc<dyn EventStore>,
    places: Places,
    body_buffers: Arc<Buffers>,
    metrics: Metrics,
    export: Option<Export>,
    stopping: CancellationToken,
}

impl Server {
    /// Loads the apps, whose events are in `events`. Blocks while they compile: up to seconds for each. `reread` reads the
    /// configuration again, if it is one that can change.
    pub fn load(
        config: Config,
        engine: Arc<Engine>,
        events: Arc<dyn EventStore>,
        reread: Option<Reread>,
    ) -> Result<Self, ServerError> {
        let metrics = Metrics::default();
        let opened = config.traces.as_ref().map(|traces| traces::open(traces, &metrics)).transpose()?;
        let (tracer, export) = opened.unzip();
        let loader =
            Loader { engine, events: events.clone(), lanes: config.threads, metrics: metrics.clone() };
        let deployments = Arc::new(Deployments::load(loader, Spec::all(&config))?);
        let settings = Settings::new(&config, |name| deployments.slot(name).ok());
        let places = Places::new(&config.limits);
        let body_buffers = settings.read_ahead.buffers.clone();
        let shared = Context {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            detection: config.detection.clone(),
            metrics: metrics.clone(),
            tracer,
            confirmations: Arc::default(),
            max_deliveries: config.queues.max_deliveries_per_request,
            replaced: deployments.replaced(),
            clients: places.clients.clone(),
            connections: Arc::default(),
            spares: Arc::default(),
            busy_poll: config.busy_poll,
            begun: Arc::default(),
            stopping: CancellationToken::new(),
            lane: Lane::default(),
        };
        let contexts = (0..config.threads).map(|core| {
            let lane = Lane { core, tasks: TaskTracker::new() };
            let (connections, spares, begun) = Default::default();
            Arc::new(Context { connections, spares, begun, lane, ..shared.clone() })
        });
        let contexts = contexts.collect();
        let reloader = Reloader::new(
            config,
            reread,
            deployments.clone(),
            shared.settings,
            places.clone(),
            metrics.clone(),
        );
        let stopping = shared.stopping;
        Ok(Self { contexts, deployments, reloader, events, places, body_buffers, metrics, export, stopping })
    }

    /// The shared state of each thread's connections, to serve connections without the server.
    #[doc(hidden)]
    pub fn contexts(&self) -> &[Arc<Context>] {
        &self.contexts
    }

    /// Starts the threads that serve, and takes the listeners. To be called in the runtime that will accept. Fails if the threads cannot be had.
    pub fn start(
        self,
        listeners: Vec<(Listener, Entrance)>,
        admin: Option<(admin::Listener, Log)>,
    ) -> io::Result<Running> {
        let Self { contexts, deployments, reloader, events, places, body_buffers, metrics, export, stopping } =
            self;
        let (reloader, leaving) = (Arc::new(reloader), CancellationToken::new());
        let admin = admin.map(|(listener, log)| {
            let exposition = Exposition::new(&metrics, &deployments, events.clone(), places.all.clone());
            let operated = Operated {
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
        let exporting = export.map(Export::start).transpose()?;
        let cores = contexts.into_iter().map(Core::start).collect::<io::Result<Vec<_>>>()?;
        let doors = listeners
            .into_iter()
            .map(|(listener, entrance)| Door::open(listener, entrance, places.clone(), metrics.clone()))
            .collect();
        Ok(Running { cores, doors, admin, deployments, reloader, events, exporting, leaving, stopping })
    }
}

/// Serves operators, if they have a listener, for as long as it is polled.
async fn operated(admin: Option<(admin::Listener, Operated)>) {
    match admin {
        Some((listener, operated)) => listener.serve(operated).await,
        None => std::future::pending().await,
    }
}

/// Reads the configuration again whenever that is asked for, for as long as it is polled.
async fn reload_when(asked: &Notify, reloader: &Reloader) {
    loop {
        asked.notified().await;
        if let Err(error) = reloader.reload().await {
            tracing::error!("the configuration is not reloaded: {error}");
        }
    }
}

/// Waits until load balancers should know that the server is not ready.
async fn take_leave(reloader: &Reloader) {
    let delay = reloader.shutdown_delay();
    if !delay.is_zero() {
        tracing::info!("not ready; connections and requests are still accepted for {delay:?}");
        tokio::time::sleep(delay).await;
    }
}

/// A server that has started.
pub struct Running {
    cores: Vec<Core>,
    doors: Vec<Door>,
    admin: Option<(admin::Listener, Operated)>,
    deployments: Arc<Deployments>,
    reloader: Arc<Reloader>,
    events: Arc<dyn EventStore>,
    exporting: Option<Exporting>,
    leaving: CancellationToken,
    stopping: CancellationToken,
}

impl Running {
    /// Serves until `shutdown` resolves, and for the configured time after that, as one that is not ready; then cancels the parked requests with `shutdown`, and lets all
    /// requests and guests end within the configured time. Returns whether they did. Meanwhile the configuration is read
    /// again whenever `reload` is notified.
    pub async fn until(self, shutdown: impl Future<Output = ()>, reload: &Notify) -> bool {
        let Self { cores, doors, admin, deployments, reloader, events, exporting, leaving, stopping } = self;
        let served = async {
            tokio::select! {
                _ = join_all(doors.iter().map(|door| door.accept(&cores))) => {}
                _ = join_all(doors.iter().map(Door::tend)) => {}
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
            drop(doors);
            stopping.cancel();
            let shutdown_timeout = reloader.shutdown_timeout();
            // It knows the apps.
            drop(reloader);
            let drained = async {
                let loader = deployments.end().await;
                // With the last connection of all cores the apps go, and their instances end.
                drop(deployments);
                join_all(cores.into_iter().map(Core::drain)).await;
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
