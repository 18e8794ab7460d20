//! What a store writes down, so that its queues outlive the process.

use bytes::Bytes;

use super::{QueueName, StoreError};

/// One entry. Entries are made under the lock of the store, so they come in the order of what happened.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// An event was pushed.
    Insert(Record),
    /// An event may be handed out from now on: after a crash it may have been delivered.
    HandOut { queue: QueueName, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event returned to its queue.
    PutBack { queue: QueueName, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event is gone for good.
    Remove { queue: QueueName, sequence: u64 },
}

impl Entry {
    /// What has to be written later, when this could not be written and everybody was told so.
    pub(super) fn undone(&self) -> Option<Self> {
        let (queue, sequence) = match self {
            Self::Insert(record) => (&record.queue, record.sequence),
            Self::Remove { queue, sequence } => (queue, *sequence),
            // A later one, or the flag that every event gets that was handed out, will do.
            Self::HandOut { .. } | Self::PutBack { .. } => return None,
        };
        Some(Self::Remove { queue: queue.clone(), sequence })
    }
}

/// An event as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) queue: QueueName,
    pub(super) sequence: u64,
    /// Of the process that took the event in. With the sequence it makes the event's id.
    pub(super) life: u32,
    pub(super) data: Bytes,
    pub(super) content_type: Option<std::sync::Arc<str>>,
    /// How often it was taken and put back.
    pub(super) attempts: u32,
    pub(super) maybe_delivered: bool,
    /// Whether it may have been handed out since.
    pub(super) handed_out: bool,
}

/// Where entries go.
pub(super) trait Journal: Send + Sync + 'static {
    /// Whether they can be read again.
    const KEEPS: bool;

    /// Takes an entry, and tells `then` when it is as safe as it gets. Does not block, for it is called under
    /// a lock. What need not be waited for is given back, to be told by the caller when it has let go of that.
    fn record<F>(&self, entry: Entry, then: F) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static;
}

/// Keeps nothing.
pub(crate) struct Nothing;

impl Journal for Nothing {
    const KEEPS: bool = false;

    fn record<F>(&self, _: Entry, then: F) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        Some(then)
    }
}
