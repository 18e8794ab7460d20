//! `linger serve`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::guest::Engine;
use crate::server::Server;

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Serve a component, or the apps of a configuration
///
/// Prints `listening on http://ADDRESS` once it accepts connections. SIGTERM and SIGINT stop it: parked
/// requests are told, running ones get their time, and it exits with 0. A second signal ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// A component's file, or a configuration (a file whose name ends with `.toml`)
    #[arg(value_name = "COMPONENT|CONFIG")]
    source: PathBuf,

    /// The address to listen on, as IP:PORT; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = read_config(&self.source)?;
        if let Some(address) = self.listen {
            config.listen = address;
        }
        let engine = Engine::new().map_err(anyhow::Error::from).context("the engine does not start")?;
        let runtime = tokio::runtime::Runtime::new().context("the runtime does not start")?;
        let result = runtime.block_on(serve(&config, &engine));
        // What did not end in time is not waited for.
        runtime.shutdown_background();
        result
    }
}

fn read_config(source: &Path) -> anyhow::Result<Config> {
    if source.extension().is_none_or(|extension| extension != "toml") {
        return Ok(Config::for_component(source));
    }
    let text = std::fs::read_to_string(source).map_err(|error| {
        anyhow!("{}: {error}; name a component's file or a linger.toml", source.display())
    })?;
    Ok(Config::parse(&text, source)?)
}

async fn serve(config: &Config, engine: &Engine) -> anyhow::Result<ExitCode> {
    // Before the address is announced, so that a signal is never missed.
    let mut signals = Signals::new()?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let server = tokio::task::block_in_place(|| Server::load(config, engine))?;
    println!("listening on http://{address}");
    std::io::stdout().flush().context("standard output is closed")?;
    let stop = CancellationToken::new();
    tokio::select! {
        in_time = server.run(listener, stop.cancelled()) => {
            if in_time {
                tracing::info!("stopped");
            } else {
                tracing::warn!("stopped after {:?}, before all requests and guests had ended", config.shutdown_timeout);
            }
            Ok(ExitCode::SUCCESS)
        }
        () = signals.twice(&stop) => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "stop the process that listens there, or choose another address with --listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "choose a port above 1023 with --listen, or give the process the right to bind it"
            }
            _ => "choose another address with --listen",
        };
        anyhow!("{address}: cannot listen: {error}; {remedy}")
    })
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Cancels `stop` at the first signal, and resolves at the second.
    async fn twice(&mut self, stop: &CancellationToken) {
        self.next().await;
        tracing::info!("stopping; a second signal ends the process at once");
        stop.cancel();
        self.next().await;
    }
}
