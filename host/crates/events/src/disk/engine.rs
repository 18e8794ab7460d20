//! The storage engine, which nothing else here names: an LSM tree with a log (fjall).

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use linger_base::Name;
use linger_config::Durability;

use super::record;
use crate::journal::{JournalEntry, SavedEvents, TopicTrim};

/// What the engine keeps in memory to read: hardly anything, for it is read once.
const CACHE: u64 = 1 << 20;
/// What it has in its log at most, in bytes, before it is merged: the least that it takes.
const LOG: u64 = 64 << 20;
/// What it has in memory before it writes a table, in bytes.
const MEMTABLE: u64 = 8 << 20;

/// Why the engine failed, in words for a log.
pub(super) fn why(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => error.to_string(),
        fjall::Error::Poisoned => "a write failed; the disk may be full".to_owned(),
        error => error.to_string(),
    }
}

pub(super) struct DiskEngine {
    database: Database,
    events: Keyspace,
    marks: Keyspace,
    published: Keyspace,
    epochs: Keyspace,
    mode: PersistMode,
}

impl DiskEngine {
    pub(super) fn open(path: &Path, durability: Durability) -> fjall::Result<Self> {
        let database =
            Database::builder(path).cache_size(CACHE).max_journaling_size(LOG).worker_threads(1).open()?;
        let keyspace =
            |name| database.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE));
        Ok(Self {
            events: keyspace("events")?,
            marks: keyspace("marks")?,
            published: keyspace("published")?,
            epochs: keyspace("epochs")?,
            mode: match durability {
                Durability::Fsync => PersistMode::SyncData,
                Durability::Buffered => PersistMode::Buffer,
            },
            database,
        })
    }

    /// All that is there, or what is wrong with a part.
    pub(super) fn read(&self) -> Result<SavedEvents, String> {
        let mut events = all(&self.events, record::read_event)?;
        for event in &mut events {
            let key = record::key(&event.queue, event.sequence);
            if let Some(mark) = self.marks.get(&key).map_err(|error| why(&error))? {
                record::apply_mark(event, &mark).ok_or_else(|| unreadable(&key))?;
            }
        }
        let epochs = all(&self.epochs, |key, _| record::read_epoch(key))?;
        Ok(SavedEvents { events, epochs, published: all(&self.published, record::read_published)? })
    }

    /// Writes all of it or nothing.
    pub(super) fn write<'a>(&self, entries: impl Iterator<Item = &'a JournalEntry>) -> fjall::Result<()> {
        let mut batch =
            OwnedWriteBatch::with_capacity(self.database.clone(), entries.size_hint().1.unwrap_or(0))
                .durability(Some(self.mode));
        entries.for_each(|entry| self.add(&mut batch, entry));
        batch.commit()
    }

    fn add(&self, batch: &mut OwnedWriteBatch, entry: &JournalEntry) {
        match entry {
            JournalEntry::Insert(record) => {
                batch.insert(
                    &self.events,
                    record::key(&record.queue, record.sequence),
                    record::event(record),
                );
            }
            JournalEntry::HandOut { queue, sequence, attempts, maybe_delivered } => {
                let mark = record::mark(*attempts, *maybe_delivered, true);
                batch.insert(&self.marks, record::key(queue, *sequence), mark);
            }
            JournalEntry::Requeue { queue, sequence, attempts, maybe_delivered } => {
                let mark = record::mark(*attempts, *maybe_delivered, false);
                batch.insert(&self.marks, record::key(queue, *sequence), mark);
            }
            JournalEntry::Move { from, record } => {
                self.remove(batch, from, record.sequence, true);
                let key = record::key(&record.queue, record.sequence);
                batch.insert(&self.events, key.clone(), record::event(record));
                batch.insert(&self.marks, key, record::mark(record.attempts, record.maybe_delivered, false));
            }
            JournalEntry::Remove { queue, sequence, marked } => self.remove(batch, queue, *sequence, *marked),
            JournalEntry::Publish(record) => {
                let key = record::key(&record.topic, record.sequence);
                batch.insert(&self.published, key, record::published(record));
            }
            JournalEntry::Trim(tidy) => self.tidy(batch, tidy),
        }
    }

    fn tidy(&self, batch: &mut OwnedWriteBatch, tidy: &TopicTrim) {
        let TopicTrim { topic, trimmed, forgotten, begun } = tidy;
        for number in trimmed.clone() {
            batch.remove(&self.published, record::key(topic, number));
        }
        for epoch in forgotten.iter().filter(|epoch| Some(**epoch) != *begun) {
            batch.remove(&self.epochs, record::epoch_key(topic, *epoch));
        }
        if let Some(epoch) = begun {
            batch.insert(&self.epochs, record::epoch_key(topic, *epoch), []);
        }
    }

    fn remove(&self, batch: &mut OwnedWriteBatch, queue: &Name, sequence: u64, marked: bool) {
        let key = record::key(queue, sequence);
        if marked {
            batch.remove(&self.marks, key.clone());
        }
        batch.remove(&self.events, key);
    }
}

/// All of a keyspace, by name and number.
fn all<T>(keyspace: &Keyspace, read: impl Fn(&[u8], &[u8]) -> Option<T>) -> Result<Vec<T>, String> {
    let items = keyspace.iter().map(|item| {
        let (key, value) = item.into_inner().map_err(|error| why(&error))?;
        read(&key, &value).ok_or_else(|| unreadable(&key))
    });
    items.collect()
}

fn unreadable(key: &[u8]) -> String {
    format!("cannot read the entry {}", key.escape_ascii())
}
