//! An app: a component, its permissions and its limits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InstanceLimits, ProbeConfig, RollbackConfig, unit};

/// One app: a component, its permissions and its limits.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AppConfig {
    /// The component's file, relative to the configuration's folder. Required unless `components` is set.
    #[schemars(extend("default" = null), example = "poll.wasm")]
    pub component: PathBuf,
    /// Middleware components in front of the app's component, outermost first, relative to the configuration's
    /// folder. Each imports the handler that the next one exports, for the same WASI version, and has the same
    /// permissions as the app. Default: none.
    pub middleware: Vec<PathBuf>,
    /// Environment variables of the guest. Default: none. The guest never sees the host's own.
    pub env: BTreeMap<String, String>,
    /// Folders that the guest can access. Default: none.
    pub dirs: Vec<PreopenedDir>,
    /// Addresses, as `IP:PORT`, to which the guest may open TCP and UDP sockets. Default: none.
    pub sockets: Vec<SocketAddr>,
    /// Hostnames, as `NAME` or `NAME:PORT`, to which the guest may send HTTP requests. Default: none.
    pub outgoing_hosts: Vec<String>,
    /// In-flight requests of the app, parked ones included. Default: `limits.max_requests`. Beyond: 503.
    #[schemars(example = 10_000)]
    pub max_requests: Option<usize>,
    /// Log lines per second of the app's guests. Lines beyond are dropped, and the log says how many.
    pub max_log_lines: u32,
    /// Limits on the app's instances.
    pub instances: InstanceLimits,
    /// Whether a change of the component's file is deployed. Default: only if the file is in the folder `components`.
    #[schemars(example = true)]
    pub watch: Option<bool>,
    /// A health check: a request that a new generation must answer before it serves. Default: none; then an
    /// instance only has to start.
    pub probe: Option<ProbeConfig>,
    /// Automatic rollback of a new generation that fails.
    pub rollback: RollbackConfig,
    /// How long the in-flight requests of a generation may continue after another one has replaced it.
    #[serde(with = "unit::DurationSetting")]
    pub drain_timeout: Duration,
}

/// A folder that a guest can access.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreopenedDir {
    /// The folder's path on this machine, relative to the configuration's folder.
    #[schemars(example = &"data")]
    pub host: PathBuf,
    /// The folder's path in the guest.
    #[schemars(example = "/data")]
    pub guest: String,
    /// Whether the guest may write to it.
    #[serde(default)]
    pub writable: bool,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            component: PathBuf::new(),
            middleware: Vec::new(),
            env: BTreeMap::new(),
            dirs: Vec::new(),
            sockets: Vec::new(),
            outgoing_hosts: Vec::new(),
            max_requests: None,
            max_log_lines: 1_000,
            instances: InstanceLimits::default(),
            watch: None,
            probe: None,
            rollback: RollbackConfig::default(),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl AppConfig {
    /// An app without any permissions.
    #[must_use]
    pub(super) fn at(component: PathBuf) -> Self {
        Self { component, ..Self::default() }
    }

    /// Whether guests of both apps see the same environment. The host's handling of requests and deploys may
    /// differ; every key that is not named here counts.
    #[must_use]
    pub fn has_same_guests(&self, other: &Self) -> bool {
        let alike = Self {
            max_requests: self.max_requests,
            watch: self.watch,
            probe: self.probe.clone(),
            rollback: self.rollback.clone(),
            drain_timeout: self.drain_timeout,
            ..other.clone()
        };
        alike == *self
    }

    pub(super) fn complete(
        &mut self,
        name: &str,
        folder: &Path,
        components: Option<&Path>,
    ) -> Result<(), String> {
        match components {
            _ if !self.component.as_os_str().is_empty() => self.component = folder.join(&self.component),
            Some(components) => {
                self.component = components.join(format!("{name}.wasm"));
                self.watch = self.watch.or(Some(true));
            }
            None => return Err("`component` is missing; set it to the component's file".to_owned()),
        }
        for dir in &mut self.dirs {
            dir.host = folder.join(&dir.host);
        }
        for file in &mut self.middleware {
            *file = folder.join(&*file);
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        if self.max_requests == Some(0) {
            return Err("`max_requests` must be at least 1".to_owned());
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
                "outgoing_hosts: `{host}` is not a hostname; write `NAME` or `NAME:PORT`, without a scheme or a path"
            )),
            None => Ok(()),
        }
    }
}

fn is_in_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Names occur in paths of the admin API, and in the log.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    const MOST: usize = 128;
    if name.is_empty() || name.len() > MOST || !name.chars().all(is_in_names) {
        return Err(format!("apps.{name:?}: a name has 1 to {MOST} letters, digits, '.', '_' or '-'"));
    }
    Ok(())
}

/// The name of the app of a component's file.
pub(super) fn name_of(component: &Path) -> String {
    let name = component.file_stem().map_or_else(|| "app".into(), |stem| stem.to_string_lossy());
    name.replace(|c| !is_in_names(c), "-")
}
