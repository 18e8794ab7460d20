//! A store's directory: whether it is one, and which format it has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::OpenError;

/// The first line of `FORMAT`. The number changes with anything that an older Linger would not understand.
const FORMAT: &str = "linger store 1";

/// A directory that can be read: empty, or of this format.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io(name(path), error);
        fs::create_dir_all(path).map_err(failed)?;
        match Self::existing(path) {
            Err(OpenError::Foreign(_)) if is_empty(path).map_err(failed)? => {
                fs::write(path.join("FORMAT"), format!("{FORMAT}\n")).map_err(failed)?;
                Ok(Self(path.to_owned()))
            }
            existing => existing,
        }
    }

    /// Takes a directory that has a store.
    pub(super) fn existing(path: &Path) -> Result<Self, OpenError> {
        fs::read_dir(path).map_err(|error| OpenError::Io(name(path), error))?;
        match fs::read(path.join("FORMAT")) {
            Ok(text) if text.trim_ascii() == FORMAT.as_bytes() => Ok(Self(path.to_owned())),
            Ok(text) => {
                let found = String::from_utf8_lossy(text.trim_ascii()).chars().take(40).collect();
                Err(OpenError::Format { directory: name(path), found, known: FORMAT })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::Foreign(name(path))),
            Err(error) => Err(OpenError::Io(name(path), error)),
        }
    }

    /// Where the engine has its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.0.join("events")
    }

    pub(super) fn name(&self) -> String {
        name(&self.0)
    }
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(path)?.next().is_none())
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
