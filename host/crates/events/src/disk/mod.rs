//! Queues and topics that are also on disk, so that they survive a crash.
//!
//! All reads are from memory. The directory is only written, by one thread: all waiting changes are one
//! write, and one flush to the disk, however many wait for it (group commit).

mod directory;
mod engine;
mod record;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use linger_base::Name;
use linger_config::{Durability, QueuesConfig, TopicsConfig};

use super::StoreError;
use super::journal::{Journal, JournalEntry};
use super::local::LocalStore;
use directory::StoreDirectory;
use writer::{DiskWriter, WriteJob};

/// A store that is there again after a restart.
pub(crate) type DiskStore = LocalStore<DiskJournal>;

/// The reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be created, read or written.
    #[error("{0}: {1}; the process needs write access to the store's directory")]
    Io(String, std::io::Error),
    /// The directory has other files in it.
    #[error("{0}: the directory is not a store of Linger, and not empty; choose another one")]
    Foreign(String),
    /// It was written by a newer Linger, or its version cannot be read.
    #[error(
        "{directory}: the store has format {found:?}, and this version of Linger reads {known:?}; use the version that wrote it"
    )]
    Format {
        /// The directory.
        directory: String,
        /// What it says.
        found: String,
        /// What this one would say.
        known: &'static str,
    },
    /// Another process has it.
    #[error("{0}: the store is in use by another process; stop that process, or choose another directory")]
    InUse(String),
    /// The contents cannot be read.
    #[error(
        "{0}: the store is damaged: {1}; restore a backup, or move the directory away to start with an empty store"
    )]
    Damaged(String, String),
    /// The store in NATS cannot be reached or used.
    #[error("{0}")]
    Nats(String),
    /// The writer thread cannot be started.
    #[error("cannot start the store: {0}")]
    Thread(std::io::Error),
}

/// The contents of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryContents {
    /// The queues.
    pub queues: Vec<ContentCount>,
    /// The topics.
    pub topics: Vec<ContentCount>,
}

/// The contents of a queue or topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentCount {
    /// Its name.
    pub name: Name,
    /// How many events.
    pub events: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl DiskStore {
    /// Opens a directory, or makes it. Blocks while it reads all events.
    pub(crate) fn open(
        directory: &Path,
        durability: Durability,
        queues: QueuesConfig,
        topics: TopicsConfig,
    ) -> Result<Arc<Self>, OpenError> {
        let (writer, saved) = DiskWriter::open(&StoreDirectory::open(directory)?, durability)?;
        let journal = DiskJournal::start(writer).map_err(OpenError::Thread)?;
        Ok(Self::with_journal(queues, topics, journal, saved))
    }
}

/// Reads all that a directory holds, and fails with the first thing that is wrong. Blocks.
pub fn check(directory: &Path) -> Result<DirectoryContents, OpenError> {
    let (_, saved) = DiskWriter::open(&StoreDirectory::existing(directory)?, Durability::Buffered)?;
    let queues = contents(saved.events.iter().map(|record| (&record.queue, record.data.len())));
    let topics = contents(saved.published.iter().map(|record| (&record.topic, record.data.len())));
    Ok(DirectoryContents { queues, topics })
}

/// What events, which come name by name, make in all.
fn contents<'a>(events: impl Iterator<Item = (&'a Name, usize)>) -> Vec<ContentCount> {
    let mut contents: Vec<ContentCount> = Vec::new();
    for (name, size) in events {
        match contents.last_mut() {
            Some(content) if content.name == *name => {
                content.events += 1;
                content.bytes += size as u64;
            }
            _ => contents.push(ContentCount { name: name.clone(), events: 1, bytes: size as u64 }),
        }
    }
    contents
}

/// The way to the thread that writes. Dropped, it waits until that has written what it was given.
pub(crate) struct DiskJournal {
    jobs: Option<Sender<WriteJob>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskJournal {
    fn start(mut writer: DiskWriter) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }
}

impl Journal for DiskJournal {
    const KEEPS: bool = true;

    fn record<F>(&self, entry: JournalEntry, then: F) -> Option<F>
    where
        F: FnOnce(Result<(), StoreError>) + Send + 'static,
    {
        // Without a thread nobody is told, and whoever waits sees that.
        let _ = self.jobs.as_ref()?.send(WriteJob { entry, then: Box::new(then) });
        None
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        self.jobs = None;
        // What is told by that thread can be the last that has the store.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            // It panics only by a mistake, which it has reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
