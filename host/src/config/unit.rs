//! Durations with a unit, as `"10s"` or `"1h 30m"`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::Setting;

pub(super) fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    parse(&text).map_err(D::Error::custom)
}

/// A duration, where one does not have to be set.
pub(super) fn some_duration<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    duration(input).map(Some)
}

pub(super) fn optional_duration<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(input)?;
    if text == "none" { Ok(None) } else { parse(&text).map(Some).map_err(D::Error::custom) }
}

/// A duration, or `"none"`, for what is derived when it is not set.
pub(super) fn setting<'de, D: Deserializer<'de>>(input: D) -> Result<Setting, D::Error> {
    Ok(optional_duration(input)?.map_or(Setting::Off, Setting::Time))
}

/// The longest duration, a hundred years: more means `none`, and clocks cannot add it.
const MAX: Duration = Duration::from_hours(100 * 365 * 24);

fn parse(text: &str) -> Result<Duration, String> {
    let duration = parse_any(text)?;
    if duration > MAX {
        return Err(format!("`{text}` is longer than a hundred years; write a shorter time"));
    }
    Ok(duration)
}

fn parse_any(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("`{text}` is no duration ({error}); write it with a unit, as \"10s\" or \"5m\"")
    })
}
