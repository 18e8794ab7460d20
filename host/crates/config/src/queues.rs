//! Limits on queues, and the rules of their delivery.

use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::pattern::NamePattern;
use super::unit;

/// Limits on queues, and the rules of their delivery.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueuesConfig {
    /// Queues with an event or a waiting consumer. Beyond: `over-limit(names)`.
    pub max_queues: usize,
    /// Events in one queue, leased ones included. Beyond: `over-limit(events)`.
    pub max_events: usize,
    /// Bytes in one queue, plus 256 bytes for each event. Beyond: `over-limit(bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_bytes: ByteSize,
    /// Bytes in all queues together, plus 256 bytes for each event. Beyond: `over-limit(total-bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_total_bytes: ByteSize,
    /// Size of one event. Beyond: `too-large`.
    #[serde(with = "unit::SizeSetting")]
    pub max_event_size: ByteSize,
    /// Consumers that wait at one queue. Beyond: `over-limit(waiters)`.
    pub max_waiters: usize,
    /// Deliveries of one request that are neither acknowledged nor released. Beyond: `over-limit(deliveries)`.
    pub max_deliveries_per_request: usize,
    /// What acknowledges an event.
    pub commit: AckMode,
    /// How long a delivery may stay unacknowledged, at least 1 s. Beyond: the event is requeued, flagged
    /// `maybe-delivered`. With `commit = "client"`, the time counts from the end of the response; default: 30 s.
    /// With `commit = "receipt"`, it counts from the take, as a last resort; default: 2 h, longer than a request
    /// takes.
    #[serde(with = "unit::OptionalDuration")]
    pub lease: Option<Duration>,
    /// Deliveries of an event until it becomes a dead letter. Default: no limit; the event is always requeued.
    #[schemars(example = 20)]
    pub max_attempts: Option<NonZeroU32>,
    /// The dead letter queue. Default: `NAME.dead`. It has no dead letter queue of its own.
    pub dead_letters: Option<Name>,
    /// Exceptions for some queues. The first matching rule applies.
    pub rules: Vec<QueueRule>,
}

/// Exceptions for the queues with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueRule {
    /// The name, or a prefix followed by `*`.
    pub name: NamePattern,
    /// As in `[queues]`.
    #[serde(default)]
    pub commit: Option<AckMode>,
    /// As in `[queues]`.
    #[serde(default, with = "unit::OptionalDuration")]
    pub lease: Option<Duration>,
    /// As in `[queues]`.
    #[serde(default)]
    #[schemars(example = 20)]
    pub max_attempts: Option<NonZeroU32>,
    /// As in `[queues]`.
    #[serde(default)]
    pub dead_letters: Option<Name>,
}

/// What acknowledges an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// The receipt of the response: what both kernels report of its delivery.
    #[default]
    Receipt,
    /// The client, by the header `linger-ack` of a later request. For clients behind proxies: there, the proxy's
    /// kernel acknowledges a response, and not the client's.
    Client,
}

/// The rules of delivery of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// What acknowledges an event.
    pub ack_mode: AckMode,
    /// How long a delivery may stay unacknowledged, from the moment that `commit` sets.
    pub lease: Duration,
    /// After how many attempts an event becomes a dead letter, and in which queue.
    pub dead: Option<(u32, Name)>,
}

impl QueuePolicy {
    /// How long a request that does not end may keep an event.
    #[must_use]
    pub fn longest_hold(&self) -> Duration {
        match self.ack_mode {
            AckMode::Receipt => self.lease,
            AckMode::Client => self.lease.max(QueuesConfig::LEASE),
        }
    }
}

impl QueuesConfig {
    const LEASE: Duration = Duration::from_hours(2);
    const CLIENT_LEASE: Duration = Duration::from_secs(30);
    const DEAD: &str = ".dead";
    /// With less, an event is redelivered before a client could read it.
    const MIN_LEASE: Duration = Duration::from_secs(1);

    /// For offline commands: refuses and drops nothing that a host would keep.
    #[must_use]
    pub fn unbounded() -> Self {
        Self {
            max_queues: usize::MAX,
            max_events: usize::MAX,
            max_bytes: ByteSize(u64::MAX),
            max_total_bytes: ByteSize(u64::MAX),
            max_event_size: ByteSize::mib(64),
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (name, limit) in [
            ("max_queues", self.max_queues),
            ("max_events", self.max_events),
            ("max_waiters", self.max_waiters),
            ("max_deliveries_per_request", self.max_deliveries_per_request),
        ] {
            if limit == 0 {
                return Err(format!("`{name}` must be at least 1"));
            }
        }
        let leases = self.rules.iter().filter_map(|rule| rule.lease).chain(self.lease);
        if leases.min().is_some_and(|lease| lease < Self::MIN_LEASE) {
            return Err(format!("`lease` must be at least {:?}", Self::MIN_LEASE));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let dead = rule.dead_letters.as_ref();
            if dead.is_some_and(|dead| rule.name.fits(dead)) {
                return Err(format!(
                    "rules[{index}]: `dead_letters` must name a queue that the rule does not match"
                ));
            }
            if dead.is_some() && rule.max_attempts.or(self.max_attempts).is_none() {
                return Err(format!("rules[{index}]: `dead_letters` needs `max_attempts`"));
            }
        }
        if self.dead_letters.is_some() && self.max_attempts.is_none() {
            return Err("`dead_letters` needs `max_attempts`".to_owned());
        }
        Ok(())
    }

    /// The rules of delivery of a queue.
    #[must_use]
    pub fn policy(&self, queue: &Name) -> QueuePolicy {
        let rule = self.rules.iter().find(|rule| rule.name.fits(queue));
        let commit = rule.and_then(|rule| rule.commit).unwrap_or(self.commit);
        let lease = rule.and_then(|rule| rule.lease).or(self.lease).unwrap_or(match commit {
            AckMode::Receipt => Self::LEASE,
            AckMode::Client => Self::CLIENT_LEASE,
        });
        let attempts = rule.and_then(|rule| rule.max_attempts).or(self.max_attempts);
        let dead = attempts.filter(|_| !self.has_dead_letters(queue)).map(|attempts| {
            let named = rule.and_then(|rule| rule.dead_letters.as_ref()).or(self.dead_letters.as_ref());
            (attempts.get(), named.cloned().unwrap_or_else(|| queue.with_suffix(Self::DEAD)))
        });
        QueuePolicy { ack_mode: commit, lease, dead }
    }

    /// Whether this queue receives dead letters of other queues.
    fn has_dead_letters(&self, queue: &Name) -> bool {
        let mut named =
            self.rules.iter().filter_map(|rule| rule.dead_letters.as_ref()).chain(&self.dead_letters);
        queue.as_str().ends_with(Self::DEAD) || named.any(|name| name == queue)
    }
}

impl Default for QueuesConfig {
    fn default() -> Self {
        Self {
            max_queues: 10_000,
            max_events: 100_000,
            max_bytes: ByteSize::mib(256),
            max_total_bytes: ByteSize::gib(1),
            max_event_size: ByteSize::mib(1),
            max_waiters: 10_000,
            max_deliveries_per_request: 1_000,
            commit: AckMode::default(),
            lease: None,
            max_attempts: None,
            dead_letters: None,
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(text: &str) -> QueuesConfig {
        toml::from_str(text).unwrap()
    }

    fn policy(queues: &QueuesConfig, name: &str) -> QueuePolicy {
        queues.policy(&name.parse().unwrap())
    }

    #[test]
    fn events_return_for_ever_unless_something_else_is_said() {
        let expected = QueuePolicy { ack_mode: AckMode::Receipt, lease: Duration::from_hours(2), dead: None };
        assert_eq!(policy(&QueuesConfig::default(), "a"), expected);
    }

    #[test]
    fn first_rule_that_fits_counts() {
        let queues = queues(
            "max_attempts = 9\n\
             [[rules]]\nname = 'orders.eu'\nmax_attempts = 2\ndead_letters = 'lost'\n\
             [[rules]]\nname = 'orders.*'\ncommit = 'client'",
        );
        assert_eq!(policy(&queues, "orders.eu").dead, Some((2, "lost".parse().unwrap())));
        let us = policy(&queues, "orders.us");
        assert_eq!((us.ack_mode, us.lease), (AckMode::Client, Duration::from_secs(30)));
        assert_eq!(us.dead, Some((9, "orders.us.dead".parse().unwrap())));
        assert_eq!(policy(&queues, "orders").ack_mode, AckMode::Receipt);
    }

    #[test]
    fn dead_letters_go_nowhere_else() {
        let queues = queues("max_attempts = 1\n[[rules]]\nname = 'a'\ndead_letters = 'lost'");
        for name in ["lost", "b.dead", "b.dead.dead"] {
            assert_eq!(policy(&queues, name).dead, None, "{name}");
        }
    }

    #[test]
    fn dead_letters_of_a_long_name_have_a_name() {
        let queues = queues("max_attempts = 1");
        let name = "q".repeat(128);
        let (_, dead) = policy(&queues, &name).dead.unwrap();
        assert_eq!(dead.as_str().len(), 128);
        assert!(dead.as_str().ends_with("q.dead"));
    }
}
