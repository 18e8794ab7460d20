//! What a new generation of an app is asked before it serves.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// A request that a new generation has to answer before it serves: `GET` with `host: localhost`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// The path, and the query if there is one.
    #[schemars(example = "/health")]
    pub path: String,
    /// The status that the answer has to have.
    #[serde(default = "default_status")]
    pub status: u16,
    /// How long the whole answer may take.
    #[serde(default = "default_timeout", with = "unit::DurationSetting")]
    pub timeout: Duration,
    /// How often it is asked again while the generation is on trial: as a canary, and for `rollback.window`.
    #[serde(default = "default_interval", with = "unit::DurationSetting")]
    pub interval: Duration,
}

/// A probe starts an instance.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

impl ProbeConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') || self.path.parse::<http::Uri>().is_err() {
            return Err(format!("path `{}` is none of HTTP; it starts with `/`", self.path));
        }
        if self.interval < MIN_INTERVAL {
            return Err(format!("`interval` is at least {MIN_INTERVAL:?}"));
        }
        if !(200..=599).contains(&self.status) {
            return Err(format!("status {} is none from 200 to 599", self.status));
        }
        Ok(())
    }
}

fn default_status() -> u16 {
    200
}

fn default_interval() -> Duration {
    Duration::from_secs(5)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}
