//! The journal of a store, by which its queues and topics survive a restart.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use linger_base::Name;

use super::StoreError;

/// One entry. Entries are made under a lock of the store, so they come in the order of what happened.
#[derive(Clone, Debug)]
pub(super) enum JournalEntry {
    /// An event was pushed.
    Insert(QueueRecord),
    /// An event may be handed out from now on: after a crash it may have been delivered.
    HandOut { queue: Name, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event returned to its queue.
    Requeue { queue: Name, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event went to another queue, as it is in the record.
    Move { from: Name, record: QueueRecord },
    /// An event is gone for good. `marked`: whether more was written of it than that it came.
    Remove { queue: Name, sequence: u64, marked: bool },
    /// An event was published.
    Publish(TopicRecord),
    /// What a topic keeps, and where its epochs begin, has changed.
    Trim(TopicTrim),
}

/// A change of a topic, all of it or nothing.
#[derive(Clone, Debug)]
pub(super) struct TopicTrim {
    pub(super) topic: Name,
    /// The numbers of events that it keeps no longer.
    pub(super) trimmed: Range<u64>,
    /// Epochs that say nothing any more.
    pub(super) forgotten: Vec<TopicEpoch>,
    /// From here on it surely numbers on.
    pub(super) begun: Option<TopicEpoch>,
}

impl JournalEntry {
    /// What has to be written later, when this could not be written and everybody was told so. `tried`: whether a
    /// part of it may have been written.
    pub(super) fn undone(&self, tried: bool) -> Option<Self> {
        match self {
            Self::Insert(QueueRecord { queue, sequence, .. }) => {
                let (queue, sequence) = (queue.clone(), *sequence);
                tried.then_some(Self::Remove { queue, sequence, marked: false })
            }
            Self::Publish(TopicRecord { topic, sequence, .. }) => tried.then(|| {
                let trimmed = *sequence..sequence + 1;
                Self::Trim(TopicTrim { topic: topic.clone(), trimmed, forgotten: Vec::new(), begun: None })
            }),
            Self::Remove { .. } | Self::Move { .. } | Self::Trim(_) => Some(self.clone()),
            // A later one, or the flag that every event gets that was handed out, will do.
            Self::HandOut { .. } | Self::Requeue { .. } => None,
        }
    }

    /// About how many bytes are written of it.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Insert(record) | Self::Move { record, .. } => record.data.len(),
            Self::Publish(record) => record.data.len(),
            Self::HandOut { .. } | Self::Requeue { .. } | Self::Remove { .. } | Self::Trim(_) => 0,
        }
    }
}

/// An event of a queue as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueRecord {
    pub(super) queue: Name,
    pub(super) sequence: u64,
    /// Of the process that took the event in. With the sequence it makes the event's id.
    pub(super) life: u32,
    pub(super) data: Bytes,
    pub(super) content_type: Option<Arc<str>>,
    /// When it can be taken, in milliseconds since 1970, unless it could from the start.
    pub(super) due: Option<u64>,
    /// When it is of no use any more, in milliseconds since 1970.
    pub(super) expires: Option<u64>,
    /// How often it was taken and put back.
    pub(super) attempts: u32,
    pub(super) maybe_delivered: bool,
    /// Whether it may have been handed out since.
    pub(super) handed_out: bool,
}

/// An event of a topic as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicRecord {
    pub(super) topic: Name,
    pub(super) sequence: u64,
    pub(super) epoch: u32,
    /// When it was published, in milliseconds since 1970.
    pub(super) time: u64,
    pub(super) data: Bytes,
    pub(super) content_type: Option<Arc<str>>,
}

/// The time in which a topic surely numbered on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicEpoch {
    /// The number of its first event.
    pub(super) first: u64,
    /// Not 0.
    pub(super) id: u32,
}

/// All that was written down and is still there, each by name and then by number.
#[derive(Debug, Default)]
pub(super) struct SavedEvents {
    pub(super) events: Vec<QueueRecord>,
    pub(super) epochs: Vec<(Name, TopicEpoch)>,
    pub(super) published: Vec<TopicRecord>,
}

/// Where entries go.
pub(super) trait Journal: Send + Sync + 'static {
    /// Whether they can be read again.
    const KEEPS: bool;

    /// Takes an entry, and tells `then` when it is as safe as it gets. Does not block, for it is called under
    /// a lock. What need not be waited for is given back, to be told by the caller when it has let go of that.
    fn record<F>(&self, entry: JournalEntry, then: F) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static;

    /// Takes an entry that nobody waits for.
    fn note(&self, entry: JournalEntry) {
        let _ = self.record(entry, |_| ());
    }
}

/// Keeps nothing.
pub(crate) struct NoJournal;

impl Journal for NoJournal {
    const KEEPS: bool = false;

    fn record<F>(&self, _: JournalEntry, then: F) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        Some(then)
    }
}
