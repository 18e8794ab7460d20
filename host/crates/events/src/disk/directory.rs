//! A store's directory: whether it is one, and which format it has.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::OpenError;

/// The first line of `FORMAT`. The number changes with anything that an older Linger would not understand.
const FORMAT: &str = "linger store 1";

/// `FORMAT`, until it is all there.
const UNFINISHED: &str = "FORMAT.new";

/// A directory that can be read: empty, or of this format.
pub(super) struct StoreDirectory(PathBuf);

impl StoreDirectory {
    /// Makes the directory if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io(name(path), error);
        fs::create_dir_all(path).map_err(failed)?;
        match Self::existing(path) {
            Err(OpenError::Foreign(_)) if is_empty(path).map_err(failed)? => {
                write_format(path).map_err(failed)?;
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

/// All of it, for as long as what comes after.
fn write_format(path: &Path) -> io::Result<()> {
    let new = path.join(UNFINISHED);
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(new, path.join("FORMAT"))?;
    File::open(path)?.sync_all()
}

fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != UNFINISHED {
            return Ok(false);
        }
    }
    Ok(true)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
