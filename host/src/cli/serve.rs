//! `linger serve`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use linger_config::{AdminConfig, Config, EventsConfig, ListenAddress};
use linger_http::{ListenerPolicy, TrustedProxies};
use linger_net::{BoundListener, TlsTerminator, raise_file_limit};
use linger_telemetry::LogFilter;
use linger_wasm::Engine;

use super::config::read;
use crate::admin;
use crate::reload::ConfigReader;
use crate::server::Server;

/// The exit code after a second signal: 128 + SIGINT, as in shells.
const INTERRUPTED: u8 = 130;

/// Serve a component, or the apps of a configuration
///
/// Prints `listening on http://ADDRESS` (or `https://`) for each listener once it accepts connections. SIGTERM and
/// SIGINT start a graceful shutdown: parked requests are cancelled, running ones may end within `shutdown_timeout`,
/// and the exit code is 0. A second signal stops the server at once. SIGHUP reloads the configuration, like `linger
/// reload`.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger serve poll.wasm",
    "linger serve poll.wasm --listen 0.0.0.0:80 --store events",
    "linger serve linger.toml --admin unix:admin.sock",
))]
pub(super) struct ServeArgs {
    /// A component (a `.wasm` file), or a configuration (a `.toml` file)
    #[arg(value_name = "COMPONENT|CONFIG")]
    source: PathBuf,

    /// The address of the (first) listener: IP:PORT (port 0 takes a free one), unix:PATH or systemd:NAME [default:
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<ListenAddress>,

    /// The address of the admin listener, for operators: IP:PORT of this machine, or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddress>,

    /// Keep events on disk in this directory, so that they survive a restart; created if it does not exist
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,
}

impl ServeArgs {
    pub(super) fn run(self, log: LogFilter) -> anyhow::Result<ExitCode> {
        let config = self.read()?;
        // It accepts and keeps time; those who serve have threads of their own.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let reread = self
            .has_configuration()
            .then(|| -> ConfigReader { Arc::new(move || self.read().map_err(|error| format!("{error:#}"))) });
        let result = runtime.block_on(serve(config, reread, log));
        // What did not end in time is not waited for.
        runtime.shutdown_background();
        result
    }

    fn has_configuration(&self) -> bool {
        self.source.extension().is_some_and(|extension| extension == "toml")
    }

    /// The configuration, with the options applied.
    fn read(&self) -> anyhow::Result<Config> {
        let mut config = if self.has_configuration() {
            read(&self.source, "give the path of a component or a linger.toml")?
        } else {
            Config::for_component(&self.source)
        };
        if let (Some(address), Some(listener)) = (self.listen.clone(), config.listeners.first_mut()) {
            listener.address = address;
        }
        if let Some(address) = self.admin.clone() {
            let admin = match config.admin.take() {
                Some(admin) => AdminConfig { listen: address, ..admin },
                None => AdminConfig::at(address),
            };
            admin.check().map_err(|message| anyhow!("--admin: {message}"))?;
            config.admin = Some(admin);
        }
        if let Some(directory) = self.store.clone() {
            // What the configuration says of durability stays.
            config.events =
                EventsConfig { durability: config.events.durability, ..EventsConfig::on_disk(directory) };
        }
        Ok(config)
    }
}

async fn serve(config: Config, reread: Option<ConfigReader>, log: LogFilter) -> anyhow::Result<ExitCode> {
    let mut signals = ServerSignals::new(reread.is_some())?;
    let asked = SignalRequest::default();
    tokio::select! {
        served = load_and_run(config, reread, &asked, log) => served.map(|()| ExitCode::SUCCESS),
        () = signals.pass(&asked) => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// The requests made by signals.
#[derive(Default)]
struct SignalRequest {
    stop: CancellationToken,
    reload: Notify,
}

async fn load_and_run(
    config: Config,
    reread: Option<ConfigReader>,
    asked: &SignalRequest,
    log: LogFilter,
) -> anyhow::Result<()> {
    warn_of_few_files(config.limits.max_connections);
    let entrances = entrances(&config)?;
    // Before anything is loaded: clients wait meanwhile. That an address cannot be had is said only when all else is in order,
    // for it may be another host that serves the same.
    let opened = open(&config, entrances);
    let loading = tokio::task::spawn_blocking(move || {
        let instances = config.apps.values().map(|app| app.instances.max).fold(0, usize::saturating_add);
        let code_cache = config.code_cache.directory(variable);
        let engine = Engine::new(code_cache.as_deref(), instances, config.traces.is_some())
            .map_err(anyhow::Error::from)
            .context("cannot start the engine")?;
        let events = linger_events::open(&config.events, config.queues.clone(), config.topics.clone())?;
        anyhow::Ok(Server::load(config, Arc::new(engine), events, reread)?)
    });
    let server = tokio::select! {
        loaded = loading => loaded.context("loading panicked; this is a bug in Linger")??,
        () = asked.stop.cancelled() => return Ok(()),
    };
    let (listeners, admin) = opened?;
    let names: Vec<_> = listeners.iter().map(name).collect();
    let address = admin.as_ref().map(admin::AdminListener::address);
    let running =
        server.start(listeners, admin.map(|admin| (admin, log))).context("cannot start the server")?;
    for name in names {
        // Whoever reads this may have gone. That is no reason not to serve.
        let _ = writeln!(std::io::stdout(), "listening on {name}");
    }
    if let Some(address) = address {
        let _ = writeln!(std::io::stdout(), "admin on {address}");
    }
    tell_systemd(NotifyState::Ready);
    if running.until(asked.stop.cancelled(), &asked.reload).await {
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped with requests in-flight: `shutdown_timeout` is over");
    }
    Ok(())
}

/// Notifies systemd, if it started this process as a `Type=notify` service.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify systemd (NOTIFY_SOCKET): {error}");
    }
}

/// An environment variable with a path.
pub(super) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Each connection needs a file descriptor, and so do a few other things.
fn warn_of_few_files(max_connections: usize) {
    const OTHERS: u64 = 64;
    let wanted = max_connections as u64 + OTHERS;
    if let Some(limit) = raise_file_limit().filter(|&limit| limit < wanted) {
        tracing::warn!(
            "the limit of {limit} open files is too low for limits.max_connections = {max_connections}: raise it (`ulimit -Hn`), or lower `max_connections`"
        );
    }
}

/// The policy of each listener. Reads certificates.
fn entrances(config: &Config) -> anyhow::Result<Vec<ListenerPolicy>> {
    let entrance = |listener: &linger_config::ListenerConfig| {
        let networks = listener.trusted_proxies.clone().into();
        anyhow::Ok(ListenerPolicy {
            eof: listener.eof,
            tls: listener.tls.clone().map(TlsTerminator::open).transpose()?,
            proxies: TrustedProxies { networks, headers: listener.proxy_headers },
            proxy_protocol: listener.proxy_protocol,
        })
    };
    config.listeners.iter().map(entrance).collect()
}

/// All listeners, and the admin listener.
type OpenedListeners = (Vec<(BoundListener, ListenerPolicy)>, Option<admin::AdminListener>);

fn open(config: &Config, entrances: Vec<ListenerPolicy>) -> anyhow::Result<OpenedListeners> {
    let silence = config.detection.silence();
    let mut open = Vec::new();
    for (listener, entrance) in config.listeners.iter().zip(entrances) {
        let opened = BoundListener::open(&listener.address, listener.mode.bits(), &silence)
            .map_err(|error| unopened(&listener.address, &error))?;
        open.extend(opened.into_iter().map(|listener| (listener, entrance.clone())));
    }
    Ok((open, config.admin.clone().map(open_admin).transpose()?))
}

fn open_admin(admin: AdminConfig) -> anyhow::Result<admin::AdminListener> {
    let address = admin.listen.clone();
    admin::AdminListener::open(admin).map_err(|error| {
        anyhow!("{address}: cannot open the admin listener: {error}; choose another `admin.listen`")
    })
}

/// The URL for clients, with the actual port.
fn name((listener, entrance): &(BoundListener, ListenerPolicy)) -> String {
    match listener.address() {
        ListenAddress::Tcp(address) if entrance.tls.is_some() => format!("https://{address}"),
        ListenAddress::Tcp(address) => format!("http://{address}"),
        address => address.to_string(),
    }
}

fn unopened(address: &ListenAddress, error: &std::io::Error) -> anyhow::Error {
    let remedy = match (address, error.kind()) {
        (ListenAddress::Systemd(_), _) => {
            "set `FileDescriptorName=` in the .socket unit, and start the service through that unit"
        }
        (_, std::io::ErrorKind::AddrInUse) => {
            "stop the process that uses this address, or choose another with --listen"
        }
        (ListenAddress::Tcp(_), std::io::ErrorKind::PermissionDenied) => {
            "choose a port above 1023 with --listen, or allow the process to bind this one (CAP_NET_BIND_SERVICE)"
        }
        (ListenAddress::Unix(_), _) => "choose a path in an existing folder that the process may write to",
        _ => "choose another address with --listen",
    };
    anyhow!("{address}: cannot listen: {error}; {remedy}")
}

/// SIGTERM, SIGINT and SIGHUP.
struct ServerSignals {
    terminate: Signal,
    interrupt: Signal,
    /// None if the parent process ignores SIGHUP for it: `nohup`, for example.
    hangup: Option<Signal>,
    /// Whether SIGHUP reloads. Otherwise it stops the server: its terminal was closed.
    reloads: bool,
}

impl ServerSignals {
    fn new(reloads: bool) -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            hangup: if reloads || !ignores_hangup() {
                Some(signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?)
            } else {
                None
            },
            reloads,
        })
    }

    /// Waits for a signal that stops the server.
    async fn first(&mut self, reload: &Notify) {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = hangup => if self.reloads {
                    reload.notify_one();
                } else {
                    return;
                },
            }
        }
    }

    /// Waits for a second signal. Not SIGHUP: a closing terminal sends it twice.
    async fn second(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes signals on, and resolves at the second one that stops the server.
    async fn pass(&mut self, asked: &SignalRequest) {
        self.first(&asked.reload).await;
        tell_systemd(NotifyState::Stopping);
        tracing::info!("shutting down; a second signal stops the process at once");
        asked.stop.cancel();
        self.second().await;
    }
}

/// Whether SIGHUP was ignored when this process started. If the kernel does not say, it was not.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is the first signal.
    mask.is_some_and(|mask| mask & 1 != 0)
}
