//! One topic: its events, and what a cursor means in it. It does nothing by itself.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Notify;

use linger_config::Retention;

use super::size;
use crate::clock::millis;
use crate::journal::TopicEpoch;
use crate::{Cursor, PublishedEvent, TopicBatch};

/// The most epochs that a topic knows. A cursor of an older one counts as of another life.
const MAX_EPOCHS: usize = 1000;

pub(super) struct LocalTopic {
    /// Its key in the timers.
    pub(super) number: u64,
    pub(super) retention: Retention,
    /// In the order of their beginnings.
    pub(super) epochs: Vec<TopicEpoch>,
    /// Whether the last epoch is of this process.
    pub(super) has_begun: bool,
    /// In the order of their numbers, in which there may be gaps: events that could not be written.
    events: VecDeque<RetainedEvent>,
    /// The number of the first event that may be kept.
    kept_from: u64,
    /// The number of the next event.
    pub(super) next: u64,
    /// The number after the last event that could be read.
    seen: u64,
    /// Events that are being written down.
    pub(super) arriving: usize,
    /// Of the events that are kept.
    pub(super) bytes: u64,
    /// When something was published last, in milliseconds since 1970.
    last: u64,
    pub(super) readers: usize,
    pub(super) wake: Arc<Notify>,
    /// When time does something to it next.
    pub(super) timer: Option<u64>,
}

/// An event, and when it was published, in milliseconds since 1970.
pub(super) struct RetainedEvent {
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) event: Arc<PublishedEvent>,
}

/// Where a read begins.
struct ReadStart {
    number: u64,
    restarted: bool,
}

impl LocalTopic {
    pub(super) fn new(number: u64, retention: Retention, now: u64) -> Self {
        Self {
            number,
            retention,
            epochs: Vec::new(),
            has_begun: false,
            events: VecDeque::new(),
            kept_from: 0,
            next: 0,
            seen: 0,
            arriving: 0,
            bytes: 0,
            last: now,
            readers: 0,
            wake: Arc::default(),
            timer: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing speaks for keeping it: neither events nor readers, nor any cursor that was ever given.
    pub(super) fn is_blank(&self) -> bool {
        self.is_idle() && self.seen == 0
    }

    fn is_idle(&self) -> bool {
        self.events.is_empty() && self.readers == 0 && self.arriving == 0
    }

    /// An epoch that began before this process did.
    pub(super) fn restore_epoch(&mut self, epoch: TopicEpoch) {
        if self.epochs.iter().all(|known| known.id != epoch.id || known.first != epoch.first) {
            self.epochs.push(epoch);
            self.epochs.sort_by_key(|epoch| epoch.first);
        }
        if self.events.is_empty() {
            self.kept_from = self.kept_from.max(epoch.first);
        }
        self.next = self.next.max(epoch.first);
        self.seen = self.next;
    }

    /// An event that was there before this process was. The oldest comes first.
    pub(super) fn restore(&mut self, kept: RetainedEvent) {
        let id = kept.event.cursor.epoch;
        if self.epochs.iter().all(|epoch| epoch.id != id) {
            self.restore_epoch(TopicEpoch { id, first: kept.sequence });
        }
        if self.events.is_empty() {
            self.kept_from = kept.sequence;
        }
        self.next = self.next.max(kept.sequence + 1);
        self.add(kept);
    }

    /// The next event, which can be read from now on.
    pub(super) fn add(&mut self, kept: RetainedEvent) {
        self.seen = self.seen.max(kept.sequence + 1);
        self.last = kept.time;
        self.bytes += size(&kept.event.data);
        self.events.push_back(kept);
    }

    /// Drops what it keeps no longer, and gives the numbers of that.
    pub(super) fn trim(&mut self, now: u64) -> Range<u64> {
        let from = self.events.front().map_or(self.kept_from, |oldest| oldest.sequence);
        let mut to = from;
        while let Some(oldest) = self.events.front().filter(|oldest| self.is_over(oldest, now)) {
            to = oldest.sequence + 1;
            self.kept_from = to;
            self.bytes -= size(&oldest.event.data);
            self.events.pop_front();
        }
        from..to
    }

    /// How many bytes become free when an event of this size comes.
    pub(super) fn frees(&self, size: u64) -> u64 {
        let Retention { events, bytes, .. } = self.retention;
        let (mut count, mut left) = (self.events.len() + 1, self.bytes + size);
        for kept in &self.events {
            if count <= events && left <= bytes {
                break;
            }
            count -= 1;
            left -= super::size(&kept.event.data);
        }
        self.bytes + size - left
    }

    fn is_over(&self, oldest: &RetainedEvent, now: u64) -> bool {
        let Retention { events, bytes, time } = self.retention;
        self.events.len() > events
            || (self.events.len() > 1 && self.bytes > bytes)
            || time.is_some_and(|time| oldest.time.saturating_add(millis(time)) <= now)
    }

    /// When time does something to it next: its oldest event goes, or, long after the last one, all of it.
    pub(super) fn next_time(&self) -> Option<u64> {
        let time = millis(self.retention.time?);
        Some(match self.events.front() {
            Some(oldest) => oldest.time.saturating_add(time),
            None => self.last.saturating_add(time.saturating_mul(2)),
        })
    }

    /// Whether it is time for all of it to go.
    pub(super) fn is_over_itself(&self, now: u64) -> bool {
        self.is_idle() && self.next_time().is_some_and(|time| time <= now)
    }

    /// Numbers on from here in an epoch. Gives those that say nothing any more, and the new one.
    pub(super) fn begin_epoch(&mut self, id: u32) -> (Vec<TopicEpoch>, TopicEpoch) {
        let (first, mut gone) = (self.next, Vec::new());
        while let Some(last) = self.epochs.pop_if(|last| last.first == first) {
            gone.push(last);
        }
        if let [.., before, last] = self.epochs[..]
            && (before.id, last.id) == (id, id)
        {
            // Between two notes of the number, when the topic had no event left.
            gone.extend(self.epochs.pop());
        }
        if self.epochs.len() >= MAX_EPOCHS {
            gone.push(self.epochs.remove(0));
        }
        let begun = TopicEpoch { first, id };
        self.epochs.push(begun);
        (gone, begun)
    }

    /// Somebody used it, so that it stays.
    pub(super) fn touch(&mut self, now: u64) {
        self.last = self.last.max(now);
    }

    /// The cursor after the last event.
    pub(super) fn end(&self) -> Cursor {
        match self.epochs.last() {
            Some(epoch) => Cursor { epoch: epoch.id, next: self.seen },
            None => Cursor::START,
        }
    }

    /// What comes after a cursor, if there is anything.
    pub(super) fn batch(&self, after: Option<Cursor>, limit: usize) -> Option<TopicBatch> {
        let start =
            after.map_or(ReadStart { number: self.kept_from, restarted: false }, |cursor| self.start(cursor));
        let first = self.events.partition_point(|kept| kept.sequence < start.number);
        let events: Vec<_> = self.events.range(first..).take(limit).map(|kept| kept.event.clone()).collect();
        let next = events.last()?.cursor;
        let missed = if start.restarted { 0 } else { self.kept_from.saturating_sub(start.number) };
        Some(TopicBatch { events, next, missed, restarted: start.restarted })
    }

    fn start(&self, cursor: Cursor) -> ReadStart {
        if cursor == Cursor::START {
            return ReadStart { number: 0, restarted: false };
        }
        // One epoch can stand here twice: where the topic had no event left, the number was noted.
        let begins = self.epochs.iter().position(|epoch| epoch.id == cursor.epoch);
        let follows = self.epochs.iter().rposition(|epoch| epoch.id == cursor.epoch).map(|last| last + 1);
        match begins.zip(follows) {
            Some((begins, follows)) if self.epochs[begins].first <= cursor.next => {
                let end = self.epochs.get(follows).map_or(self.next, |epoch| epoch.first);
                // What the epoch had after its end is lost, and what came then has not been read.
                ReadStart { number: cursor.next.min(end), restarted: cursor.next > end }
            }
            _ => ReadStart { number: 0, restarted: true },
        }
    }
}

#[cfg(test)]
mod tests;
