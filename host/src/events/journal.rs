//! What a store writes down, so that its queues and topics outlive the process.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Name, StoreError};

/// One entry. Entries are made under a lock of the store, so they come in the order of what happened.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// An event was pushed.
    Insert(Record),
    /// An event may be handed out from now on: after a crash it may have been delivered.
    HandOut { queue: Name, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event returned to its queue.
    PutBack { queue: Name, sequence: u64, attempts: u32, maybe_delivered: bool },
    /// An event went to another queue, as it is in the record.
    Move { from: Name, record: Record },
    /// An event is gone for good. `marked`: whether more was written of it than that it came.
    Remove { queue: Name, sequence: u64, marked: bool },
    /// An event was published.
    Publish(TopicRecord),
    /// A topic numbers on from here, surely.
    Epoch(EpochRecord),
    /// A topic keeps these events no longer.
    Trim { topic: Name, sequences: Range<u64> },
    /// These epochs say nothing any more.
    Forget(Vec<EpochRecord>),
}

impl Entry {
    /// What has to be written later, when this could not be written and everybody was told so.
    pub(super) fn undone(&self) -> Option<Self> {
        let gone = |queue: &Name, sequence| Self::Remove { queue: queue.clone(), sequence, marked: false };
        match self {
            Self::Insert(record) => Some(gone(&record.queue, record.sequence)),
            Self::Publish(record) => {
                let sequences = record.sequence..record.sequence + 1;
                Some(Self::Trim { topic: record.topic.clone(), sequences })
            }
            Self::Remove { .. } | Self::Move { .. } | Self::Trim { .. } | Self::Forget(_) => {
                Some(self.clone())
            }
            // A later one, or the flag that every event gets that was handed out, will do; and each event of a
            // topic names its epoch.
            Self::HandOut { .. } | Self::PutBack { .. } | Self::Epoch(_) => None,
        }
    }
}

/// An event of a queue as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
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

/// The beginning of an epoch of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EpochRecord {
    pub(super) topic: Name,
    pub(super) first: u64,
    pub(super) id: u32,
}

/// All that was written down and is still there, each by name and then by number.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) events: Vec<Record>,
    pub(super) epochs: Vec<EpochRecord>,
    pub(super) published: Vec<TopicRecord>,
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

    /// Takes an entry that nobody waits for.
    fn note(&self, entry: Entry) {
        let _ = self.record(entry, |_| ());
    }
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
