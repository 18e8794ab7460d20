//! Automatic rollback of a new generation that fails.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Automatic rollback: when the previous generation replaces a new one that fails.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// Probation: how long a new generation is watched after it begins to serve. `"none"`: no automatic rollback.
    #[serde(with = "unit::DurationOrNone")]
    pub window: Option<Duration>,
    /// The share of requests that may fail during probation, from 0 to 1. A request fails if the guest traps, or
    /// responds with a status of 500 or above.
    pub max_failed: f64,
    /// The number of requests before a generation is judged.
    pub min_requests: u64,
}

impl RollbackConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.max_failed) {
            return Err(format!("`max_failed` must be from 0 to 1, not {}", self.max_failed));
        }
        if self.min_requests == 0 {
            return Err("`min_requests` must be at least 1".to_owned());
        }
        Ok(())
    }
}

impl Default for RollbackConfig {
    fn default() -> Self {
        Self { window: Some(Duration::from_mins(1)), max_failed: 0.5, min_requests: 10 }
    }
}
