//! Limits of the process.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of files that the process may have open as far as it may, and returns it; `None` is
/// no limit. Each connection needs one.
#[must_use]
pub fn raise_file_limit() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it cannot be raised, what there is counts.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}
