//! The composition: doors where connections come in, cores that serve them, and the drain.

mod core;
mod door;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::config::{Config, OnDisconnect};
use crate::deploy::{Deployments, Loader};
use crate::events::EventStore;
use crate::guest::{Engine, Kinds, Lane, LoadError};
use crate::http::{Context, Entrance, ReadAhead, Target};
use crate::route::Table;
use core::Core;
use door::Door;

/// A server with its apps loaded.
pub struct Server {
    /// One for each core.
    contexts: Vec<Arc<Context>>,
    deployments: Arc<Deployments>,
    events: Arc<dyn EventStore>,
    max_connections: usize,
    shutdown_timeout: Duration,
    stopping: CancellationToken,
}

impl Server {
    /// Loads the apps, whose events are in `events`. Blocks while they compile: up to seconds for each.
    pub fn load(
        config: &Config,
        engine: Arc<Engine>,
        events: Arc<dyn EventStore>,
    ) -> Result<Self, LoadError> {
        let semaphore = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let apps = config.apps.iter().map(|(name, app)| (name.as_str(), app, kinds(config, name)));
        let loader = Loader { engine, events: events.clone(), lanes: config.threads };
        let deployments = Deployments::load(loader, apps)?;
        let mut per_app = HashMap::new();
        let mut routes = Vec::new();
        for route in &config.routes {
            // The configuration was checked: each route's app is there.
            let Ok(slot) = deployments.slot(&route.app) else { continue };
            let max_requests = config.apps.get(&route.app).and_then(|app| app.max_requests);
            let max_requests = max_requests.unwrap_or(Semaphore::MAX_PERMITS);
            let requests = per_app.entry(&route.app).or_insert_with(|| semaphore(max_requests)).clone();
            routes.push((route.clone(), Target { slot: slot.clone(), requests, terms: route.into() }));
        }
        let limits = &config.limits;
        let shared = Context {
            routes: Arc::new(Table::new(routes)),
            limits: limits.clone(),
            detection: config.detection.clone(),
            requests: semaphore(limits.max_requests),
            read_ahead: ReadAhead::new(limits.max_body_buffer.as_u64(), limits.max_body_buffers.as_u64()),
            confirmations: Arc::default(),
            max_deliveries: config.queues.max_deliveries_per_request,
            replaced: deployments.replaced(),
            stopping: CancellationToken::new(),
            lane: Lane::default(),
        };
        let contexts = (0..config.threads).map(|core| {
            let lane = Lane { core, tasks: TaskTracker::new() };
            Arc::new(Context { lane, ..shared.clone() })
        });
        Ok(Self {
            contexts: contexts.collect(),
            deployments: Arc::new(deployments),
            events,
            max_connections: limits.max_connections,
            shutdown_timeout: config.shutdown_timeout,
            stopping: shared.stopping,
        })
    }

    /// Starts the threads that serve, and takes the listeners, which are those of [`crate::net::listen`]. To be called
    /// in the runtime that will accept. Fails if the threads cannot be had.
    pub fn start(
        self,
        listeners: Vec<(TcpListener, Entrance)>,
        admin: Option<admin::Listener>,
    ) -> io::Result<Running> {
        let Self { contexts, deployments, events, max_connections, shutdown_timeout, stopping } = self;
        let cores = contexts.into_iter().map(Core::start).collect::<io::Result<Vec<_>>>()?;
        let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        let doors = listeners
            .into_iter()
            .map(|(listener, entrance)| Door::open(listener, entrance, permits.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Running { cores, doors, admin, deployments, events, shutdown_timeout, stopping })
    }
}

/// Serves operators, if they have a listener, for as long as it is polled.
async fn operated(admin: Option<admin::Listener>, deployments: Arc<Deployments>) {
    match admin {
        Some(listener) => listener.serve(deployments).await,
        None => std::future::pending().await,
    }
}

/// Which kinds of instances the routes of an app want.
fn kinds(config: &Config, app: &str) -> Kinds {
    let wanted = |cancel: bool| {
        let mut routes = config.routes.iter().filter(|route| route.app == app);
        routes.any(|route| (route.on_disconnect == OnDisconnect::Cancel) == cancel)
    };
    Kinds { plain: wanted(false), cancelling: wanted(true) }
}

/// A server that has started.
pub struct Running {
    cores: Vec<Core>,
    doors: Vec<Door>,
    admin: Option<admin::Listener>,
    deployments: Arc<Deployments>,
    events: Arc<dyn EventStore>,
    shutdown_timeout: Duration,
    stopping: CancellationToken,
}

impl Running {
    /// Serves until `shutdown` resolves; then cancels the parked requests with `shutdown`, and lets all
    /// requests and guests end within the configured time. Returns whether they did.
    pub async fn until(self, shutdown: impl Future<Output = ()>) -> bool {
        let Self { cores, doors, admin, deployments, events, shutdown_timeout, stopping } = self;
        let operated = operated(admin, deployments.clone());
        let served = async {
            tokio::select! {
                _ = join_all(doors.iter().map(|door| door.accept(&cores))) => {}
                () = operated => {}
                () = deployments.judge() => {}
                () = deployments.watch() => {}
                () = shutdown => {}
            }
            // From here on the kernel refuses new connections.
            drop(doors);
            stopping.cancel();
            let drained = async {
                let loader = deployments.end().await;
                // With the last connection of all cores the apps go, and their instances end.
                drop(deployments);
                join_all(cores.into_iter().map(Core::drain)).await;
                // Its thread ends the turns of guests.
                drop(loader);
            };
            tokio::time::timeout(shutdown_timeout, drained).await.is_ok()
        };
        tokio::select! {
            drained = served => drained,
            () = events.keep_time() => unreachable!("time goes on"),
        }
    }
}
