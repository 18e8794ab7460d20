//! The state that all connections of a thread share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use linger_config::DetectionConfig;
use linger_events::AckTokens;
use linger_telemetry::{Metrics, RequestTracer};
use linger_wasm::ShardHandle;

use crate::connection::clients::ClientTable;
use crate::connection::idle_buffers::IdleBuffers;
use crate::connection::listing::ConnectionList;
use crate::settings::HttpSettings;

/// The state that all connections of a thread share.
#[derive(Clone)]
pub struct ShardContext {
    /// What can change while it serves.
    pub settings: Arc<ArcSwap<HttpSettings>>,
    /// How departures are noticed.
    pub detection: DetectionConfig,
    /// What is counted of all apps.
    pub metrics: Metrics,
    /// Begins the spans of requests, if there are traces.
    pub tracer: Option<Arc<RequestTracer>>,
    /// Deliveries that their clients have to commit.
    pub ack_tokens: Arc<AckTokens>,
    /// Unsettled deliveries of one request.
    pub max_deliveries: usize,
    /// Changes when a generation of an app was replaced.
    pub replaced: watch::Receiver<()>,
    /// What each client has.
    pub clients: Arc<ClientTable>,
    /// Those of the thread.
    pub connections: Arc<ConnectionList>,
    /// What the thread's connections do not need for now.
    pub idle_buffers: Arc<IdleBuffers>,
    /// How long the thread looks for the next request before it sleeps, where that pays.
    pub busy_poll: Option<Duration>,
    /// How many requests began on the thread.
    pub begun: Arc<AtomicU64>,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    /// The thread's instances, and the owner of all its tasks.
    pub shard: ShardHandle,
}
