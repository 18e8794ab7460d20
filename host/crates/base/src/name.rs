//! Names of queues and topics.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes in a name. Long enough for a UUID with a prefix, short enough for a subject
/// or a file name of any store.
const MAX_LENGTH: usize = 128;

/// The name of a queue or a topic: 1 to 128 letters, digits, `-`, `_` or `.`, starting with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(with = "String", example = &"lost")]
pub struct Name(Arc<str>);

/// The name of a queue or a topic is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to {MAX_LENGTH} letters, digits, `-`, `_` or `.`, starting with a letter or a digit")]
pub struct InvalidName;

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of something that belongs to it. A name that would be too long is cut.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        // It is ASCII, so it can be cut anywhere.
        let kept = self.0.len().min(MAX_LENGTH.saturating_sub(suffix.len()));
        Self(format!("{}{suffix}", &self.0[..kept]).into())
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = String::deserialize(input)?;
        name.parse().map_err(|error| serde::de::Error::custom(format!("`{name}`: {error}")))
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if starts_well && name.len() <= MAX_LENGTH && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName)
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        let longest = "q".repeat(MAX_LENGTH);
        for name in ["a", "jobs", "Jobs-2.new_ones", "0", &longest] {
            assert_eq!(name.parse::<Name>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        let too_long = "q".repeat(MAX_LENGTH + 1);
        for name in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\0", "a*", "a>", "é", "a\n", &too_long] {
            assert_eq!(name.parse::<Name>(), Err(InvalidName), "{name:?}");
        }
    }
}
