//! Every setting, limit and timeout, with defaults and units. Pure: it parses text and reads no file.

mod admin;
mod code_cache;
mod detection;
mod events;
mod instances;
mod listener;
mod pattern;
mod probe;
mod queues;
mod rollback;
mod topics;
mod unit;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

pub use admin::{Admin, AdminAddress, Token};
pub use code_cache::CodeCache;
pub use detection::{Detection, Setting};
pub use events::{Durability, Events, Store};
pub use instances::InstanceLimits;
pub use listener::{Listener, Tls};
pub use pattern::Pattern;
pub use probe::Probe;
pub use queues::{Commit, QueuePolicy, QueueRule, Queues};
pub use rollback::Rollback;
pub use topics::{Retention, TopicRule, Topics};

/// Where `linger serve` listens when nothing else is said: this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// A whole configuration: what a `linger.toml` says, or what stands in for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Short for one listener without TLS: its address, as `IP:PORT`; port 0 takes a free one.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The listeners. Without any there is one, without TLS, at `listen`.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Threads that serve, each with connections and instances of its own. By default one for each core.
    #[serde(default = "default_threads")]
    pub threads: usize,
    /// Where compiled code is kept, so that a second start compiles nothing: a directory, which only its owner may be
    /// able to write to, relative to the configuration's; or "none". By default `linger` in the user's cache directory
    /// (or a service's, where systemd names one).
    #[serde(default)]
    pub code_cache: CodeCache,
    /// How long a stopping server waits for running requests.
    #[serde(default = "default_shutdown_timeout", deserialize_with = "unit::duration")]
    pub shutdown_timeout: Duration,
    /// The listener for operators. Without it there is none.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// Bounds on connections and heads.
    #[serde(default)]
    pub limits: Limits,
    /// How departures are noticed.
    #[serde(default)]
    pub detection: Detection,
    /// Where events live.
    #[serde(default)]
    pub events: Events,
    /// Bounds on queues, and how their events are handed out.
    #[serde(default)]
    pub queues: Queues,
    /// Bounds on topics, and how long they keep their events.
    #[serde(default)]
    pub topics: Topics,
    /// The apps by name.
    #[serde(default)]
    pub apps: BTreeMap<String, App>,
    /// Which requests go to which app. Empty with a single app: all of them.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// Bounds on what clients can occupy.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections. At the limit new ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Requests in progress, on all connections. Beyond: 503.
    pub max_requests: usize,
    /// Streams that an HTTP/2 client may have open on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of a request's head, at least 8 KiB. Beyond: 431.
    pub max_head_size: ByteSize,
    /// Bytes of a request's body that are read ahead of its guest, at least 64 KiB. Beyond, the client waits
    /// until the guest reads; and when it leaves in order meanwhile, that is noticed only then.
    pub max_body_buffer: ByteSize,
    /// The same for all requests together, at least as much. Beyond, clients wait in the same way.
    pub max_body_buffers: ByteSize,
    /// How long a client may take to send a head, and how long an idle HTTP/1.1 connection is kept.
    #[serde(deserialize_with = "unit::duration")]
    pub head_timeout: Duration,
}

impl Limits {
    /// Hyper takes no smaller buffer for a head.
    const MIN_HEAD_SIZE: ByteSize = ByteSize::kib(8);

    /// What hyper reads at a time fits.
    const MIN_BODY_BUFFER: ByteSize = ByteSize::kib(64);

    fn check(&self) -> Result<(), String> {
        if self.max_connections == 0 || self.max_requests == 0 || self.max_streams_per_connection == 0 {
            return Err("`max_connections`, `max_requests` and `max_streams_per_connection` are at least 1"
                .to_owned());
        }
        if self.max_head_size < Self::MIN_HEAD_SIZE {
            return Err(format!("`max_head_size` is at least {}", Self::MIN_HEAD_SIZE));
        }
        if self.max_body_buffer < Self::MIN_BODY_BUFFER || self.max_body_buffers < self.max_body_buffer {
            let least = Self::MIN_BODY_BUFFER;
            return Err(format!(
                "`max_body_buffer` is at least {least}, and `max_body_buffers` at least that"
            ));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_requests: 50_000,
            max_streams_per_connection: 200,
            max_head_size: ByteSize::kib(64),
            max_body_buffer: ByteSize::mib(1),
            max_body_buffers: ByteSize::mib(256),
            head_timeout: Duration::from_secs(30),
        }
    }
}

/// One app: a component, what it may reach, and how much it may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The component's file, relative to the configuration's folder.
    pub component: PathBuf,
    /// Environment variables that the guest sees. None by default; the host's own are never seen.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folders that the guest sees. None by default.
    #[serde(default)]
    pub dirs: Vec<Dir>,
    /// Addresses, as `IP:PORT`, to which the guest may open TCP and UDP sockets. None by default.
    #[serde(default)]
    pub sockets: Vec<SocketAddr>,
    /// Hosts, as `NAME` or `NAME:PORT`, to which the guest may send HTTP requests. None by default.
    #[serde(default)]
    pub outgoing_hosts: Vec<String>,
    /// Its requests in progress, parked ones included. By default as many as the server may have. Beyond: 503.
    #[serde(default)]
    pub max_requests: Option<usize>,
    /// Lines that its guests may log a second. What is beyond is dropped, and the log says how many lines.
    #[serde(default = "default_max_log_lines")]
    pub max_log_lines: u32,
    /// Bounds on its instances.
    #[serde(default)]
    pub instances: InstanceLimits,
    /// Whether what is written to the component's file is deployed.
    #[serde(default)]
    pub watch: bool,
    /// What a new generation has to answer before it serves. None by default: then it is enough that an instance starts.
    #[serde(default)]
    pub probe: Option<Probe>,
    /// When a new generation is taken back without being asked.
    #[serde(default)]
    pub rollback: Rollback,
    /// How long the requests of a generation may go on when another one has taken its place.
    #[serde(default = "default_drain_timeout", deserialize_with = "unit::duration")]
    pub drain_timeout: Duration,
}

/// A folder that a guest sees.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// The folder's path on this machine, relative to the configuration's folder.
    pub host: PathBuf,
    /// The path under which the guest sees it.
    pub guest: String,
    /// Whether the guest may change it.
    #[serde(default)]
    pub writable: bool,
}

/// Which requests go to an app, and how long it may take for one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The app's name.
    pub app: String,
    /// The host that was asked for, without a port; none means any.
    #[serde(default)]
    pub host: Option<String>,
    /// The start of the path, by whole segments: `/a` takes `/a` and `/a/b`, and not `/ab`.
    #[serde(default = "default_path")]
    pub path: String,
    /// The methods; none means any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// After this time the request is cancelled with `deadline`. `"none"` means never.
    #[serde(default = "default_deadline", deserialize_with = "unit::optional_duration")]
    pub deadline: Option<Duration>,
    /// How long a guest may go on after its request was cancelled.
    #[serde(default = "default_grace", deserialize_with = "unit::duration")]
    pub grace: Duration,
    /// What becomes of a guest whose client leaves.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}

/// What becomes of a guest whose client leaves before it has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDisconnect {
    /// It is told, and has its grace.
    #[default]
    Signal,
    /// Its call is dropped at once, by the Component Model's own means (WASI 0.3), or its instance is (WASI 0.2). For
    /// components that do not listen to their cancellation.
    Cancel,
    /// It is not told, and may go on until the deadline of its request. It gets no more events.
    Detach,
}

fn default_listen() -> SocketAddr {
    // Only a typing error in the constant could make this fail, and a test would see it.
    DEFAULT_LISTEN.parse().unwrap_or_else(|_| unreachable!("{DEFAULT_LISTEN} is an address"))
}

/// More than any machine has cores; a slip of the keyboard should not start more.
const MAX_THREADS: usize = 1024;

fn default_threads() -> usize {
    // Where it cannot be found out, one will do.
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

fn default_shutdown_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_drain_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_max_log_lines() -> u32 {
    1_000
}

fn default_path() -> String {
    "/".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn default_deadline() -> Option<Duration> {
    Some(Duration::from_hours(1))
}

fn default_grace() -> Duration {
    Duration::from_secs(5)
}

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    place: String,
    message: String,
}

impl Config {
    /// Serves one component, for every request.
    #[must_use]
    pub fn for_component(component: &Path) -> Self {
        let name = component.file_stem().map_or_else(|| "app".into(), |stem| stem.to_string_lossy());
        let name = name.replace(|c| !is_in_names(c), "-");
        let app = App {
            component: component.to_owned(),
            env: BTreeMap::new(),
            dirs: Vec::new(),
            sockets: Vec::new(),
            outgoing_hosts: Vec::new(),
            max_requests: None,
            max_log_lines: default_max_log_lines(),
            instances: InstanceLimits::default(),
            watch: false,
            probe: None,
            rollback: Rollback::default(),
            drain_timeout: default_drain_timeout(),
        };
        Self {
            listen: None,
            listeners: vec![Listener::plain(default_listen())],
            threads: default_threads(),
            code_cache: CodeCache::default(),
            shutdown_timeout: default_shutdown_timeout(),
            admin: None,
            limits: Limits::default(),
            detection: Detection::default(),
            events: Events::default(),
            queues: Queues::default(),
            topics: Topics::default(),
            routes: vec![Route::all_to(&name)],
            apps: BTreeMap::from([(name, app)]),
        }
    }

    /// Parses the text of a `linger.toml`. `file` names it in errors, and its folder is the one that
    /// relative paths start from.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigError {
            place: place(text, file, error.span().map(|span| span.start)),
            message: error.message().replace('\n', " "),
        })?;
        config.complete(file)?;
        Ok(config)
    }

    fn complete(&mut self, file: &Path) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError { place: file.display().to_string(), message };
        let folder = file.parent().unwrap_or(Path::new(""));
        if self.threads == 0 || self.threads > MAX_THREADS {
            return Err(wrong(format!("`threads` is between 1 and {MAX_THREADS}")));
        }
        self.code_cache.complete(folder);
        self.complete_listeners(folder).map_err(wrong)?;
        if let Some(admin) = &mut self.admin {
            admin.complete(folder).map_err(|message| wrong(format!("admin: {message}")))?;
        }
        for (name, app) in &mut self.apps {
            check_name(name).map_err(&wrong)?;
            app.check().map_err(|message| wrong(format!("apps.{name}: {message}")))?;
            app.component = folder.join(&app.component);
            for dir in &mut app.dirs {
                dir.host = folder.join(&dir.host);
            }
        }
        self.events.complete(folder).map_err(|message| wrong(format!("events: {message}")))?;
        self.queues.check().map_err(|message| wrong(format!("queues: {message}")))?;
        self.topics.check().map_err(|message| wrong(format!("topics: {message}")))?;
        self.limits.check().map_err(|message| wrong(format!("limits: {message}")))?;
        self.detection.check().map_err(|message| wrong(format!("detection: {message}")))?;
        match self.apps.keys().next() {
            None => {
                return Err(wrong(
                    "there is no app; add `[apps.NAME]` with `component = \"FILE\"`".to_owned(),
                ));
            }
            Some(name) if self.routes.is_empty() && self.apps.len() == 1 => {
                self.routes.push(Route::all_to(name));
            }
            Some(_) if self.routes.is_empty() => {
                return Err(wrong(
                    "there are several apps and no route; add a `[[routes]]` for each".to_owned(),
                ));
            }
            Some(_) => {}
        }
        for (index, route) in self.routes.iter().enumerate() {
            let known = self.apps.contains_key(&route.app);
            route.check(known).map_err(|message| wrong(format!("routes[{index}]: {message}")))?;
        }
        if let Some(name) = self.apps.keys().find(|name| self.routes.iter().all(|route| route.app != **name))
        {
            return Err(wrong(format!(
                "apps.{name}: no route leads to it; add a `[[routes]]` with `app = \"{name}\"`"
            )));
        }
        Ok(())
    }

    fn complete_listeners(&mut self, folder: &Path) -> Result<(), String> {
        match (self.listen, self.listeners.is_empty()) {
            (Some(_), false) => {
                return Err("`listen` and `[[listeners]]` are both there; keep one of them".to_owned());
            }
            (listen, true) => self.listeners.push(Listener::plain(listen.unwrap_or_else(default_listen))),
            (None, false) => {}
        }
        for tls in self.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
        }
        Ok(())
    }
}

fn is_in_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Names are in paths of the admin listener, and in the log.
fn check_name(name: &str) -> Result<(), String> {
    const MOST: usize = 128;
    if name.is_empty() || name.len() > MOST || !name.chars().all(is_in_names) {
        return Err(format!("apps.{name:?}: a name is 1 to {MOST} letters, digits, '.', '_' or '-'"));
    }
    Ok(())
}

impl App {
    fn check(&self) -> Result<(), String> {
        if self.max_requests == Some(0) {
            return Err("`max_requests` is at least 1".to_owned());
        }
        self.instances.check().map_err(|message| format!("instances: {message}"))?;
        self.rollback.check().map_err(|message| format!("rollback: {message}"))?;
        if let Some(probe) = &self.probe {
            probe.check().map_err(|message| format!("probe: {message}"))?;
        }
        let unusable =
            |host: &&String| host.contains(['*', '@']) || host.parse::<http::uri::Authority>().is_err();
        match self.outgoing_hosts.iter().find(unusable) {
            Some(host) => Err(format!(
                "outgoing_hosts: `{host}` is no host; write `NAME` or `NAME:PORT`, without a scheme or a path"
            )),
            None => Ok(()),
        }
    }
}

impl Route {
    fn all_to(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            host: None,
            path: default_path(),
            methods: Vec::new(),
            deadline: default_deadline(),
            grace: default_grace(),
            on_disconnect: OnDisconnect::default(),
        }
    }

    fn check(&self, app_is_known: bool) -> Result<(), String> {
        if !app_is_known {
            return Err(format!("there is no app `{0}`; add `[apps.{0}]` or correct the name", self.app));
        }
        if !self.path.starts_with('/') {
            return Err(format!("path `{}` must start with `/`", self.path));
        }
        if let Some(c) = self.path.chars().find(|&c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            return Err(format!(
                "path `{}` has `{c}`; write it as in a URI, percent-encoded and without a query",
                self.path
            ));
        }
        if let Some(host) = self
            .host
            .as_deref()
            .filter(|host| host.parse::<http::uri::Authority>().map_or(true, |host| host.port().is_some()))
        {
            return Err(format!("host `{host}` must be a name or an address, without a port"));
        }
        let unusable = |method: &&String| {
            method.parse::<http::Method>().is_err() || method.chars().any(|c| c.is_ascii_lowercase())
        };
        match self.methods.iter().find(unusable) {
            Some(method) => Err(format!("`{method}` is no HTTP method; write it in capitals, as `GET`")),
            None => Ok(()),
        }
    }
}

/// `FILE:LINE:COLUMN`, as editors and terminals like it.
fn place(text: &str, file: &Path, offset: Option<usize>) -> String {
    let Some(before) = offset.and_then(|offset| text.get(..offset)) else {
        return file.display().to_string();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{}:{line}:{column}", file.display())
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
