//! This host's copy of a topic's stream, shared by all its readers. It does nothing by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use linger_config::Retention;

use crate::nats::queue::state::millis;
use crate::{Cursor, PublishedEvent, TopicBatch};

pub(crate) struct TopicMirror {
    epoch: u32,
    /// In the order of their numbers, which are those of the stream less one. There may be gaps.
    events: VecDeque<MirroredEvent>,
    bytes: u64,
    /// The number of the first event that may be kept.
    first: u64,
    /// The number of the next event.
    next: u64,
}

struct MirroredEvent {
    number: u64,
    /// When it was published, in milliseconds since 1970.
    time: u64,
    size: u64,
    event: Arc<PublishedEvent>,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MirrorRead {
    Events(TopicBatch),
    /// The cursor is after the last event that is known.
    Ahead,
}

impl TopicMirror {
    /// A stream of this epoch that keeps events from `first` on, before any is here.
    pub(crate) fn new(epoch: u32, first: u64) -> Self {
        Self { epoch, events: VecDeque::new(), bytes: 0, first, next: first }
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The number of the next event, which is the stream's sequence of the last.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// An event with the stream's sequence. One that is here already is left out.
    pub(crate) fn add(
        &mut self,
        (sequence, time, size): (u64, u64, u64),
        data: bytes::Bytes,
        content_type: Option<Arc<str>>,
    ) {
        let number = sequence.saturating_sub(1);
        if number < self.next {
            return;
        }
        let cursor = Cursor { epoch: self.epoch, next: number + 1 };
        self.events.push_back(MirroredEvent {
            number,
            time,
            size,
            event: Arc::new(PublishedEvent { cursor, data, content_type }),
        });
        self.bytes += size;
        self.next = number + 1;
    }

    /// Drops what the stream keeps no longer.
    pub(crate) fn trim(&mut self, retention: &Retention, now: u64) {
        while let Some(oldest) = self.events.front() {
            let is_over = self.events.len() > retention.events
                || (self.events.len() > 1 && self.bytes > retention.bytes)
                || retention.time.is_some_and(|time| oldest.time.saturating_add(millis(time)) <= now);
            if !is_over {
                break;
            }
            self.first = oldest.number + 1;
            self.bytes -= oldest.size;
            self.events.pop_front();
        }
    }

    /// What comes after a cursor. With `is_complete`, the stream surely has nothing that is not here.
    pub(crate) fn look(&self, after: Option<Cursor>, limit: usize, is_complete: bool) -> Option<MirrorRead> {
        let (number, restarted) = match after {
            None => (self.first, false),
            Some(Cursor::START) => (0, false),
            Some(cursor) if cursor.epoch != self.epoch => (0, true),
            Some(cursor) if cursor.next <= self.next => (cursor.next, false),
            // The stream has lost what came before the cursor, and what comes now has not been read.
            Some(_) if is_complete => (self.next, true),
            Some(_) => return Some(MirrorRead::Ahead),
        };
        let start = self.events.partition_point(|kept| kept.number < number);
        let events: Vec<_> = self.events.range(start..).take(limit).map(|kept| kept.event.clone()).collect();
        let last = events.last()?;
        let missed = if restarted { 0 } else { self.first.saturating_sub(number) };
        Some(MirrorRead::Events(TopicBatch { next: last.cursor, events, missed, restarted }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mirror(numbers: &[u64]) -> TopicMirror {
        let mut mirror = TopicMirror::new(7, numbers.first().copied().unwrap_or_default());
        for number in numbers {
            mirror.add((number + 1, *number, 10), number.to_string().into(), None);
        }
        mirror
    }

    fn look(mirror: &TopicMirror, epoch: u32, next: u64) -> (String, u64, bool) {
        match mirror.look(Some(Cursor { epoch, next }), 10, true) {
            Some(MirrorRead::Events(batch)) => {
                let texts =
                    batch.events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned());
                (texts.collect::<Vec<_>>().join(" "), batch.missed, batch.restarted)
            }
            other => (format!("{other:?}"), 0, false),
        }
    }

    #[test]
    fn cursor_says_where_to_go_on() {
        let mirror = mirror(&[3, 4, 6]);
        assert_eq!(look(&mirror, 7, 4), ("4 6".to_owned(), 0, false));
        assert_eq!(look(&mirror, 7, 5), ("6".to_owned(), 0, false));
        assert_eq!(look(&mirror, 7, 7), ("None".to_owned(), 0, false));
        assert_eq!(look(&mirror, 7, 1), ("3 4 6".to_owned(), 2, false));
        assert_eq!(look(&mirror, 0, 0), ("3 4 6".to_owned(), 3, false));
        assert_eq!(look(&mirror, 8, 5), ("3 4 6".to_owned(), 0, true));
    }

    #[test]
    fn cursor_that_is_ahead_waits_until_it_is_known_to_be_wrong() {
        let mut mirror = mirror(&[0, 1]);
        let ahead = Some(Cursor { epoch: 7, next: 9 });
        assert_eq!(mirror.look(ahead, 10, false), Some(MirrorRead::Ahead));
        assert_eq!(mirror.look(ahead, 10, true), None);
        mirror.add((3, 0, 10), "2".into(), None);
        // It is told only with an event that comes after.
        assert_eq!(mirror.look(ahead, 10, false), Some(MirrorRead::Ahead));
    }

    #[test]
    fn what_is_here_already_does_not_come_twice() {
        let mut mirror = mirror(&[0, 1]);
        mirror.add((2, 0, 10), "again".into(), None);
        assert_eq!(look(&mirror, 0, 0), ("0 1".to_owned(), 0, false));
    }

    #[test]
    fn retention_drops_the_oldest() {
        let retention = |events, bytes, time| Retention { events, bytes, time };
        for (retention, rest, missed) in [
            (retention(2, 100, None), "1 2", 1),
            (retention(9, 10, None), "2", 2),
            (retention(9, 1, None), "2", 2),
            (retention(9, 100, Some(Duration::from_millis(10))), "2", 2),
        ] {
            let mut mirror = mirror(&[0, 1, 2]);
            mirror.trim(&retention, 11);
            assert_eq!(look(&mirror, 0, 0), (rest.to_owned(), missed, false), "{retention:?}");
        }
    }
}
