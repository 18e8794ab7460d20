//! The writer thread: all waiting changes are one batch.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::time::Instant;

use linger_config::Durability;

use super::OpenError;
use super::directory::StoreDirectory;
use super::engine::{DiskEngine, why};
use crate::StoreError;
use crate::journal::{JournalEntry, SavedEvents};

/// Entries in one batch: enough to share a flush among many, few enough not to keep the first waiting.
const BATCH: usize = 1024;

/// Bytes after which a batch takes no more: it is in memory twice, and its first entry waits for all of it.
const BATCH_BYTES: usize = 8 << 20;

/// Between attempts to open the directory again.
const PAUSE: Duration = Duration::from_secs(1);

/// An entry, and who waits for it.
pub(super) struct WriteJob {
    pub(super) entry: JournalEntry,
    pub(super) then: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// Has the directory for itself.
pub(super) struct DiskWriter {
    path: PathBuf,
    durability: Durability,
    /// `None` after it failed: an engine that could not write may have written a part.
    engine: Option<DiskEngine>,
    failed_at: Instant,
    /// What has to be written when the directory can be again: events that are gone, those whose push was refused
    /// half-way, and what topics have dropped.
    owed: VecDeque<JournalEntry>,
}

impl DiskWriter {
    /// Opens the directory, and reads what it holds.
    pub(super) fn open(
        directory: &StoreDirectory,
        durability: Durability,
    ) -> Result<(Self, SavedEvents), OpenError> {
        let path = directory.engine();
        let engine = DiskEngine::open(&path, durability).map_err(|error| match error {
            fjall::Error::Locked => OpenError::InUse(directory.name()),
            fjall::Error::Io(error) => OpenError::Io(directory.name(), error),
            error => OpenError::Damaged(directory.name(), why(&error)),
        })?;
        let saved = engine.read().map_err(|how| OpenError::Damaged(directory.name(), how))?;
        let failed_at = Instant::now();
        Ok((Self { path, durability, engine: Some(engine), failed_at, owed: VecDeque::new() }, saved))
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(&mut self, jobs: &Receiver<WriteJob>) {
        let mut batch = Vec::new();
        loop {
            match jobs.recv_timeout(PAUSE) {
                Ok(first) => batch.push(first),
                // What is owed does not wait for others.
                Err(RecvTimeoutError::Timeout) => drop(self.engine()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let mut bytes = 0;
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(next) = jobs.try_recv() else { break };
                bytes += next.entry.size();
                batch.push(next);
            }
            if !batch.is_empty() {
                let written = self.write(&batch);
                for job in batch.drain(..) {
                    (job.then)(written.clone());
                }
            }
        }
        // The last chance, whenever the last one was.
        if self.engine.is_none()
            && let Err(how) = self.open_again()
        {
            tracing::error!("the store cannot write to {}: {how}", self.path.display());
        }
    }

    fn write(&mut self, batch: &[WriteJob]) -> Result<(), StoreError> {
        let entries = || batch.iter().map(|job| &job.entry);
        let written = self.engine().and_then(|engine| engine.write(entries()).map_err(|error| why(&error)));
        written.map_err(|how| {
            let tried = self.engine.take().is_some();
            if tried {
                tracing::error!("the store cannot write to {}: {how}", self.path.display());
                self.failed_at = Instant::now();
            }
            self.owed.extend(entries().filter_map(|entry| entry.undone(tried)));
            StoreError::Unavailable(Arc::from(how))
        })
    }

    /// The engine, opened again if it failed some time ago.
    fn engine(&mut self) -> Result<&DiskEngine, String> {
        if self.engine.is_none() {
            if self.failed_at.elapsed() < PAUSE {
                return Err("the last write to the directory failed".to_owned());
            }
            self.open_again()?;
        }
        self.engine.as_ref().ok_or_else(|| "the store does not exist".to_owned())
    }

    /// Opens the engine, and writes what is owed.
    fn open_again(&mut self) -> Result<(), String> {
        self.failed_at = Instant::now();
        let engine = DiskEngine::open(&self.path, self.durability).map_err(|error| why(&error))?;
        while !self.owed.is_empty() {
            let some = self.owed.len().min(BATCH);
            engine.write(self.owed.iter().take(some)).map_err(|error| why(&error))?;
            self.owed.drain(..some);
        }
        tracing::info!("the store writes to {} again", self.path.display());
        self.engine = Some(engine);
        Ok(())
    }
}
