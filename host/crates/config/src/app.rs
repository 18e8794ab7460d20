//! An app: a component, and what it is granted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InstanceLimits, ProbeConfig, RollbackConfig, unit};

/// One app: a component, what it may reach, and how much it may use.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AppConfig {
    /// The component's file, relative to the configuration's folder. Needed, unless there is a folder of `components`.
    #[schemars(extend("default" = null), example = "poll.wasm")]
    pub component: PathBuf,
    /// Components in front of it, the outermost first, relative to the configuration's folder. Each imports the handler that the
    /// next one exports, in the same WASI as the app's component, and is granted the same. None by default.
    pub middleware: Vec<PathBuf>,
    /// Environment variables that the guest sees. None by default; the host's own are never seen.
    pub env: BTreeMap<String, String>,
    /// Folders that the guest sees. None by default.
    pub dirs: Vec<PreopenedDir>,
    /// Addresses, as `IP:PORT`, to which the guest may open TCP and UDP sockets. None by default.
    pub sockets: Vec<SocketAddr>,
    /// Hosts, as `NAME` or `NAME:PORT`, to which the guest may send HTTP requests. None by default.
    pub outgoing_hosts: Vec<String>,
    /// Its requests in progress, parked ones included. By default as many as the server may have. Beyond: 503.
    #[schemars(example = 10_000)]
    pub max_requests: Option<usize>,
    /// Lines that its guests may log a second. What is beyond is dropped, and the log says how many lines.
    pub max_log_lines: u32,
    /// Bounds on its instances.
    pub instances: InstanceLimits,
    /// Whether what is written to the component's file is deployed. By default only where it is in the folder of `components`.
    #[schemars(example = true)]
    pub watch: Option<bool>,
    /// What a new generation has to answer before it serves. None by default: then it is enough that an instance starts.
    pub probe: Option<ProbeConfig>,
    /// When a new generation is taken back without being asked.
    pub rollback: RollbackConfig,
    /// How long the requests of a generation may go on when another one has taken its place.
    #[serde(with = "unit::DurationSetting")]
    pub drain_timeout: Duration,
}

/// A folder that a guest sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreopenedDir {
    /// The folder's path on this machine, relative to the configuration's folder.
    #[schemars(example = &"data")]
    pub host: PathBuf,
    /// The path under which the guest sees it.
    #[schemars(example = "/data")]
    pub guest: String,
    /// Whether the guest may change it.
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
    /// An app that is granted nothing.
    #[must_use]
    pub(super) fn at(component: PathBuf) -> Self {
        Self { component, ..Self::default() }
    }

    /// Whether its guests see no difference from another one: it may differ in what the host does with its requests and its
    /// deploys. What is not named here counts.
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
            None => return Err("it has no `component`; name its file".to_owned()),
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

fn is_in_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Names are in paths of the admin listener, and in the log.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    const MOST: usize = 128;
    if name.is_empty() || name.len() > MOST || !name.chars().all(is_in_names) {
        return Err(format!("apps.{name:?}: a name is 1 to {MOST} letters, digits, '.', '_' or '-'"));
    }
    Ok(())
}

/// What the app of a component's file is called.
pub(super) fn name_of(component: &Path) -> String {
    let name = component.file_stem().map_or_else(|| "app".into(), |stem| stem.to_string_lossy());
    name.replace(|c| !is_in_names(c), "-")
}
