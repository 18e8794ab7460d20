//! One queue: its ready events, leases and waiters. It does nothing by itself.

use std::collections::{BTreeMap, HashMap};

use linger_config::QueuePolicy;

use crate::journal::{JournalEntry, QueueRecord};
use crate::wait::LeaseSender;
use crate::{Event, EventId};

/// Whenever the lock is free, `ready` or `waiters` is empty.
pub(super) struct LocalQueue {
    pub(super) policy: QueuePolicy,
    /// By sequence, so that an event that returns finds its old place.
    pub(super) ready: BTreeMap<u64, StoredEvent>,
    /// Events that nobody can take yet.
    pub(super) delayed: HashMap<u64, StoredEvent>,
    pub(super) leased: HashMap<u64, StoredEvent>,
    /// Events that are being written down.
    pub(super) arriving: usize,
    /// By ticket, so in the order of their arrival.
    pub(super) waiters: BTreeMap<u64, LeaseSender>,
    pub(super) bytes: u64,
}

pub(super) struct StoredEvent {
    pub(super) record: QueueRecord,
    /// Whether it is written down that the event may have been handed out, where anything is.
    pub(super) noted: bool,
    /// Whether more was written down of it than that it came.
    pub(super) marked: bool,
    /// The lease on it.
    pub(super) lease: Option<u64>,
    /// When something happens to it next: it can be taken, it is of no use any more, or its lease runs out.
    pub(super) timer: Option<u64>,
}

impl LocalQueue {
    pub(super) fn new(policy: QueuePolicy) -> Self {
        Self {
            policy,
            ready: BTreeMap::new(),
            delayed: HashMap::new(),
            leased: HashMap::new(),
            arriving: 0,
            waiters: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn events(&self) -> usize {
        self.ready.len() + self.delayed.len() + self.leased.len() + self.arriving
    }

    pub(super) fn is_unused(&self) -> bool {
        self.events() == 0 && self.waiters.is_empty()
    }

    /// Whether somebody waits for the last of those that are being written down.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiters.len() >= self.arriving
    }

    /// The first that waits and is still there, and the first event.
    pub(super) fn next_pair(&mut self) -> Option<(LeaseSender, StoredEvent)> {
        while !self.ready.is_empty() {
            let (_, waiter) = self.waiters.pop_first()?;
            if !waiter.is_closed() {
                let (_, stored) = self.ready.pop_first()?;
                return Some((waiter, stored));
            }
        }
        None
    }

    /// The event that is held under this lease, if it is.
    pub(super) fn take_leased(&mut self, sequence: u64, lease: u64) -> Option<StoredEvent> {
        self.leased.get(&sequence).filter(|stored| stored.lease == Some(lease))?;
        self.leased.remove(&sequence)
    }
}

impl StoredEvent {
    pub(super) fn new(record: QueueRecord, noted: bool) -> Self {
        Self { record, noted, marked: false, lease: None, timer: None }
    }

    /// As it was found when its process had gone.
    pub(super) fn restored(record: QueueRecord) -> Self {
        Self { marked: true, ..Self::new(record, false) }
    }

    /// Whether it is of no use any more.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.record.expires.is_some_and(|expires| expires <= now)
    }

    /// It returns from a taker.
    pub(super) fn returns(&mut self, maybe_delivered: bool) {
        self.record.attempts = self.record.attempts.saturating_add(1);
        self.record.maybe_delivered |= maybe_delivered;
    }

    /// What is written when it has returned.
    pub(super) fn requeue_entry(&mut self) -> JournalEntry {
        self.marked = true;
        let QueueRecord { queue, sequence, attempts, maybe_delivered, .. } = self.record.clone();
        JournalEntry::Requeue { queue, sequence, attempts, maybe_delivered }
    }

    pub(super) fn id(&self) -> EventId {
        EventId { epoch: self.record.life, number: self.record.sequence }
    }

    pub(super) fn taken(&self) -> Event {
        Event {
            id: self.id(),
            data: self.record.data.clone(),
            content_type: self.record.content_type.clone(),
            attempt: self.record.attempts.saturating_add(1),
            maybe_delivered: self.record.maybe_delivered,
        }
    }
}
