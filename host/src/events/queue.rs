//! One queue: what is ready, who has what, and who waits. It does nothing by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::journal::Record;
use super::{Event, NewEvent, StoreError};

/// Who waits for an event.
pub(super) type Waiter = oneshot::Sender<Result<Taken, StoreError>>;

/// Whenever the lock is free, `ready` or `waiters` is empty.
#[derive(Default)]
pub(super) struct Queue {
    /// By sequence, so that an event that returns finds its old place.
    pub(super) ready: BTreeMap<u64, Stored>,
    pub(super) leased: HashMap<u64, Stored>,
    /// Events that are being written down.
    pub(super) arriving: usize,
    /// By ticket, so in the order of their arrival.
    pub(super) waiters: BTreeMap<u64, Waiter>,
    pub(super) bytes: u64,
}

pub(super) struct Stored {
    pub(super) event: NewEvent,
    pub(super) id: Arc<str>,
    pub(super) attempts: u32,
    pub(super) maybe_delivered: bool,
    /// Whether it is written down that the event may have been handed out, where anything is.
    pub(super) noted: bool,
}

pub(super) struct Taken {
    pub(super) event: Event,
    pub(super) sequence: u64,
}

impl Queue {
    pub(super) fn events(&self) -> usize {
        self.ready.len() + self.leased.len() + self.arriving
    }

    pub(super) fn is_unused(&self) -> bool {
        self.events() == 0 && self.waiters.is_empty()
    }

    /// Whether somebody waits for the last of those that are being written down.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiters.len() >= self.arriving
    }

    /// The first that waits and is still there, and the first event.
    pub(super) fn next_pair(&mut self) -> Option<(Waiter, u64, Stored)> {
        while !self.ready.is_empty() {
            let (_, waiter) = self.waiters.pop_first()?;
            if !waiter.is_closed() {
                let (sequence, stored) = self.ready.pop_first()?;
                return Some((waiter, sequence, stored));
            }
        }
        None
    }

    /// Gives an event to one that waits. If that has left, the event stays where it was.
    pub(super) fn hand_out(&mut self, sequence: u64, stored: Stored, waiter: Waiter) {
        match waiter.send(Ok(Taken { event: stored.taken(), sequence })) {
            Ok(()) => self.leased.insert(sequence, stored),
            Err(_) => self.ready.insert(sequence, stored),
        };
    }
}

impl Stored {
    pub(super) fn new(record: &Record, noted: bool) -> Self {
        Self {
            event: NewEvent { data: record.data.clone(), content_type: record.content_type.clone() },
            id: format!("{:08x}-{}", record.life, record.sequence).into(),
            attempts: record.attempts,
            maybe_delivered: record.maybe_delivered,
            noted,
        }
    }

    /// As it was found when its process had gone.
    pub(super) fn restored(record: &Record) -> Self {
        let mut stored = Self::new(record, false);
        if record.handed_out {
            stored.attempts = stored.attempts.saturating_add(1);
            stored.maybe_delivered = true;
        }
        stored
    }

    fn taken(&self) -> Event {
        Event {
            id: self.id.clone(),
            data: self.event.data.clone(),
            content_type: self.event.content_type.clone(),
            attempt: self.attempts.saturating_add(1),
            maybe_delivered: self.maybe_delivered,
        }
    }
}
