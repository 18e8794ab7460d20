//! Names of queues.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes in a queue's name. Long enough for a UUID with a prefix, short enough for a subject
/// or a file name of any store.
const MAX_LENGTH: usize = 128;

/// The name of a queue: 1 to 128 letters, digits, `-`, `_` or `.`, starting with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

/// The name of a queue is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a queue's name is 1 to {MAX_LENGTH} letters, digits, `-`, `_` or `.`, starting with a letter or a digit"
)]
pub struct InvalidName;

impl QueueName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
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

impl fmt::Display for QueueName {
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
            assert_eq!(name.parse::<QueueName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_that_could_mean_something_else_are_refused() {
        let too_long = "q".repeat(MAX_LENGTH + 1);
        for name in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\0", "a*", "a>", "é", "a\n", &too_long] {
            assert_eq!(name.parse::<QueueName>(), Err(InvalidName), "{name:?}");
        }
    }
}
