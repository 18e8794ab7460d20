//! Limits on topics, and their retention.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::pattern::NamePattern;
use super::unit;

/// Limits on topics, and their retention.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    /// Topics at a time. A topic without events and readers is removed after twice its `keep_for`. Beyond:
    /// `over-limit(names)`.
    pub max_topics: usize,
    /// Bytes in all topics together, plus 256 bytes for each event. Beyond: `over-limit(total-bytes)`.
    #[serde(with = "unit::SizeSetting")]
    pub max_total_bytes: ByteSize,
    /// Size of one event. Beyond: `too-large`.
    #[serde(with = "unit::SizeSetting")]
    pub max_event_size: ByteSize,
    /// Readers that wait at one topic. Beyond: `over-limit(waiters)`.
    pub max_waiters: usize,
    /// Retention by number: the newest events that a topic keeps.
    pub keep_events: usize,
    /// Retention by size: bytes that a topic keeps, plus 256 bytes for each event. The newest event is always kept.
    #[serde(with = "unit::SizeSetting")]
    pub keep_bytes: ByteSize,
    /// Retention by time: how long a topic keeps an event, at least 1 s. `"none"`: as long as the other limits allow.
    #[serde(with = "unit::DurationOrNone")]
    pub keep_for: Option<Duration>,
    /// Exceptions for some topics. The first matching rule applies.
    pub rules: Vec<TopicRule>,
}

/// Exceptions for the topics with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// The name, or a prefix followed by `*`.
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

/// The retention of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of events, at least 1.
    pub events: usize,
    /// Bytes, plus 256 for each event.
    pub bytes: u64,
    /// Time.
    pub time: Option<Duration>,
}

impl TopicsConfig {
    /// For offline commands: refuses and drops nothing that a host would keep.
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
            return Err("`max_topics`, `max_waiters` and `keep_events` must be at least 1".to_owned());
        }
        let times = self.rules.iter().filter_map(|rule| match rule.keep_for {
            super::DerivedTimeout::Time(time) => Some(time),
            super::DerivedTimeout::Derived | super::DerivedTimeout::Off => None,
        });
        if times.chain(self.keep_for).min().is_some_and(|time| time < Self::MIN_TIME) {
            return Err(format!("`keep_for` must be at least {:?}, or \"none\"", Self::MIN_TIME));
        }
        Ok(())
    }

    /// With less, an event is dropped before readers could get it.
    const MIN_TIME: Duration = Duration::from_secs(1);

    /// The retention of a topic.
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
