//! When a new generation is taken back without being asked.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// When a new generation is taken back, and the one before it serves again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackConfig {
    /// For this long after it began to serve it is watched. `"none"`: never.
    #[serde(with = "unit::DurationOrNone")]
    pub window: Option<Duration>,
    /// The share of its requests that may fail meanwhile, from 0 to 1: that trap, or answer with a status of 500 or above.
    pub max_failed: f64,
    /// With fewer requests than these it is not judged.
    pub min_requests: u64,
}

impl RollbackConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.max_failed) {
            return Err(format!("`max_failed` is a share from 0 to 1, not {}", self.max_failed));
        }
        if self.min_requests == 0 {
            return Err("`min_requests` is at least 1".to_owned());
        }
        Ok(())
    }
}

impl Default for RollbackConfig {
    fn default() -> Self {
        Self { window: Some(Duration::from_mins(1)), max_failed: 0.5, min_requests: 10 }
    }
}
