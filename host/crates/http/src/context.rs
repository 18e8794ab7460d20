//! The state that all connections of a thread share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use linger_config::Detection;
use linger_events::Confirmations;
use linger_telemetry::{Metrics, Tracer};
use linger_wasm::Lane;

use crate::connection::clients::Clients;
use crate::connection::listing::Connections;
use crate::connection::spare::Spares;
use crate::settings::Settings;

/// The state that all connections of a thread share.
#[derive(Clone)]
pub struct Context {
    /// What can change while it serves.
    pub settings: Arc<ArcSwap<Settings>>,
    /// How departures are noticed.
    pub detection: Detection,
    /// What is counted of all apps.
    pub metrics: Metrics,
    /// Begins the spans of requests, if there are traces.
    pub tracer: Option<Arc<Tracer>>,
    /// Deliveries that their clients have to commit.
    pub confirmations: Arc<Confirmations>,
    /// Unsettled deliveries of one request.
    pub max_deliveries: usize,
    /// Changes when a generation of an app was replaced.
    pub replaced: watch::Receiver<()>,
    /// What each client has.
    pub clients: Arc<Clients>,
    /// Those of the thread.
    pub connections: Arc<Connections>,
    /// What the thread's connections do not need for now.
    pub spares: Arc<Spares>,
    /// How long the thread looks for the next request before it sleeps, where that pays.
    pub busy_poll: Option<Duration>,
    /// How many requests began on the thread.
    pub begun: Arc<AtomicU64>,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    /// The thread's instances, and the owner of all its tasks.
    pub lane: Lane,
}
