//! Cursors: positions in topics.

use std::fmt;
use std::str::FromStr;

/// A position between two events of a topic, as readers keep it.
///
/// Events of a topic are numbered. What a topic loses (it was dropped, or the host could not keep its last
/// events) makes numbers come again, so a place names its *epoch* too: the time in which the topic surely
/// numbered on. Epochs are random, and none is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(super) epoch: u32,
    /// The number of the event after it.
    pub(super) next: u64,
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not valid; send a cursor unchanged, or none")]
pub struct InvalidCursor;

impl Cursor {
    /// Before the first event of a topic that has none yet.
    pub(super) const START: Self = Self { epoch: 0, next: 0 };
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.next)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, next) = text.split_once('-').ok_or(InvalidCursor)?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        if epoch.len() != 8 || !digits(epoch) || !digits(next) {
            return Err(InvalidCursor);
        }
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| InvalidCursor)?;
        let next = next.parse().map_err(|_| InvalidCursor)?;
        Ok(Self { epoch, next })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read((epoch, next) in any::<(u32, u64)>()) {
            let cursor = Cursor { epoch, next };
            prop_assert!(cursor.to_string().len() <= 32);
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn anything_else_is_refused(text in "\\PC{0,20}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                // Zeros in front of the number change nothing.
                let again = cursor.to_string();
                prop_assert!(text.to_lowercase().starts_with(&again[..9]));
            }
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for text in [
            "",
            "-",
            "0-0",
            "00000000",
            "00000000-",
            "+0000000-1",
            "00000000-+1",
            "00000000-1 ",
            "00000000-f",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
