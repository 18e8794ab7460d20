//! Routes: which requests go to which app, and how long they may take.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Which requests go to an app, and how long it may take for one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The app's name.
    #[schemars(example = &"NAME")]
    pub app: String,
    /// The host that was asked for, without a port; none means any.
    #[serde(default)]
    #[schemars(example = "example.com")]
    pub host: Option<String>,
    /// The start of the path, by whole segments: `/a` takes `/a` and `/a/b`, and not `/ab`.
    #[serde(default = "default_path")]
    pub path: String,
    /// The methods; none means any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// After this time the request is cancelled with `deadline`. `"none"` means never.
    #[serde(default = "default_deadline", with = "unit::DurationOrNone")]
    pub deadline: Option<Duration>,
    /// How long a guest may go on after its request was cancelled.
    #[serde(default = "default_grace", with = "unit::DurationSetting")]
    pub grace: Duration,
    /// What becomes of a guest whose client leaves.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}

/// What becomes of a guest whose client leaves before it has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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

impl RouteConfig {
    pub(super) fn all_to(app: &str) -> Self {
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

    pub(super) fn check(&self, app_is_known: bool) -> Result<(), String> {
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
        if !linger_base::spelling::is_plain(&self.path) {
            return Err(format!(
                "path `{}` can be read in several ways; write it without `//`, `.`, `..` and encoded slashes",
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
