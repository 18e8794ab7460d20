//! Notes that hosts send each other about requeued events.
//!
//! A message in a stream cannot be changed, and NATS knows only how often it was handed out: not that nobody saw it, nor
//! that no client can have got it. Whoever puts an event back tells that to all hosts first. What is not told, or not heard,
//! is taken for the worst: that every time counts, and that a client may have got it.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use linger_base::Name;

/// The most events of which something is kept in mind.
const MAX_NOTES: usize = 65_536;

/// An event of a queue: its queue, the stream's epoch, and its number.
pub(crate) type EventKey = (Name, u32, u64);

/// What is known of an event that returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RedeliveryNote {
    /// How often NATS had handed it out.
    pub(crate) delivered: u64,
    /// How often of those nobody saw it.
    pub(crate) untaken: u64,
    /// Whether a client may have got it or a part of it.
    pub(crate) maybe_delivered: bool,
}

/// What was told last of each event. The oldest is forgotten first.
#[derive(Default)]
pub(crate) struct RedeliveryNotes {
    notes: HashMap<EventKey, RedeliveryNote>,
    order: VecDeque<EventKey>,
}

impl RedeliveryNotes {
    pub(crate) fn keep(&mut self, key: EventKey, note: RedeliveryNote) {
        if self.notes.insert(key.clone(), note).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > MAX_NOTES {
            if let Some(oldest) = self.order.pop_front() {
                self.notes.remove(&oldest);
            }
        }
    }

    /// Whether it was told what became of an event before it is handed out for the `delivered`-th time.
    pub(crate) fn tell_of(&self, key: &EventKey, delivered: u64) -> bool {
        delivered <= 1 || self.notes.get(key).is_some_and(|note| note.delivered + 1 >= delivered)
    }

    /// The event is gone. Its place in the order stays until its turn comes.
    pub(crate) fn forget(&mut self, key: &EventKey) {
        self.notes.remove(key);
    }

    /// What is known of an event that NATS hands out for the `delivered`-th time: what was told when it returned last, or
    /// else the worst.
    pub(crate) fn of(&self, key: &EventKey, delivered: u64) -> RedeliveryNote {
        let known = self.notes.get(key).copied();
        if delivered <= 1 && known.is_none() {
            return RedeliveryNote { delivered, ..RedeliveryNote::default() };
        }
        let known = known.unwrap_or_default();
        // NATS 2.9 can miscount.
        let delivered = delivered.max(known.delivered + 1);
        RedeliveryNote {
            maybe_delivered: known.maybe_delivered || known.delivered + 1 < delivered,
            delivered,
            ..known
        }
    }
}

impl RedeliveryNote {
    /// As it is told.
    pub(crate) fn tell(&self, (queue, epoch, number): &EventKey) -> Bytes {
        let Self { delivered, untaken, maybe_delivered } = self;
        format!("{queue} {epoch} {number} {delivered} {untaken} {}", u8::from(*maybe_delivered)).into()
    }

    /// What was told, if it makes sense.
    pub(crate) fn hear(text: &[u8]) -> Option<(EventKey, Self)> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let key = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (delivered, untaken) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((key, Self { delivered, untaken, maybe_delivered: words.next()? != "0" }))
    }
}

/// How far the events of a queue have been handed out, as far as hosts have told each other.
///
/// What NATS has handed out it tells its other servers, or its disk, a little later. A server that dies before that leaves
/// one that hands out the same events again, as if for the first time. So events up to here are suspect then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandoutMark {
    epoch: u32,
    highest: u64,
    suspect: u64,
    /// Whether other hosts are about to be told.
    pub(crate) is_to_be_told: bool,
}

impl HandoutMark {
    /// An event was handed out. Gives whether it may have been before.
    pub(crate) fn pass(&mut self, epoch: u32, number: u64) -> bool {
        if self.epoch != epoch {
            *self = Self { epoch, is_to_be_told: self.is_to_be_told, ..Self::default() };
        }
        self.highest = self.highest.max(number);
        number <= self.suspect
    }

    /// NATS may have forgotten what it has handed out.
    pub(crate) fn suspect(&mut self) {
        self.suspect = self.highest;
    }

    /// As it is told. No queue has such a name as the first word.
    pub(crate) fn tell(&self, queue: &Name) -> Bytes {
        format!("* {queue} {} {}", self.epoch, self.highest).into()
    }

    /// What was told: up to which event.
    pub(crate) fn hear(text: &[u8]) -> Option<EventKey> {
        let mut words = std::str::from_utf8(text).ok()?.strip_prefix("* ")?.split(' ');
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> EventKey {
        ("q".parse().unwrap(), 7, number)
    }

    #[test]
    fn what_was_told_is_heard() {
        let note = RedeliveryNote { delivered: 3, untaken: 1, maybe_delivered: true };
        assert_eq!(RedeliveryNote::hear(&note.tell(&key(9))), Some((key(9), note)));
        for text in ["", "q", "q 1 2 3", "* 1 2 3 4 0", "\u{ff}"] {
            assert_eq!(RedeliveryNote::hear(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_was_not_told_is_taken_for_the_worst() {
        let mut notes = RedeliveryNotes::default();
        assert_eq!(notes.of(&key(1), 1), RedeliveryNote { delivered: 1, ..RedeliveryNote::default() });
        assert!(notes.of(&key(1), 2).maybe_delivered);
        notes.keep(key(1), RedeliveryNote { delivered: 1, untaken: 1, maybe_delivered: false });
        assert_eq!(notes.of(&key(1), 2), RedeliveryNote { delivered: 2, untaken: 1, maybe_delivered: false });
        assert!(notes.tell_of(&key(1), 2) && !notes.tell_of(&key(1), 3));
        // Somebody else had it in between, and died.
        assert_eq!(notes.of(&key(1), 3), RedeliveryNote { delivered: 3, untaken: 1, maybe_delivered: true });
    }

    #[test]
    fn what_nats_may_have_forgotten_is_suspect() {
        let mut mark = HandoutMark::default();
        assert!(!mark.pass(7, 3) && !mark.pass(7, 2));
        assert_eq!(HandoutMark::hear(&mark.tell(&"q".parse().unwrap())), Some(key(3)));
        assert_eq!(HandoutMark::hear(&RedeliveryNote::default().tell(&key(3))), None);
        mark.suspect();
        assert!(mark.pass(7, 3) && !mark.pass(7, 4));
        // Numbers of another life are others.
        assert!(!mark.pass(8, 3));
    }

    #[test]
    fn oldest_is_forgotten_first() {
        let mut notes = RedeliveryNotes::default();
        let note = RedeliveryNote { delivered: 1, untaken: 1, maybe_delivered: false };
        for number in 0..=MAX_NOTES as u64 {
            notes.keep(key(number), note);
        }
        assert!(notes.of(&key(0), 2).maybe_delivered);
        assert!(!notes.of(&key(1), 2).maybe_delivered);
        assert_eq!(notes.notes.len(), MAX_NOTES);
    }
}
