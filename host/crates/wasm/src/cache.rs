//! Compiled code on disk, so that a second start compiles nothing.
//!
//! It is wasmtime's own cache: its entries are named by a digest of the component and of all settings of the compiler, and
//! it keeps itself within bounds. What is in it is run without being checked again. So it has to be in a directory that
//! nobody else can write to.

use std::path::Path;

use wasmtime::{Cache, CacheConfig};

/// Opens the cache in a directory, which is made if it is not there. Where that fails the log says why: the server then
/// compiles at each start.
pub(super) fn open(directory: &Path) -> Option<Cache> {
    let opened = make(directory).and_then(|()| {
        let mut config = CacheConfig::new();
        // As the library wants it.
        config.with_directory(directory.canonicalize().map_err(|error| error.to_string())?);
        Cache::new(config).map_err(|error| format!("{error:#}"))
    });
    match opened {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!("cannot cache compiled code in {}: {error}", directory.display());
            None
        }
    }
}

#[cfg(unix)]
fn make(directory: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    /// Others, and the group, may write.
    const SHARED: u32 = 0o022;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let permissions =
        made.and_then(|()| directory.metadata()).map_err(|error| error.to_string())?.permissions().mode();
    if permissions & SHARED == 0 {
        Ok(())
    } else {
        Err(format!("other users can write to the directory; run `chmod go-w {}`", directory.display()))
    }
}

#[cfg(not(unix))]
fn make(directory: &Path) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())
}
