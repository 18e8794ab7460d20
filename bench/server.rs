//! A server under measurement.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use linger::config::{Config, Detection};
use linger::guest::Engine;
use linger::http::Entrance;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server with threads of its own.
pub(crate) struct Server {
    runtime: Runtime,
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<bool>,
}

impl Server {
    /// Serves what a configuration says, with what `make guests` built, after a change that it has no words for.
    pub(crate) fn start(
        engine: &Engine,
        config: &str,
        change: impl FnOnce(&mut Detection),
    ) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
        let mut config = Config::parse(config, &folder.join("linger.toml"))?;
        change(&mut config.detection);
        let events = crate::store::open(&config)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Runtime::new()?;
        let stop = CancellationToken::new();
        let loaded = {
            let _inside = runtime.enter();
            let server =
                linger::server::Server::load(&config, engine, &events).context("run `make guests`")?;
            (server, TcpListener::from_std(listener)?)
        };
        let stopped = stop.clone().cancelled_owned();
        let running =
            runtime.spawn(async move { loaded.0.run(vec![(loaded.1, Entrance::default())], stopped).await });
        Ok(Self { runtime, address, stop, running })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it. Fails if something goes on.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let drained = self.running.await?;
        self.runtime.shutdown_background();
        anyhow::ensure!(drained, "the server did not end within its time");
        Ok(())
    }
}
