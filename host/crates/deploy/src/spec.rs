//! The configuration of an app.

use std::collections::BTreeMap;

use linger_config::{Config, OnDisconnect};
use linger_wasm::InstanceKinds;

/// An app's configuration, and what its routes want of its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct AppSpec {
    /// What it is granted, and how it is deployed.
    pub config: linger_config::AppConfig,
    /// What its routes want.
    pub kinds: InstanceKinds,
}

impl AppSpec {
    /// Those of all apps of a configuration, by name.
    #[must_use]
    pub fn all(config: &Config) -> BTreeMap<String, Self> {
        let spec = |(name, app): (&String, &linger_config::AppConfig)| {
            (name.clone(), Self { config: app.clone(), kinds: kinds(config, name) })
        };
        config.apps.iter().map(spec).collect()
    }

    /// Whether the guests of another one can go on under this one.
    pub(super) fn has_same_guests(&self, other: &Self) -> bool {
        self.kinds == other.kinds && self.config.has_same_guests(&other.config)
    }
}

/// Which kinds of instances the routes of an app want.
fn kinds(config: &Config, app: &str) -> InstanceKinds {
    let wanted = |cancel: bool| {
        let mut routes = config.routes.iter().filter(|route| route.app == app);
        routes.any(|route| (route.on_disconnect == OnDisconnect::Cancel) == cancel)
    };
    InstanceKinds { plain: wanted(false), cancelling: wanted(true) }
}
