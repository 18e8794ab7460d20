//! How a request ended.

use std::fmt;

use crate::Reason;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest's response was written to its end.
    Delivered,
    /// The client left first. `maybe_delivered`: it may have got a part of the response.
    Lost {
        /// How it left.
        reason: Reason,
        /// Whether it may have got a part of the response.
        maybe_delivered: bool,
    },
    /// The guest gave no response, or not to its end; the host answered or cut it off.
    Failed {
        /// Whether the client may have got a part of the guest's response.
        maybe_delivered: bool,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Lost { reason, .. } => write!(f, "lost, {reason}"),
            Self::Failed { .. } => f.write_str("failed"),
        }
    }
}
