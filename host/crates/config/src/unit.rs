//! Durations and sizes with a unit, as `"1h 30m"` or `"64KiB"`: each type here is a way to write one, for
//! `#[serde(with = "…")]`, which the schema goes by too.
#![expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference to the field, whatever its type"
)]

use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use super::setting::DerivedTimeout;

/// A duration.
pub(super) struct DurationSetting;

/// An optional duration.
pub(super) struct OptionalDuration;

/// A duration, or `"none"`.
pub(super) struct DurationOrNone;

/// A size. A number without a unit is in bytes.
pub(super) struct SizeSetting;

/// An optional size.
pub(super) struct OptionalSize;

impl DurationSetting {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(input)?;
        parse(&text).map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: Serializer>(time: &Duration, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(&humantime::format_duration(*time))
    }
}

impl OptionalDuration {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        DurationSetting::deserialize(input).map(Some)
    }

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => DurationSetting::serialize(time, output),
            None => output.serialize_none(),
        }
    }
}

impl DurationOrNone {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(input)?;
        parse_or_none(&text).map_err(D::Error::custom)
    }

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => DurationSetting::serialize(time, output),
            None => output.serialize_str(NONE),
        }
    }
}

impl TryFrom<String> for DerivedTimeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(parse_or_none(&text)?.map_or(Self::Off, Self::Time))
    }
}

impl Serialize for DerivedTimeout {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Derived => output.serialize_none(),
            Self::Off => output.serialize_str(NONE),
            Self::Time(time) => DurationSetting::serialize(time, output),
        }
    }
}

impl SizeSetting {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<ByteSize, D::Error> {
        ByteSize::deserialize(input)
    }

    /// In the largest unit that is exact.
    pub(super) fn serialize<S: Serializer>(size: &ByteSize, output: S) -> Result<S::Ok, S::Error> {
        let bytes = size.as_u64();
        let units = [(bytesize::GIB, "GiB"), (bytesize::MIB, "MiB"), (bytesize::KIB, "KiB")];
        match units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
            Some((unit, name)) => output.collect_str(&format_args!("{}{name}", bytes / unit)),
            None => output.collect_str(&format_args!("{bytes}B")),
        }
    }
}

impl OptionalSize {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<ByteSize>, D::Error> {
        SizeSetting::deserialize(input).map(Some)
    }

    pub(super) fn serialize<S: Serializer>(size: &Option<ByteSize>, output: S) -> Result<S::Ok, S::Error> {
        match size {
            Some(size) => SizeSetting::serialize(size, output),
            None => output.serialize_none(),
        }
    }
}

/// The word for no time limit.
const NONE: &str = "none";

/// The longest duration, a hundred years: clocks cannot add more, and `none` is for no limit.
const MAX: Duration = Duration::from_hours(100 * 365 * 24);

fn parse_or_none(text: &str) -> Result<Option<Duration>, String> {
    if text == NONE { Ok(None) } else { parse(text).map(Some) }
}

fn parse(text: &str) -> Result<Duration, String> {
    let duration = parse_any(text)?;
    if duration > MAX {
        return Err(format!("`{text}` is longer than a hundred years; write a shorter time"));
    }
    Ok(duration)
}

fn parse_any(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("`{text}` is not a duration ({error}); write it with a unit, such as \"10s\" or \"5m\"")
    })
}

/// The types in the schema for editors. Each pattern allows a variable, whose value an editor cannot know.
macro_rules! schema {
    ($($type:ty),+: $title:literal, $rest:tt) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($rest);
                schema.insert("title".to_owned(), $title.into());
                schema
            }
        }
    )+};
}

schema!(DurationSetting, OptionalDuration: "duration", {
    "type": "string",
    "pattern": r"^([0-9.]+ *[A-Za-zµ]+ *)+$|\$\{",
    "examples": ["10s", "1h 30m"],
});
schema!(DurationOrNone, DerivedTimeout: "duration or \"none\"", {
    "type": "string",
    "pattern": r"^([0-9.]+ *[A-Za-zµ]+ *)+$|^none$|\$\{",
    "examples": ["10s", "none"],
});
schema!(SizeSetting, OptionalSize: "size", {
    "type": ["string", "integer"],
    "minimum": 0,
    "pattern": r"^[0-9.]+ *([kKmMgGtTpPeE][iI]?)?[bB]?$|\$\{",
    "examples": ["64KiB", "10MB"],
});
