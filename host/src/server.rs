//! The composition: accept, permits, drain.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::events::EventStore;
use crate::guest::{App, Engine, LoadError};
use crate::http::{Context, Entrance, ReadAhead, Target, serve_connection};
use crate::net::{Silence, set_options};
use crate::route::Table;

/// A pause after the kernel refused to accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server with its apps loaded.
pub struct Server {
    context: Arc<Context>,
    events: Arc<dyn EventStore>,
    shutdown_timeout: Duration,
    /// Owns the guests.
    tasks: TaskTracker,
}

impl Server {
    /// Loads the apps, whose events are in `events`. Blocks while they compile: up to seconds for each.
    pub fn load(config: &Config, engine: &Engine, events: &Arc<dyn EventStore>) -> Result<Self, LoadError> {
        let tasks = TaskTracker::new();
        let mut apps = HashMap::new();
        for (name, app) in &config.apps {
            let app = App::load(name, app, engine, events.clone(), tasks.clone())?;
            apps.insert(name.clone(), Arc::new(app));
        }
        // The configuration was checked: each route's app is there.
        let routes = config.routes.iter().filter_map(|route| {
            let app = apps.get(&route.app)?.clone();
            Some((route.clone(), Target { app, deadline: route.deadline, grace: route.grace }))
        });
        let context = Context {
            routes: Table::new(routes),
            limits: config.limits.clone(),
            detection: config.detection.clone(),
            requests: Arc::new(Semaphore::new(config.limits.max_requests.min(Semaphore::MAX_PERMITS))),
            read_ahead: ReadAhead::new(
                config.limits.max_body_buffer.as_u64(),
                config.limits.max_body_buffers.as_u64(),
            ),
            confirmations: Arc::default(),
            max_deliveries: config.queues.max_deliveries_per_request,
            stopping: CancellationToken::new(),
            tasks: tasks.clone(),
        };
        let (context, events) = (Arc::new(context), events.clone());
        Ok(Self { context, events, shutdown_timeout: config.shutdown_timeout, tasks })
    }

    /// Serves until `shutdown` resolves; then cancels the parked requests with `shutdown`, and lets all
    /// requests and guests end within the configured time. Returns whether they did.
    pub async fn run(
        self,
        listeners: Vec<(TcpListener, Entrance)>,
        shutdown: impl Future<Output = ()>,
    ) -> bool {
        let keep_time = self.events.clone().keep_time();
        tokio::select! {
            drained = self.serve(listeners, shutdown) => drained,
            () = keep_time => unreachable!("time goes on"),
        }
    }

    async fn serve(
        self,
        listeners: Vec<(TcpListener, Entrance)>,
        shutdown: impl Future<Output = ()>,
    ) -> bool {
        let limit = self.context.limits.max_connections.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(limit));
        let silence = self.context.detection.silence();
        let mut doors: Vec<_> = listeners
            .into_iter()
            .map(|(listener, entrance)| Door {
                listener,
                entrance,
                silence,
                permits: permits.clone(),
                connections: JoinSet::new(),
            })
            .collect();
        tokio::select! {
            _ = join_all(doors.iter_mut().map(|door| door.accept(&self.context))) => {}
            () = shutdown => {}
        }
        // From here on the kernel refuses new connections.
        let connections: Vec<_> = doors.into_iter().map(|door| door.connections).collect();
        self.context.stopping.cancel();
        let Self { context, shutdown_timeout, tasks, .. } = self;
        let drained = async {
            for mut connections in connections {
                while let Some(ended) = connections.join_next().await {
                    log_panic(ended);
                }
            }
            // With the last connection the apps go, and their instances end.
            drop(context);
            tasks.close();
            tasks.wait().await;
        };
        tokio::time::timeout(shutdown_timeout, drained).await.is_ok()
    }
}

/// A listener, and the connections that came in by it.
struct Door {
    listener: TcpListener,
    entrance: Entrance,
    silence: Silence,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
}

impl Door {
    /// Accepts for ever. A connection has its permit before it is accepted, so that those beyond the limit
    /// wait in the kernel's backlog and cost nothing here.
    async fn accept(&mut self, context: &Arc<Context>) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
            let stream = self.next().await;
            if let Err(error) = set_options(&stream, &self.silence) {
                // It may have been reset already. Reading from it will say so.
                tracing::debug!("cannot set a connection's options: {error}");
            }
            let (context, entrance) = (context.clone(), self.entrance.clone());
            self.connections.spawn(async move {
                serve_connection(stream, &entrance, context).await;
                drop(permit);
            });
        }
    }

    async fn next(&mut self) -> TcpStream {
        let mut failing = false;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => return stream,
                    Err(error) => {
                        // Once, until it works again: it fails several times a second.
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!("cannot accept connections: {error}");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // Those that have ended leave the set.
                Some(ended) = self.connections.join_next() => log_panic(ended),
            }
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection failed, which is a mistake in Linger: {error}");
    }
}
