//! The health check of a new generation.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// A health check that a new generation must pass before it serves: a `GET` with `host: localhost`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// The path of the request, with its query.
    #[schemars(example = "/health")]
    pub path: String,
    /// The expected status of the response.
    #[serde(default = "default_status")]
    pub status: u16,
    /// How long the complete response may take.
    #[serde(default = "default_timeout", with = "unit::DurationSetting")]
    pub timeout: Duration,
    /// Interval of repeated checks during probation: as a canary, and for `rollback.window`.
    #[serde(default = "default_interval", with = "unit::DurationSetting")]
    pub interval: Duration,
}

/// A probe starts an instance.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

impl ProbeConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') || self.path.parse::<http::Uri>().is_err() {
            return Err(format!("`{}` is not a path; it must start with `/`", self.path));
        }
        if self.interval < MIN_INTERVAL {
            return Err(format!("`interval` must be at least {MIN_INTERVAL:?}"));
        }
        if !(200..=599).contains(&self.status) {
            return Err(format!("status {} must be from 200 to 599", self.status));
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
