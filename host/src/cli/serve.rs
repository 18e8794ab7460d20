//! `linger serve`.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::config::{Admin, AdminAddress, Config, Events, Listener, Tls};
use crate::events;
use crate::guest::Engine;
use crate::http::Entrance;
use crate::net::{Silence, acceptor, listen, raise_file_limit};
use crate::server::Server;

/// The exit code after a second signal: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Serve a component, or the apps of a configuration
///
/// Prints `listening on http://ADDRESS` (or `https://`) for each listener once it accepts connections. SIGTERM
/// and SIGINT stop it: parked requests are told, running ones get their time, and it exits with 0. A second
/// signal ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// A component's file, or a configuration (a file whose name ends with `.toml`)
    #[arg(value_name = "COMPONENT|CONFIG")]
    source: PathBuf,

    /// The address of the (first) listener, as IP:PORT; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Take deploys and rollbacks at this address: IP:PORT of this machine, or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddress>,

    /// Keep events in this directory, so that they outlive the process; it is made if it is not there
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = read_config(&self.source)?;
        if let (Some(address), Some(listener)) = (self.listen, config.listeners.first_mut()) {
            listener.address = address;
        }
        if let Some(address) = self.admin {
            let admin = match config.admin.take() {
                Some(admin) => Admin { listen: address, ..admin },
                None => Admin::at(address),
            };
            admin.check().map_err(|message| anyhow!("--admin: {message}"))?;
            config.admin = Some(admin);
        }
        if let Some(directory) = self.store {
            // What the configuration says of durability stays.
            config.events = Events { durability: config.events.durability, ..Events::on_disk(directory) };
        }
        // It accepts and keeps time; those who serve have threads of their own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime does not start")?;
        let result = runtime.block_on(serve(config));
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

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    tokio::select! {
        served = load_and_run(config, &stop) => served.map(|()| ExitCode::SUCCESS),
        () = signals.twice(&stop) => Ok(ExitCode::from(INTERRUPTED)),
    }
}

async fn load_and_run(config: Config, stop: &CancellationToken) -> anyhow::Result<()> {
    warn_of_few_files(config.limits.max_connections);
    let listeners = open(&config)?;
    let admin = open_admin(config.admin.clone()).await?;
    let names = names(&listeners)?;
    let timeout = config.shutdown_timeout;
    let loading = tokio::task::spawn_blocking(move || {
        let engine = Engine::new(config.code_cache.directory(variable).as_deref())
            .map_err(anyhow::Error::from)
            .context("the engine does not start")?;
        let events = events::open(&config.events, config.queues.clone(), config.topics.clone())?;
        anyhow::Ok(Server::load(&config, Arc::new(engine), events)?)
    });
    let server = tokio::select! {
        loaded = loading => loaded.context("loading failed, which is a mistake in Linger")??,
        () = stop.cancelled() => return Ok(()),
    };
    let address = admin.as_ref().map(admin::Listener::address).transpose()?;
    let running = server.start(listeners, admin).context("the server does not start")?;
    for name in names {
        // Whoever reads this may have gone. That is no reason not to serve.
        let _ = writeln!(std::io::stdout(), "listening on {name}");
    }
    if let Some(address) = address {
        let _ = writeln!(std::io::stdout(), "admin on {address}");
    }
    if running.until(stop.cancelled()).await {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped after {timeout:?}, before all requests and guests had ended");
    }
    Ok(())
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// A connection needs a file descriptor, and there are others.
fn warn_of_few_files(max_connections: usize) {
    const OTHERS: u64 = 64;
    let wanted = max_connections as u64 + OTHERS;
    if let Some(limit) = raise_file_limit().filter(|&limit| limit < wanted) {
        tracing::warn!(
            "the process may open {limit} files, too few for limits.max_connections = {max_connections}: raise the hard limit (`ulimit -Hn`) or lower that"
        );
    }
}

fn open(config: &Config) -> anyhow::Result<Vec<(TcpListener, Entrance)>> {
    let silence = config.detection.silence();
    let mut open = Vec::new();
    for Listener { address, eof, tls } in &config.listeners {
        let tls = match tls {
            Some(Tls { certificate, key }) => Some(acceptor(certificate, key)?),
            None => None,
        };
        open.push((bind(*address, &silence)?, Entrance { eof: *eof, tls }));
    }
    Ok(open)
}

async fn open_admin(admin: Option<Admin>) -> anyhow::Result<Option<admin::Listener>> {
    let Some(admin) = admin else { return Ok(None) };
    let address = admin.listen.clone();
    let opened = admin::Listener::open(admin).await.map_err(|error| {
        anyhow!("{address}: the admin listener cannot be opened: {error}; choose another `admin.listen`")
    })?;
    Ok(Some(opened))
}

/// What clients would type, with the ports that they got.
fn names(listeners: &[(TcpListener, Entrance)]) -> anyhow::Result<Vec<String>> {
    let name = |(listener, entrance): &(TcpListener, Entrance)| {
        let address = listener.local_addr().context("the listener has no address")?;
        let scheme = if entrance.tls.is_some() { "https" } else { "http" };
        anyhow::Ok(format!("{scheme}://{address}"))
    };
    listeners.iter().map(name).collect()
}

fn bind(address: SocketAddr, silence: &Silence) -> anyhow::Result<TcpListener> {
    listen(address, silence).map_err(|error| {
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
