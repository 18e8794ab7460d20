//! Bounds on the instances of an app.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Bounds on the instances of an app.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceLimits {
    /// Instances at a time, on all threads and for all routes of the app. Beyond: requests queue for a place. With WASI 0.3 an
    /// instance is either for routes with `on_disconnect = "cancel"` or for others: an app with both kinds of routes needs room
    /// for both. The server makes room for the instances of all apps when it starts, and twice as many while generations change,
    /// up to 5,000.
    pub max: usize,
    /// Requests that share an instance (WASI 0.3; with WASI 0.2 it is always one).
    pub max_requests: usize,
    /// Requests that an instance is used for, one after the other or together, before another one takes its place.
    /// By default a million with WASI 0.3. With WASI 0.2 it is 1, since a component may not expect a second request, but 1,000
    /// for one that holds Python (componentize-py), or JavaScript that exports its handler (componentize-js): those runtimes are
    /// at ease with it, and take long to start. What is composed with such a component is used as often.
    #[schemars(example = 100)]
    pub max_uses: Option<u64>,
    /// Instances that each thread starts before they are wanted, and keeps for the next requests (WASI 0.2), until none has come
    /// for five minutes. For components that take long to start. They count towards `max`.
    pub ready: usize,
    /// Linear memory of one instance. Beyond: an allocation in the guest fails. One that has taken much of what its first request
    /// left gets no more requests: a tenth with WASI 0.2, half with 0.3. As many bytes the host holds for it besides, of whole
    /// answers that clients have not read yet and of bodies that are collected for it (WASI 0.3). With half of them it gets no
    /// more requests until there is room; an answer that has none is 503.
    #[serde(with = "unit::SizeSetting")]
    pub max_memory: ByteSize,
    /// Processor time that a guest may use without a pause. Beyond: its instance is stopped.
    #[serde(with = "unit::DurationSetting")]
    pub max_turn: Duration,
    /// Processor time that a request may use in all. Beyond: its instance is stopped.
    #[serde(with = "unit::DurationSetting")]
    pub max_cpu: Duration,
    /// Requests that wait for a place in an instance when all are full. Beyond: 503.
    pub max_queued: usize,
    /// How long they wait. After it: 503.
    #[serde(with = "unit::DurationSetting")]
    pub queue_timeout: Duration,
}

impl InstanceLimits {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max == 0 || self.max_requests == 0 || self.max_uses == Some(0) {
            return Err("`max`, `max_requests` and `max_uses` are at least 1".to_owned());
        }
        if self.max_turn.is_zero() || self.max_cpu < self.max_turn {
            return Err("`max_turn` is more than nothing, and `max_cpu` at least that".to_owned());
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
