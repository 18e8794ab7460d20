//! The thread that writes: whatever waits is one batch.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::time::Instant;

use super::OpenError;
use super::directory::Directory;
use super::engine::{Engine, why};
use crate::config::Durability;
use crate::events::StoreError;
use crate::events::journal::{Entry, Saved};

/// Entries in one batch: enough to share a flush among many, few enough not to keep the first waiting.
const BATCH: usize = 1024;

/// Between attempts to open the directory again.
const PAUSE: Duration = Duration::from_secs(1);

/// An entry, and who waits for it.
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) then: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// Has the directory for itself.
pub(super) struct Writer {
    path: PathBuf,
    durability: Durability,
    /// `None` after it failed: an engine that could not write may have written a part.
    engine: Option<Engine>,
    failed_at: Instant,
    /// What has to go from the directory when it can be written again: events that are gone, and those whose
    /// push was refused.
    owed: Vec<Entry>,
}

impl Writer {
    /// Opens the directory, and reads what it holds.
    pub(super) fn open(directory: &Directory, durability: Durability) -> Result<(Self, Saved), OpenError> {
        let path = directory.engine();
        let engine = Engine::open(&path, durability).map_err(|error| match error {
            fjall::Error::Locked => OpenError::InUse(directory.name()),
            fjall::Error::Io(error) => OpenError::Io(directory.name(), error),
            error => OpenError::Damaged(directory.name(), why(&error)),
        })?;
        let saved = engine.read().map_err(|how| OpenError::Damaged(directory.name(), how))?;
        let failed_at = Instant::now();
        Ok((Self { path, durability, engine: Some(engine), failed_at, owed: Vec::new() }, saved))
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let batch: Vec<_> = std::iter::once(first).chain(jobs.try_iter().take(BATCH - 1)).collect();
            let written = self.write(&batch);
            for job in batch {
                (job.then)(written.clone());
            }
        }
    }

    fn write(&mut self, batch: &[Job]) -> Result<(), StoreError> {
        let entries = || batch.iter().map(|job| &job.entry);
        let written = self.engine().and_then(|engine| engine.write(entries()).map_err(|error| why(&error)));
        written.map_err(|how| {
            if self.engine.take().is_some() {
                tracing::error!("the store cannot write to {}: {how}", self.path.display());
                self.failed_at = Instant::now();
            }
            self.owed.extend(entries().filter_map(Entry::undone));
            StoreError::Unavailable(Arc::from(how))
        })
    }

    /// The engine, opened again if it failed some time ago.
    fn engine(&mut self) -> Result<&Engine, String> {
        if self.engine.is_none() {
            if self.failed_at.elapsed() < PAUSE {
                return Err("the directory could not be written a moment ago".to_owned());
            }
            self.failed_at = Instant::now();
            let engine = Engine::open(&self.path, self.durability).map_err(|error| why(&error))?;
            engine.write(self.owed.iter()).map_err(|error| why(&error))?;
            self.owed.clear();
            tracing::info!("the store writes to {} again", self.path.display());
            self.engine = Some(engine);
        }
        self.engine.as_ref().ok_or_else(|| "there is no store".to_owned())
    }
}
