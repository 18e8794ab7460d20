//! How many topics there may be, and how long they keep their events.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::pattern::NamePattern;
use super::unit;

/// Bounds on topics, and how long they keep their events.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    /// Topics that exist at a time. One without events and readers goes after twice its `keep_for`.
    /// Beyond: `over-limit(names)`.
    pub max_topics: usize,
    /// Bytes in all topics together, with 256 bytes added for each event. Beyond: `over-limit(total-bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_total_bytes: ByteSize,
    /// Bytes of one event. Beyond: `too-large`.
    #[serde(with = "unit::SizeSetting")]
    pub max_event_size: ByteSize,
    /// Readers that wait at one topic. Beyond: `over-limit(waiters)`.
    pub max_waiters: usize,
    /// Events that a topic keeps, the newest ones.
    pub keep_events: usize,
    /// Bytes that a topic keeps, with 256 bytes added for each event. It keeps the newest event in any case.
    #[serde(with = "unit::SizeSetting")]
    pub keep_bytes: ByteSize,
    /// How long a topic keeps an event, at least 1 s. `"none"` means as long as the other bounds allow.
    #[serde(with = "unit::DurationOrNone")]
    pub keep_for: Option<Duration>,
    /// What is different for some topics. The first rule that fits a topic counts.
    pub rules: Vec<TopicRule>,
}

/// What is different for the topics with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// The name, or the start of all names when it ends with `*`.
    pub name: NamePattern,
    /// As in `[topics]`.
    #[serde(default)]
    #[schemars(example = 10_000)]
    pub keep_events: Option<usize>,
    /// As in `[topics]`.
    #[serde(default, with = "unit::OptionalSize")]
    pub keep_bytes: Option<ByteSize>,
    /// As in `[topics]`.
    #[serde(default)]
    pub keep_for: super::DerivedTimeout,
}

/// How long one topic keeps its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many, at least 1.
    pub events: usize,
    /// How many bytes, with 256 added for each event.
    pub bytes: u64,
    /// How long.
    pub time: Option<Duration>,
}

impl TopicsConfig {
    /// What a directory's own commands go by: nothing is refused or dropped that a host would keep.
    #[must_use]
    pub fn unbounded() -> Self {
        Self {
            max_topics: usize::MAX,
            max_total_bytes: ByteSize(u64::MAX),
            max_event_size: ByteSize::mib(64),
            keep_events: usize::MAX,
            keep_bytes: ByteSize(u64::MAX),
            keep_for: None,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let counts = self.rules.iter().filter_map(|rule| rule.keep_events).chain([self.keep_events]);
        if self.max_topics == 0 || self.max_waiters == 0 || counts.min() == Some(0) {
            return Err("`max_topics`, `max_waiters` and `keep_events` are at least 1".to_owned());
        }
        let times = self.rules.iter().filter_map(|rule| match rule.keep_for {
            super::DerivedTimeout::Time(time) => Some(time),
            super::DerivedTimeout::Derived | super::DerivedTimeout::Off => None,
        });
        if times.chain(self.keep_for).min().is_some_and(|time| time < Self::MIN_TIME) {
            return Err(format!("`keep_for` is at least {:?}, or \"none\"", Self::MIN_TIME));
        }
        Ok(())
    }

    /// Less than that an event is gone before its readers look.
    const MIN_TIME: Duration = Duration::from_secs(1);

    /// How long a topic keeps its events.
    #[must_use]
    pub fn retention(&self, topic: &Name) -> Retention {
        let rule = self.rules.iter().find(|rule| rule.name.fits(topic));
        let time = match rule.map(|rule| rule.keep_for) {
            None | Some(super::DerivedTimeout::Derived) => self.keep_for,
            Some(super::DerivedTimeout::Off) => None,
            Some(super::DerivedTimeout::Time(time)) => Some(time),
        };
        Retention {
            events: rule.and_then(|rule| rule.keep_events).unwrap_or(self.keep_events).max(1),
            bytes: rule.and_then(|rule| rule.keep_bytes).unwrap_or(self.keep_bytes).as_u64(),
            time,
        }
    }
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            max_topics: 10_000,
            max_total_bytes: ByteSize::gib(1),
            max_event_size: ByteSize::mib(1),
            max_waiters: 50_000,
            keep_events: 10_000,
            keep_bytes: ByteSize::mib(16),
            keep_for: Some(Duration::from_hours(1)),
            rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_changes_what_it_names() {
        let topics: TopicsConfig = toml::from_str(
            "keep_events = 5\n[[rules]]\nname = 'news*'\nkeep_for = 'none'\nkeep_bytes = '1KiB'",
        )
        .unwrap();
        let hour = Some(Duration::from_hours(1));
        let expected = Retention { events: 5, bytes: ByteSize::mib(16).as_u64(), time: hour };
        assert_eq!(topics.retention(&"other".parse().unwrap()), expected);
        let expected = Retention { events: 5, bytes: 1024, time: None };
        assert_eq!(topics.retention(&"newsletter".parse().unwrap()), expected);
    }
}
