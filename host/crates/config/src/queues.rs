//! How many queues and events there may be, and how their events are handed out.

use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::pattern::NamePattern;
use super::unit;

/// Bounds on queues, and how their events are handed out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueuesConfig {
    /// Queues that exist at a time: those with an event or a waiting taker. Beyond: `over-limit(names)`.
    pub max_queues: usize,
    /// Events in one queue, leased ones included. Beyond: `over-limit(events)`.
    pub max_events: usize,
    /// Bytes in one queue, with 256 bytes added for each event. Beyond: `over-limit(bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_bytes: ByteSize,
    /// Bytes in all queues together, counted in the same way. Beyond: `over-limit(total-bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_total_bytes: ByteSize,
    /// Bytes of one event. Beyond: `too-large`.
    #[serde(with = "unit::SizeSetting")]
    pub max_event_size: ByteSize,
    /// Takers that wait at one queue. Beyond: `over-limit(waiters)`.
    pub max_waiters: usize,
    /// Unsettled deliveries of one request. Beyond: `over-limit(deliveries)`.
    pub max_deliveries_per_request: usize,
    /// What says that an event was delivered.
    pub commit: AckMode,
    /// How long a delivery may stay unsettled, at least 1 s. Then its event returns, flagged `maybe-delivered`. With
    /// `commit = "client"` the time counts from the end of the response, and is 30 s unless set; otherwise it
    /// counts from the take, is the last resort, and is 2 h unless set: longer than a request takes.
    #[serde(with = "unit::OptionalDuration")]
    pub lease: Option<Duration>,
    /// How often an event is handed out before it goes to the dead letters of its queue. Without, it always returns.
    #[schemars(example = 20)]
    pub max_attempts: Option<NonZeroU32>,
    /// The queue for dead letters; `NAME.dead` unless set. From there an event goes nowhere else.
    pub dead_letters: Option<Name>,
    /// What is different for some queues. The first rule that fits a queue counts.
    pub rules: Vec<QueueRule>,
}

/// What is different for the queues with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueRule {
    /// The name, or the start of all names when it ends with `*`.
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

/// What says that an event was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AckMode {
    /// The receipt of the response: what the kernels of both sides know.
    #[default]
    Receipt,
    /// The client, by the header `linger-ack` of a later request: for clients behind proxies, which acknowledge
    /// in their place.
    Client,
}

/// How one queue hands out its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// What says that an event was delivered.
    pub ack_mode: AckMode,
    /// How long a delivery may stay unsettled, from the moment that `commit` has it.
    pub lease: Duration,
    /// After how many attempts an event leaves, and where to.
    pub dead: Option<(u32, Name)>,
}

impl QueuePolicy {
    /// How long an event may be held by a request that does not end.
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
    /// Less than that an event is handed out again before anybody could have it.
    const MIN_LEASE: Duration = Duration::from_secs(1);

    /// What a directory's own commands go by: nothing is refused or dropped that a host would keep.
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
                return Err(format!("`{name}` is at least 1"));
            }
        }
        let leases = self.rules.iter().filter_map(|rule| rule.lease).chain(self.lease);
        if leases.min().is_some_and(|lease| lease < Self::MIN_LEASE) {
            return Err(format!("`lease` is at least {:?}", Self::MIN_LEASE));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let dead = rule.dead_letters.as_ref();
            if dead.is_some_and(|dead| rule.name.fits(dead)) {
                return Err(format!(
                    "rules[{index}]: `dead_letters` is for another queue than those that the rule is for"
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

    /// How a queue hands out its events.
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

    /// Whether dead letters of other queues come here.
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
