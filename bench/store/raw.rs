//! The engines alone, with the least that keeps the promise: one thread writes what all clients want as one
//! batch, and nobody has to be woken.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::backends::FileBackend;
use redb::{ReadableDatabase as _, ReadableTable as _, StorageBackend, TableDefinition};
use tempfile::TempDir;
use tokio::time::Instant;

use linger_config::Durability;

use super::{CLIENTS, StoreContestant, StoreWay, StoreWork, folder, queue};

/// A queue's name, 0 and a number, as in Linger's store.
pub(crate) type Key = Vec<u8>;

/// What the stores need of an engine. Each call is one batch.
pub(crate) trait RawEngine: Sized {
    const NAME: &'static str;

    fn open(directory: &Path, durability: Durability) -> anyhow::Result<Self>;
    /// Writes events down.
    fn insert(&mut self, keys: &[Key], data: &[u8]) -> anyhow::Result<()>;
    /// Writes down that they were handed out.
    fn mark(&mut self, keys: &[Key]) -> anyhow::Result<()>;
    /// Removes them, and what says that they were handed out, where something does.
    fn remove(&mut self, keys: &[Key], marked: bool) -> anyhow::Result<()>;
    /// Reads all, and says how many events there are.
    fn read(&self) -> anyhow::Result<usize>;
}

/// An engine and its directory.
pub(crate) struct Raw<E> {
    engine: E,
    _folder: TempDir,
    next: u64,
}

impl<E: RawEngine> Raw<E> {
    pub(crate) fn new(durability: Durability) -> anyhow::Result<Self> {
        let folder = folder()?;
        Ok(Self { engine: E::open(folder.path(), durability)?, _folder: folder, next: 0 })
    }
}

/// The keys of some new events.
pub(crate) fn keys(next: &mut u64, events: usize, queues: usize) -> Vec<Key> {
    let new = (*next..).take(events).zip((0..queues).cycle()).map(|(sequence, number)| {
        let mut key = queue(number).into_bytes();
        key.push(0);
        key.extend_from_slice(&sequence.to_be_bytes());
        key
    });
    let keys: Vec<_> = new.collect();
    *next += events as u64;
    keys
}

impl<E: RawEngine> StoreContestant for Raw<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn run(&mut self, work: StoreWork, cycles: u32) -> anyhow::Result<()> {
        let data = vec![b'x'; work.bytes];
        for _ in 0..cycles {
            let keys = keys(&mut self.next, CLIENTS, work.queues);
            self.engine.insert(&keys, &data)?;
            let marked = matches!(work.way, StoreWay::Stored);
            if marked {
                self.engine.mark(&keys)?;
            }
            self.engine.remove(&keys, marked)?;
        }
        Ok(())
    }

    fn lonely(&mut self, pushes: u32, data: &[u8]) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..pushes {
            let keys = keys(&mut self.next, 1, 1);
            let start = Instant::now();
            self.engine.insert(&keys, data)?;
            times.push(start.elapsed());
            self.engine.remove(&keys, false)?;
        }
        Ok(times)
    }
}

/// With the options that Linger gives it.
pub(crate) struct Fjall {
    database: fjall::Database,
    events: Keyspace,
    marks: Keyspace,
    mode: PersistMode,
}

impl Fjall {
    fn batch(&self) -> fjall::OwnedWriteBatch {
        self.database.batch().durability(Some(self.mode))
    }
}

impl RawEngine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(directory: &Path, durability: Durability) -> anyhow::Result<Self> {
        let database = fjall::Database::builder(directory)
            .cache_size(1 << 20)
            .max_journaling_size(64 << 20)
            .worker_threads(1)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
        let (events, marks) = (database.keyspace("events", options)?, database.keyspace("marks", options)?);
        let mode = match durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        Ok(Self { database, events, marks, mode })
    }

    fn insert(&mut self, keys: &[Key], data: &[u8]) -> anyhow::Result<()> {
        let mut batch = self.batch();
        for key in keys {
            batch.insert(&self.events, key.as_slice(), data);
        }
        Ok(batch.commit()?)
    }

    fn mark(&mut self, keys: &[Key]) -> anyhow::Result<()> {
        let mut batch = self.batch();
        for key in keys {
            batch.insert(&self.marks, key.as_slice(), [1]);
        }
        Ok(batch.commit()?)
    }

    fn remove(&mut self, keys: &[Key], marked: bool) -> anyhow::Result<()> {
        let mut batch = self.batch();
        for key in keys {
            batch.remove(&self.events, key.as_slice());
            if marked {
                batch.remove(&self.marks, key.as_slice());
            }
        }
        Ok(batch.commit()?)
    }

    fn read(&self) -> anyhow::Result<usize> {
        let mut events = 0;
        for event in self.events.iter() {
            let (key, _) = event.into_inner()?;
            self.marks.get(&key)?;
            events += 1;
        }
        Ok(events)
    }
}

const EVENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("events");
const MARKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("marks");

/// Without `fsync` it has nothing between the memory of the process and the disk: a kill loses what was
/// written since. Unless it is not told that its file is never flushed.
pub(crate) struct Redb<const FLUSHED: bool> {
    database: redb::Database,
    durability: redb::Durability,
}

/// A file that is safe from a kill. The engine counts on an order of its writes that flushes alone bring
/// about: a loss of power can damage all that it has.
#[derive(Debug)]
struct Unflushed(FileBackend);

impl StorageBackend for Unflushed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

impl<const FLUSHED: bool> Redb<FLUSHED> {
    fn transaction(&self) -> anyhow::Result<redb::WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        Ok(transaction)
    }
}

impl<const FLUSHED: bool> RawEngine for Redb<FLUSHED> {
    const NAME: &'static str = if FLUSHED { "redb" } else { "redb-u" };

    fn open(directory: &Path, durability: Durability) -> anyhow::Result<Self> {
        let path = directory.join("events.redb");
        let database = if FLUSHED {
            redb::Database::create(path)?
        } else {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            redb::Builder::new().create_with_backend(Unflushed(FileBackend::new(file)?))?
        };
        let created = database.begin_write()?;
        created.open_table(EVENTS)?;
        created.open_table(MARKS)?;
        created.commit()?;
        let durability = match durability {
            Durability::Buffered if FLUSHED => redb::Durability::None,
            Durability::Fsync | Durability::Buffered => redb::Durability::Immediate,
        };
        Ok(Self { database, durability })
    }

    fn insert(&mut self, keys: &[Key], data: &[u8]) -> anyhow::Result<()> {
        let transaction = self.transaction()?;
        let mut events = transaction.open_table(EVENTS)?;
        for key in keys {
            events.insert(key.as_slice(), data)?;
        }
        drop(events);
        Ok(transaction.commit()?)
    }

    fn mark(&mut self, keys: &[Key]) -> anyhow::Result<()> {
        let transaction = self.transaction()?;
        let mut marks = transaction.open_table(MARKS)?;
        for key in keys {
            marks.insert(key.as_slice(), [1].as_slice())?;
        }
        drop(marks);
        Ok(transaction.commit()?)
    }

    fn remove(&mut self, keys: &[Key], marked: bool) -> anyhow::Result<()> {
        let transaction = self.transaction()?;
        let mut events = transaction.open_table(EVENTS)?;
        let mut marks = transaction.open_table(MARKS)?;
        for key in keys {
            events.remove(key.as_slice())?;
            if marked {
                marks.remove(key.as_slice())?;
            }
        }
        drop((events, marks));
        Ok(transaction.commit()?)
    }

    fn read(&self) -> anyhow::Result<usize> {
        let transaction = self.database.begin_read()?;
        let (events, marks) = (transaction.open_table(EVENTS)?, transaction.open_table(MARKS)?);
        let mut read = 0;
        for event in events.iter()? {
            let (key, _) = event?;
            marks.get(key.value())?;
            read += 1;
        }
        Ok(read)
    }
}
