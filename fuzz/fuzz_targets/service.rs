//! The server's side: the long-poll example, compiled once, and one connection at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use linger::server::Server;
use linger_config::{Config, ListenAddress};
use linger_http::{ListenerPolicy, ShardContext, serve_connection};
use linger_net::BoundListener;
use linger_wasm::Engine;

use crate::client::Script;

/// Small bounds, so that inputs reach them and memory stays flat.
const CONFIG: &str = "
    listen = '127.0.0.1:0'
    threads = 1
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
    listener: BoundListener,
    address: SocketAddr,
    context: Arc<ShardContext>,
    _server: Server,
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
        let (server, opened) = {
            let _inside = runtime.enter();
            let opened = BoundListener::open(&config.listeners[0].address, 0, &config.detection.silence());
            (server(config), opened)
        };
        let context = server.contexts()[0].clone();
        let listener = opened.expect("a port").remove(0);
        let ListenAddress::Tcp(address) = *listener.address() else { unreachable!("it is one of TCP") };
        let pipe = runtime.block_on(async { signal(SignalKind::pipe()) }).expect("a signal");
        Self { runtime, listener, address, context, _server: server, _pipe: pipe }
    }

    /// Serves one client, until its connection has ended.
    pub fn run(&self, script: &Script<'_>, bound: Duration) {
        let (entrance, context) = (ListenerPolicy::default(), self.context.clone());
        self.runtime.block_on(async {
            let served = async {
                let accepted = self.listener.accept().await.expect("the client of this run");
                let from = accepted.from;
                let stream = accepted.stream().expect("a connection");
                serve_connection(stream, from, &entrance, context.clone()).await;
            };
            let both = async { tokio::join!(served, script.play(self.address)) };
            let ended = tokio::time::timeout(bound, both).await;
            assert!(ended.is_ok(), "the connection goes on without its client: {script:?}");
            let free = async {
                while self.context.settings.load().requests.in_use() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let freed = tokio::time::timeout(bound, free).await;
            assert!(freed.is_ok(), "a request goes on without its client: {script:?}");
        });
    }
}

fn server(config: Config) -> Server {
    let engine = Arc::new(Engine::new(None, 1_000, false).expect("an engine"));
    let events = linger_events::open(&config.events, config.queues.clone(), config.topics.clone())
        .expect("memory is there");
    Server::load(config, engine, events, None).expect("`make guests` was run")
}
