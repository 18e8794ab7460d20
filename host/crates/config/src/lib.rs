//! The configuration: every setting, limit and timeout, with defaults and units, and the documents that are made of them.
//!
//! - one module for each table of `linger.toml`: `app`, `instances`, `limits`, `listener`, `detection`, `queues`, `nats` …
//! - `unit` and `setting` are how durations and sizes are written, `address`, `network` and `pattern` the other kinds of values
//! - `variables` replaces `${NAME}`, `unknown` finds the key that was meant
//! - `document` makes the JSON Schema, the reference and the default file
//!
//! It is pure: it parses text and reads no file. Of Linger it names only `linger-base`; of other libraries those for text: serde,
//! toml, schemars, http (names of hosts and methods), and those for units and networks. It may not name sockets, Wasmtime, hyper,
//! NATS or the disk store: their crates take what they need from here.
#![forbid(unsafe_code)]

mod address;
mod admin;
mod app;
mod code_cache;
mod detection;
mod document;
mod events;
mod instances;
mod limits;
mod listener;
mod nats;
mod network;
mod pattern;
mod probe;
mod queues;
mod rollback;
mod route;
mod setting;
mod topics;
mod traces;
mod unit;
mod unknown;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

pub use address::ListenAddress;
pub use admin::{AdminConfig, AdminToken};
pub use app::{AppConfig, PreopenedDir};
pub use code_cache::CodeCache;
pub use detection::{DetectionConfig, KeepaliveProbes, ReaderBounds, ReceiptWaits, SilenceTimeouts};
pub use document::{reference, schema, template};
pub use events::{Durability, EventsConfig, StoreKind};
pub use instances::InstanceLimits;
pub use limits::ServerLimits;
pub use listener::{FileMode, HalfClosePolicy, ListenerConfig, ProxyHeaders, TlsConfig};
pub use nats::{NatsConfig, NatsQueueRule, NatsStorage, NatsTls, NatsTopicRule, StreamRetention};
pub use network::TrustedNetwork;
pub use pattern::NamePattern;
pub use probe::ProbeConfig;
pub use queues::{AckMode, QueuePolicy, QueueRule, QueuesConfig};
pub use rollback::RollbackConfig;
pub use route::{OnDisconnect, RouteConfig};
pub use setting::DerivedTimeout;
pub use topics::{Retention, TopicRule, TopicsConfig};
pub use traces::TracesConfig;

/// The default address of `linger serve`: reachable from this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// A whole configuration: a parsed `linger.toml`, or its equivalent for a single component.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "linger.toml")]
pub struct Config {
    /// Shorthand for one listener without TLS: its address, as `IP:PORT` (port 0 takes a free one), `unix:PATH` or
    /// `systemd:NAME`.
    #[schemars(extend("default" = DEFAULT_LISTEN))]
    pub listen: Option<ListenAddress>,
    /// The listeners. Default: one without TLS, at `listen`.
    pub listeners: Vec<ListenerConfig>,
    /// Event-loop threads (thread per core), each with its own connections and instances. Default: one for each core.
    #[schemars(extend("default" = null), example = 4)]
    pub threads: usize,
    /// Busy polling: how long a thread looks for the next request before it sleeps, at most 1 ms; or "none". A
    /// thread polls only if its last sleep was at most twice as long, and yields to other threads. Clients that
    /// send their next request at once get their response tens of microseconds earlier.
    #[serde(with = "unit::DurationOrNone")]
    pub busy_poll: Option<Duration>,
    /// The directory for compiled code, so that a restart does not compile again, relative to the configuration's
    /// folder; or "none". Only its owner may have write permission. Default: `linger` in the user's cache
    /// directory, or the service's cache directory under systemd.
    pub code_cache: CodeCache,
    /// Graceful shutdown, first phase: how long the server still accepts connections and requests while `/readyz`
    /// reports that it is not ready. As long as a load balancer needs to notice.
    #[serde(with = "unit::DurationSetting")]
    pub shutdown_delay: Duration,
    /// Graceful shutdown, second phase: how long the server waits for in-flight requests to end.
    #[serde(with = "unit::DurationSetting")]
    pub shutdown_timeout: Duration,
    /// The admin listener, for operators. Default: none.
    pub admin: Option<AdminConfig>,
    /// Limits on connections, requests, heads and bodies.
    pub limits: ServerLimits,
    /// Detection of disconnected and unresponsive clients.
    pub detection: DetectionConfig,
    /// The store for events.
    pub events: EventsConfig,
    /// Limits on queues, and the rules of their delivery.
    pub queues: QueuesConfig,
    /// Limits on topics, and their retention.
    pub topics: TopicsConfig,
    /// Export of request traces (OpenTelemetry). Default: none.
    pub traces: Option<TracesConfig>,
    /// A folder for components, relative to the configuration's folder. An app without `component` has its
    /// component there, as `NAME.wasm`. A change of that file is deployed.
    #[schemars(example = &"components")]
    pub components: Option<PathBuf>,
    /// The apps by name.
    pub apps: BTreeMap<String, AppConfig>,
    /// Which requests go to which app. Default with a single app: all requests go to it.
    pub routes: Vec<RouteConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            listeners: Vec::new(),
            threads: default_threads(),
            busy_poll: Some(Duration::from_micros(50)),
            code_cache: CodeCache::default(),
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(10),
            admin: None,
            limits: ServerLimits::default(),
            detection: DetectionConfig::default(),
            events: EventsConfig::default(),
            queues: QueuesConfig::default(),
            topics: TopicsConfig::default(),
            traces: None,
            components: None,
            apps: BTreeMap::new(),
            routes: Vec::new(),
        }
    }
}

fn default_listen() -> ListenAddress {
    // Fails only if the constant is mistyped, and a test would see that.
    DEFAULT_LISTEN.parse().unwrap_or_else(|_| unreachable!("{DEFAULT_LISTEN} is an address"))
}

/// More than the cores of any machine; a typing error should not start more.
const MAX_THREADS: usize = 1024;

/// After a longer wait, the time that a thread takes to wake up does not matter.
const MAX_BUSY_POLL: Duration = Duration::from_millis(1);

fn default_threads() -> usize {
    // One if the number of cores is unknown.
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
}

/// An error in a configuration, and its place.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    place: String,
    message: String,
}

impl Config {
    /// The configuration of a single component that serves every request.
    #[must_use]
    pub fn for_component(component: &Path) -> Self {
        let name = app::name_of(component);
        Self {
            listeners: vec![ListenerConfig::plain(default_listen())],
            routes: vec![RouteConfig::all_to(&name)],
            apps: BTreeMap::from([(name, AppConfig::at(component.to_owned()))]),
            ..Self::default()
        }
    }

    /// Parses the text of a `linger.toml`. `file` names it in errors, and its folder is the one that
    /// relative paths start from. `variable` gives the value of an environment variable.
    pub fn parse(
        text: &str,
        file: &Path,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let wrong = |offset, message| ConfigError { place: place(text, file, offset), message };
        let misread = |error: toml::de::Error| {
            let said = error.message();
            let message = unknown::explain(said).or_else(|| unknown::without_value(said));
            let message = message.unwrap_or_else(|| said.to_owned());
            wrong(error.span().map(|span| span.start), message.replace('\n', " "))
        };
        let mut table = DeTable::parse(text).map_err(misread)?;
        variables::replace(table.get_mut(), &variable)
            .map_err(|unusable| wrong(Some(unusable.offset), unusable.message))?;
        let mut config = Self::deserialize(toml::Deserializer::from(table)).map_err(misread)?;
        config.complete(file)?;
        Ok(config)
    }

    fn complete(&mut self, file: &Path) -> Result<(), ConfigError> {
        // The message may quote the value of a variable, which can have several lines.
        let wrong = |message: String| ConfigError {
            place: file.display().to_string(),
            message: message.replace(['\n', '\r'], " "),
        };
        let folder = file.parent().unwrap_or(Path::new(""));
        if self.threads == 0 || self.threads > MAX_THREADS {
            return Err(wrong(format!("`threads` must be between 1 and {MAX_THREADS}")));
        }
        if self.busy_poll.is_some_and(|window| window > MAX_BUSY_POLL) {
            return Err(wrong(format!("`busy_poll` must be at most {MAX_BUSY_POLL:?}")));
        }
        self.code_cache.complete(folder);
        self.complete_listeners(folder).map_err(wrong)?;
        if let Some(admin) = &mut self.admin {
            admin.complete(folder).map_err(|message| wrong(format!("admin: {message}")))?;
        }
        let components = self.components.as_ref().map(|components| folder.join(components));
        for (name, app) in &mut self.apps {
            app::check_name(name).map_err(&wrong)?;
            app.complete(name, folder, components.as_deref())
                .map_err(|message| wrong(format!("apps.{name}: {message}")))?;
        }
        self.events.complete(folder).map_err(|message| wrong(format!("events: {message}")))?;
        self.queues.check().map_err(|message| wrong(format!("queues: {message}")))?;
        self.topics.check().map_err(|message| wrong(format!("topics: {message}")))?;
        if let Some(traces) = &mut self.traces {
            traces.complete(folder).map_err(|message| wrong(format!("traces: {message}")))?;
        }
        self.limits.check().map_err(|message| wrong(format!("limits: {message}")))?;
        self.detection.check().map_err(|message| wrong(format!("detection: {message}")))?;
        self.complete_routes().map_err(wrong)
    }

    fn complete_routes(&mut self) -> Result<(), String> {
        match self.apps.keys().next() {
            None => {
                return Err("no app is configured; add `[apps.NAME]` with `component = \"FILE\"`".to_owned());
            }
            Some(name) if self.routes.is_empty() && self.apps.len() == 1 => {
                self.routes.push(RouteConfig::all_to(name));
            }
            Some(_) if self.routes.is_empty() => {
                return Err(
                    "several apps are configured, but no routes; add a `[[routes]]` for each app".to_owned()
                );
            }
            Some(_) => {}
        }
        for (index, route) in self.routes.iter().enumerate() {
            let known = self.apps.contains_key(&route.app);
            route.check(known).map_err(|message| format!("routes[{index}]: {message}"))?;
        }
        match self.apps.keys().find(|name| self.routes.iter().all(|route| route.app != **name)) {
            Some(name) => Err(format!(
                "apps.{name}: no route leads to this app; add a `[[routes]]` with `app = \"{name}\"`"
            )),
            None => Ok(()),
        }
    }

    fn complete_listeners(&mut self, folder: &Path) -> Result<(), String> {
        match (self.listen.clone(), self.listeners.is_empty()) {
            (Some(_), false) => {
                return Err("`listen` and `[[listeners]]` are both set; keep one of them".to_owned());
            }
            (listen, true) => {
                self.listeners.push(ListenerConfig::plain(listen.unwrap_or_else(default_listen)));
            }
            (None, false) => {}
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            listener.complete(folder).map_err(|message| format!("listeners[{index}]: {message}"))?;
        }
        Ok(())
    }
}

/// `FILE:LINE:COLUMN`, the form that editors and terminals understand.
fn place(text: &str, file: &Path, offset: Option<usize>) -> String {
    let Some(before) = offset.and_then(|offset| text.get(..offset)) else {
        return file.display().to_string();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{}:{line}:{column}", file.display())
}

#[cfg(test)]
mod tests;
