//! Reloads: applies a changed configuration while requests are served, as a whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use linger_config::Config;
use linger_deploy::{AppChange, AppSpec, Deployments, PlanError};
use linger_http::{ConnectionPermits, HttpSettings};
use linger_telemetry::{Metrics, Reload};

/// Reads the configuration again. Blocks. An error says in one sentence what is wrong, and where.
pub type ConfigReader = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The reason why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The server was started with a component, without a configuration.
    #[error("the server was started without a configuration file, so it cannot reload one")]
    NoConfiguration,
    /// The configuration cannot be read, or is not valid.
    #[error("{0}")]
    Configuration(String),
    /// An app cannot be changed as configured.
    #[error(transparent)]
    App(#[from] PlanError),
}

/// The result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadOutcome {
    /// What changed of each app.
    pub apps: BTreeMap<String, AppChange>,
    /// Keys, beside the apps', whose changes are in force.
    pub keys: Vec<&'static str>,
    /// Changed keys that are only applied after a restart.
    pub restart: Vec<&'static str>,
}

/// Whoever can have the configuration read again.
pub struct ConfigReloader {
    reread: Option<ConfigReader>,
    deployments: Arc<Deployments>,
    settings: Arc<ArcSwap<HttpSettings>>,
    places: ConnectionPermits,
    metrics: Metrics,
    config: ArcSwap<Config>,
    /// Held by the one reload that there is at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl ConfigReloader {
    /// For a server with this configuration.
    pub(crate) fn new(
        config: Config,
        reread: Option<ConfigReader>,
        deployments: Arc<Deployments>,
        settings: Arc<ArcSwap<HttpSettings>>,
        places: ConnectionPermits,
        metrics: Metrics,
    ) -> Self {
        Self {
            reread,
            deployments,
            settings,
            places,
            metrics,
            config: ArcSwap::from_pointee(config),
            reloading: tokio::sync::Mutex::default(),
        }
    }

    /// How long the server takes requests on when it is to stop.
    pub(crate) fn shutdown_delay(&self) -> Duration {
        self.config.load().shutdown_delay
    }

    /// How long the server waits for requests when it stops.
    pub(crate) fn shutdown_timeout(&self) -> Duration {
        self.config.load().shutdown_timeout
    }

    /// Reads the configuration, and puts it in force. Takes as long as new components need to compile and to start. After an
    /// error all is as it was.
    pub async fn reload(&self) -> Result<ReloadOutcome, ReloadError> {
        let _only = self.reloading.lock().await;
        let result = self.put_in_force().await;
        self.metrics.record_reload(if result.is_ok() { Reload::Done } else { Reload::Refused });
        result
    }

    async fn put_in_force(&self) -> Result<ReloadOutcome, ReloadError> {
        let reread = self.reread.clone().ok_or(ReloadError::NoConfiguration)?;
        let read = tokio::task::spawn_blocking(move || reread()).await;
        let wanted = read.map_err(|error| ReloadError::Configuration(error.to_string()))?;
        let wanted = wanted.map_err(ReloadError::Configuration)?;
        let plan = loop {
            let plan = self.deployments.plan(AppSpec::all(&wanted)).await?;
            if !plan.is_stale() {
                break plan;
            }
        };
        let settings = self.settings.load().next(&wanted, |name| plan.slot(name).cloned());
        let apps = self.deployments.carry_out(plan, || self.settings.store(Arc::new(settings)));
        self.places.set(&wanted.limits);
        let before = self.config.load_full();
        let reloaded =
            ReloadOutcome { apps, keys: changed(&before, &wanted), restart: fixed(&before, &wanted) };
        self.config.store(Arc::new(in_force(&before, wanted)));
        tracing::info!("configuration reloaded: {reloaded}");
        Ok(reloaded)
    }
}

/// What is read while the server runs.
fn changed(before: &Config, wanted: &Config) -> Vec<&'static str> {
    names([
        ("routes", before.routes != wanted.routes),
        ("limits", before.limits != wanted.limits),
        ("shutdown_delay", before.shutdown_delay != wanted.shutdown_delay),
        ("shutdown_timeout", before.shutdown_timeout != wanted.shutdown_timeout),
    ])
}

/// What is read only at the start.
fn fixed(before: &Config, wanted: &Config) -> Vec<&'static str> {
    names([
        ("listeners", before.listeners != wanted.listeners),
        ("threads", before.threads != wanted.threads),
        ("busy_poll", before.busy_poll != wanted.busy_poll),
        ("code_cache", before.code_cache != wanted.code_cache),
        ("admin", before.admin != wanted.admin),
        ("detection", before.detection != wanted.detection),
        ("events", before.events != wanted.events),
        ("queues", before.queues != wanted.queues),
        ("topics", before.topics != wanted.topics),
        ("traces", before.traces != wanted.traces),
    ])
}

fn names<const N: usize>(changes: [(&'static str, bool); N]) -> Vec<&'static str> {
    changes.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

/// What counts from now on: of what is read only at the start, that which was read then.
fn in_force(before: &Config, wanted: Config) -> Config {
    let Config { listen, shutdown_delay, shutdown_timeout, limits, components, apps, routes, .. } = wanted;
    Config { listen, shutdown_delay, shutdown_timeout, limits, components, apps, routes, ..before.clone() }
}

impl ReloadOutcome {
    /// The same in words, for people: a sentence for each change.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let apps = self.apps.iter().map(|(app, change)| match change {
            AppChange::Added => format!("apps.{app}: added"),
            AppChange::Removed => format!("apps.{app}: removed"),
            AppChange::Settings => format!("apps.{app}: settings changed"),
            AppChange::Generation(number) => format!("apps.{app}: generation {number} serves all requests"),
        });
        let keys = self.keys.iter().map(|key| format!("{key}: changed"));
        let restart = self.restart.iter().map(|key| format!("{key}: changed, applies after a restart"));
        let all: Vec<_> = apps.chain(keys).chain(restart).collect();
        if all.is_empty() { vec!["nothing has changed".to_owned()] } else { all }
    }
}

impl fmt::Display for ReloadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences().join("; "))
    }
}
