//! A server under measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use linger_config::{Config, DetectionConfig, ListenAddress};
use linger_http::ListenerPolicy;
use linger_net::BoundListener;
use linger_wasm::Engine;

/// A server with threads of its own.
pub(crate) struct BenchServer {
    _threads: Threads,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<bool>,
}

/// A runtime that can be dropped within another, whether or not all of it has ended.
pub(crate) struct Threads {
    runtime: Option<Runtime>,
    pub(crate) handle: Handle,
}

impl Threads {
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = Runtime::new()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl BenchServer {
    /// Serves what a configuration says, with what `make guests` built, after a change that it has no words for.
    pub(crate) fn start(
        engine: &Arc<Engine>,
        config: &str,
        change: impl FnOnce(&mut DetectionConfig),
    ) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
        let mut config = Config::parse(config, &folder.join("linger.toml"), |_| None)?;
        change(&mut config.detection);
        let silence = config.detection.silence();
        let events = crate::store::open(&config)?;
        let threads = Threads::new()?;
        let stop = CancellationToken::new();
        let server = linger::server::Server::load(config, engine.clone(), events, None)
            .context("run `make guests`")?;
        let stopped = stop.clone().cancelled_owned();
        let (server, address) = {
            let _inside = threads.handle.enter();
            let any = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
            let listener = BoundListener::open(&any, 0, &silence)?.pop().context("a listener")?;
            let ListenAddress::Tcp(address) = *listener.address() else {
                bail!("a listener of TCP has an address")
            };
            (server.start(vec![(listener, ListenerPolicy::default())], None)?, address)
        };
        let handle = threads.handle.clone();
        // On a thread of its own, since what it waits for borrows.
        let running =
            threads.handle.spawn_blocking(move || handle.block_on(server.until(stopped, &Notify::new())));
        Ok(Self { _threads: threads, address, stop, running })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it. Fails if something goes on.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let drained = self.running.await?;
        anyhow::ensure!(drained, "the server did not end within its time");
        Ok(())
    }
}
