//! The middleware of an app: components that see its requests first.

use std::path::{Path, PathBuf};

use super::compose;
use super::engine::{LoadError, Source};
use crate::stamp::Stamp;

/// The files that an app's component was composed with, as they were then.
#[derive(Debug, Default)]
pub(super) struct Middleware(Vec<(PathBuf, Option<Stamp>)>);

impl Middleware {
    /// Composes a component with these in front, the outermost first. Blocks.
    pub(super) fn compose(files: &[PathBuf], app: &Source) -> Result<(Self, Source), LoadError> {
        let mut composed = app.clone();
        let mut seen = Vec::new();
        for file in files.iter().rev() {
            // First: what changes meanwhile differs from it.
            seen.push((file.clone(), Stamp::of(file)));
            composed.bytes = in_front(file, &composed)?.into();
        }
        Ok((Self(seen), composed))
    }

    /// Whether the files have changed. Blocks.
    pub(super) fn has_changed(&self) -> bool {
        self.0.iter().any(|(file, seen)| Stamp::of(file) != *seen)
    }
}

fn in_front(file: &Path, inner: &Source) -> Result<Vec<u8>, LoadError> {
    let outer = Source::read(file)?;
    outer.check()?;
    let does_not_fit =
        |message| LoadError::Middleware { file: file.to_owned(), inner: inner.name.clone(), message };
    compose::in_front(outer.bytes.to_vec(), inner.bytes.to_vec()).map_err(does_not_fit)
}
