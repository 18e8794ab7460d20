//! Tells whether a file has changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Tells one state of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    place: (u64, u64),
    length: u64,
    /// Of its contents, and of all else, in seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Of a file, or what it is a link to. None if there is none. Blocks.
    pub fn of(file: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(file).ok()?;
        let place = (metadata.dev(), metadata.ino());
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Self { place, length: metadata.len(), modified, changed })
    }
    /// The same, in a thread that may block.
    pub async fn look(file: &Path) -> Option<Self> {
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || Self::of(&file)).await.ok()?
    }
}
