use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn retention(events: usize) -> Retention {
    Retention { events, bytes: u64::MAX, time: None }
}

fn kept(epoch: u32, sequence: u64) -> RetainedEvent {
    let cursor = Cursor { epoch, next: sequence + 1 };
    let event = PublishedEvent { cursor, data: Bytes::new(), content_type: None };
    RetainedEvent { sequence, time: 0, event: Arc::new(event) }
}

#[derive(Clone, Debug)]
enum TopicStep {
    Publish,
    /// Time takes all events.
    Empty,
    /// The process is killed, and this many of the last events were not on the disk.
    Restart(u64),
}

fn step() -> impl Strategy<Value = TopicStep> {
    prop_oneof![8 => Just(TopicStep::Publish), 1 => Just(TopicStep::Empty), 1 => (0..4u64).prop_map(TopicStep::Restart)]
}

/// What is written down. Each is written whole, or not at all.
#[derive(Clone)]
enum Entry {
    Publish(Cursor),
    Tidy(Range<u64>, Vec<TopicEpoch>, Option<TopicEpoch>),
}

/// A topic, what was written down of it, and what was published and lost.
struct TopicWorld {
    topic: LocalTopic,
    journal: Vec<Entry>,
    lost: Vec<Cursor>,
    epoch: u32,
    keep: usize,
}

impl TopicWorld {
    fn new(keep: usize) -> Self {
        let topic = LocalTopic::new(0, retention(keep), 0);
        Self { topic, journal: Vec::new(), lost: Vec::new(), epoch: 0, keep }
    }

    fn publish(&mut self) {
        if !self.topic.has_begun {
            self.topic.has_begun = true;
            self.epoch += 1;
            let (gone, begun) = self.topic.begin_epoch(self.epoch);
            self.journal.push(Entry::Tidy(0..0, gone, Some(begun)));
        }
        let kept = kept(self.epoch, self.topic.next);
        self.topic.next += 1;
        self.journal.push(Entry::Publish(kept.event.cursor));
        self.topic.add(kept);
        let trimmed = self.topic.trim(0);
        self.journal.push(Entry::Tidy(trimmed, Vec::new(), None));
    }

    /// Time takes all events.
    fn empty(&mut self) {
        self.topic.retention.time = Some(std::time::Duration::ZERO);
        let trimmed = self.topic.trim(1);
        self.topic.retention.time = None;
        if let (false, Some(epoch)) = (trimmed.is_empty(), self.topic.epochs.last().copied()) {
            let (gone, begun) = self.topic.begin_epoch(epoch.id);
            self.journal.push(Entry::Tidy(trimmed, gone, Some(begun)));
        }
    }

    fn restart(&mut self, lost: u64) {
        let kept_entries = self.journal.len().saturating_sub(usize::try_from(lost).unwrap());
        let lost = self.journal.split_off(kept_entries);
        self.lost.extend(published(&lost));
        let (mut epochs, mut events) = (Vec::new(), Vec::new());
        for entry in self.journal.clone() {
            match entry {
                Entry::Publish(cursor) => events.push(cursor),
                Entry::Tidy(trimmed, gone, begun) => {
                    events.retain(|cursor: &Cursor| !trimmed.contains(&(cursor.next - 1)));
                    epochs.retain(|epoch| !gone.contains(epoch));
                    epochs.extend(begun);
                }
            }
        }
        self.topic = LocalTopic::new(0, retention(self.keep), 0);
        epochs.sort_by_key(|epoch| (epoch.first, epoch.id));
        for epoch in epochs {
            self.topic.restore_epoch(epoch);
        }
        for cursor in events {
            self.topic.restore(kept(cursor.epoch, cursor.next - 1));
        }
        let trimmed = self.topic.trim(0);
        self.journal.push(Entry::Tidy(trimmed, Vec::new(), None));
    }
}

/// All that was ever published by these entries.
fn published(journal: &[Entry]) -> Vec<Cursor> {
    let cursors = journal.iter().filter_map(|entry| match entry {
        Entry::Publish(cursor) => Some(*cursor),
        Entry::Tidy(..) => None,
    });
    cursors.collect()
}

proptest! {
    /// Whatever was lost, and whichever cursor a reader has: it gets all that came after and is kept, and is told
    /// of the rest.
    #[test]
    fn no_cursor_is_confused(steps in proptest::collection::vec(step(), 1..60), keep in 1..20usize) {
        let mut world = TopicWorld::new(keep);
        for step in steps {
            match step {
                TopicStep::Publish => world.publish(),
                TopicStep::Empty => world.empty(),
                TopicStep::Restart(lost) => world.restart(lost),
            }
        }
        world.publish();
        let kept: Vec<_> = world.topic.events.iter().map(|kept| kept.event.cursor).collect();
        let all = published(&world.journal);
        for (index, cursor) in all.iter().enumerate() {
            let later = &all[index + 1..];
            let Some(batch) = world.topic.batch(Some(*cursor), 1000) else {
                prop_assert!(later.is_empty());
                continue;
            };
            let got: Vec<_> = batch.events.iter().map(|event| event.cursor).collect();
            let expected: Vec<_> = later.iter().filter(|cursor| kept.contains(cursor)).copied().collect();
            prop_assert!(got.ends_with(&expected), "{:?} after {:?}, not {:?}", got, cursor, expected);
            if !batch.restarted {
                prop_assert_eq!(&got, &expected);
                prop_assert_eq!(batch.missed, (later.len() - expected.len()) as u64);
            }
        }
        for cursor in &world.lost {
            // What is there has not been read by whoever read what is lost, or has been told not to be sure.
            if let Some(batch) = world.topic.batch(Some(*cursor), 1000) {
                prop_assert!(batch.restarted);
            }
        }
    }
}

#[test]
fn epoch_of_an_empty_topic_is_noted_once() {
    let mut topic = LocalTopic::new(0, retention(1), 0);
    topic.begin_epoch(7);
    for number in [5, 9, 12] {
        topic.next = number;
        topic.begin_epoch(7);
        topic.begin_epoch(7);
    }
    assert_eq!(topic.epochs, [TopicEpoch { id: 7, first: 0 }, TopicEpoch { id: 7, first: 12 }]);
    let (gone, _) = topic.begin_epoch(8);
    assert_eq!(gone, [TopicEpoch { id: 7, first: 12 }]);
    assert_eq!(topic.epochs, [TopicEpoch { id: 7, first: 0 }, TopicEpoch { id: 8, first: 12 }]);
}

#[test]
fn epochs_are_bounded() {
    let mut topic = LocalTopic::new(0, retention(1), 0);
    for number in 0..2 * MAX_EPOCHS as u64 {
        topic.next = number;
        topic.begin_epoch(u32::try_from(number).unwrap() + 1);
    }
    assert_eq!(topic.epochs.len(), MAX_EPOCHS);
}
