//! The storage engine, which nothing else here names: an LSM tree with a log (fjall).

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::record;
use crate::config::Durability;
use crate::events::journal::{Entry, Record};

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
        fjall::Error::Poisoned => "a write failed, as on a full disk".to_owned(),
        error => error.to_string(),
    }
}

pub(super) struct Engine {
    database: Database,
    events: Keyspace,
    marks: Keyspace,
    mode: PersistMode,
}

impl Engine {
    pub(super) fn open(path: &Path, durability: Durability) -> fjall::Result<Self> {
        let database =
            Database::builder(path).cache_size(CACHE).max_journaling_size(LOG).worker_threads(1).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let events = database.keyspace("events", options)?;
        let marks = database.keyspace("marks", options)?;
        let mode = match durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        Ok(Self { database, events, marks, mode })
    }

    /// All events, queue by queue, the oldest first; or what is wrong with one.
    pub(super) fn read(&self) -> Result<Vec<Record>, String> {
        let mut records = Vec::new();
        for event in self.events.iter() {
            let (key, value) = event.into_inner().map_err(|error| why(&error))?;
            let unreadable = || format!("the event {} cannot be read", key.escape_ascii());
            let mut record = record::read_event(&key, &value).ok_or_else(unreadable)?;
            if let Some(mark) = self.marks.get(&key).map_err(|error| why(&error))? {
                record::apply_mark(&mut record, &mark).ok_or_else(unreadable)?;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Writes all of it or nothing.
    pub(super) fn write<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for entry in entries {
            match entry {
                Entry::Insert(record) => {
                    let key = record::key(&record.queue, record.sequence);
                    batch.insert(&self.events, key, record::event(record));
                }
                Entry::HandOut { queue, sequence, attempts, maybe_delivered } => {
                    let mark = record::mark(*attempts, *maybe_delivered, true);
                    batch.insert(&self.marks, record::key(queue, *sequence), mark);
                }
                Entry::PutBack { queue, sequence, attempts, maybe_delivered } => {
                    let mark = record::mark(*attempts, *maybe_delivered, false);
                    batch.insert(&self.marks, record::key(queue, *sequence), mark);
                }
                Entry::Remove { queue, sequence } => {
                    let key = record::key(queue, *sequence);
                    batch.remove(&self.events, key.clone());
                    batch.remove(&self.marks, key);
                }
            }
        }
        batch.commit()
    }
}
