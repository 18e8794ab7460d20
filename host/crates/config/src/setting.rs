//! A duration that is set, derived from another setting, or off.

use std::time::Duration;

use serde::Deserialize;

/// A duration with a derived default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DerivedTimeout {
    /// A fraction of `client_timeout`.
    #[default]
    Derived,
    /// Turned off.
    Off,
    /// Set.
    Time(Duration),
}

impl DerivedTimeout {
    pub(super) fn or(self, derived: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Derived => derived,
            Self::Off => None,
            Self::Time(time) => Some(time),
        }
    }
}
