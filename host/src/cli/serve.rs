//! `linger serve`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::guest::Engine;
use crate::server::Server;

/// Serve a component, or the apps of a configuration
///
/// Prints `listening on http://ADDRESS` once it accepts connections. SIGTERM and SIGINT stop it: parked
/// requests are told, running ones get their time, and it exits with 0. A second signal ends it at once.
#[derive(Debug, Args)]
pub struct Serve {
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
    let text = std::fs::read_to_string(source)
        .map_err(|error| anyhow!("{}: {error}; name a component's file or a linger.toml", source.display()))?;
    Ok(Config::parse(&text, source)?)
}

async fn serve(config: &Config, engine: &Engine) -> anyhow::Result<ExitCode> {
    // Before the address is announced, so that a signal is never missed.
    let stop = signals()?;
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let server = tokio::task::block_in_place(|| Server::load(config, engine))?;
    println!("listening on http://{address}");
    std::io::stdout().flush().context("standard output is closed")?;
    let in_time = server.run(listener, stop.cancelled_owned()).await;
    if in_time {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped after {:?}, before all requests and guests had ended", config.shutdown_timeout);
    }
    Ok(ExitCode::SUCCESS)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => "stop the process that listens there, or choose another address with --listen",
            std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with --listen, or give the process the right to bind it",
            _ => "choose another address with --listen",
        };
        anyhow!("{address}: cannot listen: {error}; {remedy}")
    })
}

/// Cancelled by the first SIGTERM or SIGINT. The second one ends the process.
fn signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    // Owned by the process: it ends with it.
    tokio::spawn(async move {
        for number in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if number > 1 {
                // 128 + SIGINT, as shells have it.
                std::process::exit(130);
            }
            tracing::info!("stopping; a second signal ends the process at once");
            first.cancel();
        }
    });
    Ok(stop)
}
