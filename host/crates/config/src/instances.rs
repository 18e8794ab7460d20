//! Limits on the instances of an app.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Limits on the instances of an app.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceLimits {
    /// Instances at a time, on all threads and for all routes of the app. Beyond: requests wait for an instance.
    /// With WASI 0.3, an instance serves either routes with `on_disconnect = "cancel"` or other routes; an app with
    /// both needs instances for both. At its start, the server reserves room for the instances of all apps, and for
    /// as many again during deploys, up to 5,000.
    pub max: usize,
    /// Concurrent requests of one instance (WASI 0.3; always one with WASI 0.2).
    pub max_requests: usize,
    /// Requests, sequential or concurrent, that an instance serves before another one replaces it. Default with
    /// WASI 0.3: a million. Default with WASI 0.2: 1, because a component may not expect a second request; but
    /// 1,000 for a component with Python (componentize-py), or with JavaScript that exports its handler
    /// (componentize-js): these runtimes allow reuse, and are slow to start. Components that are composed with one
    /// of these have the same default.
    #[schemars(example = 100)]
    pub max_uses: Option<u64>,
    /// Instances that each thread starts in advance and keeps warm for the next requests (WASI 0.2), until five
    /// minutes after the last request. For components that are slow to start. They count towards `max`.
    pub ready: usize,
    /// Linear memory of one instance. Beyond: an allocation in the guest fails. An instance gets no more requests
    /// once it has used a tenth (WASI 0.2) or half (WASI 0.3) of the memory that was left after its first request.
    /// With WASI 0.3, the host buffers up to as many bytes for an instance: complete responses that clients have
    /// not read yet, and collected request bodies. At half of that, the instance gets no more requests until there
    /// is room; a response for which there is no room becomes 503.
    #[serde(with = "unit::SizeSetting")]
    pub max_memory: ByteSize,
    /// CPU time that a guest may use without yielding. Beyond: its instance is stopped.
    #[serde(with = "unit::DurationSetting")]
    pub max_turn: Duration,
    /// CPU time that a request may use in total. Beyond: its instance is stopped.
    #[serde(with = "unit::DurationSetting")]
    pub max_cpu: Duration,
    /// Requests that wait for an instance when all are full. Beyond: 503.
    pub max_queued: usize,
    /// How long a request waits for an instance. Beyond: 503.
    #[serde(with = "unit::DurationSetting")]
    pub queue_timeout: Duration,
}

impl InstanceLimits {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max == 0 || self.max_requests == 0 || self.max_uses == Some(0) {
            return Err("`max`, `max_requests` and `max_uses` must be at least 1".to_owned());
        }
        if self.max_turn.is_zero() || self.max_cpu < self.max_turn {
            return Err("`max_turn` must be above zero, and `max_cpu` at least as long".to_owned());
        }
        Ok(())
    }
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self {
            max: 1_000,
            max_requests: 1_000,
            max_uses: None,
            ready: 0,
            max_memory: ByteSize::mib(256),
            max_turn: Duration::from_secs(1),
            max_cpu: Duration::from_secs(30),
            max_queued: 1_000,
            queue_timeout: Duration::from_secs(1),
        }
    }
}
