//! The server's side: the long-poll example, compiled once, and one connection at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use linger::config::Config;
use linger::deploy::{Deployments, Loader, Spec};
use linger::events;
use linger::guest::{Engine, Lane};
use linger::http::{Context, Entrance, Settings, serve_connection};
use linger::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::client::Script;

/// Small bounds, so that inputs reach them and memory stays flat.
const CONFIG: &str = "
    detection.confirm_window = '20ms'
    detection.ack_timeout = '2s'
    queues.max_queues = 16
    queues.max_events = 8
    queues.max_bytes = '64KiB'
    queues.max_total_bytes = '256KiB'
    [limits]
    max_head_size = '8KiB'
    max_body_buffer = '64KiB'
    max_body_buffers = '64KiB'
    [apps.longpoll]
    component = 'longpoll.wasm'
";

/// What serves connections.
pub struct Service {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    context: Arc<Context>,
    _engine: Arc<Engine>,
    /// Caught, as it is in a Rust program whose `main` is not the fuzzer's: a write to who has left is an error.
    _pipe: Signal,
}

impl Service {
    /// Compiles the component, and listens.
    pub fn start() -> Self {
        // One thread, which asks the kernel after each turn: an input does the same each time.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(1)
            .build()
            .expect("a runtime");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
        let config = Config::parse(CONFIG, &folder.join("linger.toml"), |_| None).expect("a configuration");
        let engine = Arc::new(Engine::new(None, 1_000, false).expect("an engine"));
        let context = runtime.block_on(async { context(&config, &engine) });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let pipe = runtime.block_on(async { signal(SignalKind::pipe()) }).expect("a signal");
        Self { runtime, listener, address, context: Arc::new(context), _engine: engine, _pipe: pipe }
    }

    /// Serves one client, until its connection has ended.
    pub fn run(&self, script: &Script<'_>, bound: Duration) {
        let (entrance, context) = (Entrance::default(), self.context.clone());
        self.runtime.block_on(async {
            let served = async {
                let (stream, _) = self.listener.accept().await.expect("the client of this run");
                serve_connection(stream, &entrance, context.clone()).await;
            };
            let both = async { tokio::join!(served, script.play(self.address)) };
            let ended = tokio::time::timeout(bound, both).await;
            assert!(ended.is_ok(), "the connection goes on without its client: {script:?}");
            let free = async {
                while self.context.settings.load().requests.taken() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let freed = tokio::time::timeout(bound, free).await;
            assert!(freed.is_ok(), "a request goes on without its client: {script:?}");
        });
    }
}

fn context(config: &Config, engine: &Arc<Engine>) -> Context {
    let events =
        events::open(&config.events, config.queues.clone(), config.topics.clone()).expect("memory is there");
    let metrics = Metrics::default();
    let loader = Loader { engine: engine.clone(), events, lanes: 1, metrics: metrics.clone() };
    let deployments = Deployments::load(loader, Spec::all(config)).expect("`make guests` was run");
    let settings = Settings::new(config, |name| deployments.slot(name).ok());
    Context {
        settings: Arc::new(ArcSwap::from_pointee(settings)),
        detection: config.detection.clone(),
        metrics,
        confirmations: Arc::default(),
        connections: Arc::default(),
        max_deliveries: config.queues.max_deliveries_per_request,
        replaced: deployments.replaced(),
        stopping: CancellationToken::new(),
        lane: Lane::default(),
    }
}
