//! The kernel's metrics of this process, under the names that Prometheus has for them.

use std::fmt;

/// Passes on each metric: name, help and value. Values that the kernel does not have are left out.
pub fn encode(mut tell: impl FnMut(&str, &str, i64) -> fmt::Result) -> fmt::Result {
    if let Some(bytes) = resident() {
        tell("process_resident_memory_bytes", "Resident memory", bytes)?;
    }
    if let Some(files) = open_files() {
        tell("process_open_fds", "Open file descriptors", files)?;
    }
    Ok(())
}

fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    // One of them is this directory.
    i64::try_from(std::fs::read_dir("/proc/self/fd").ok()?.count()).ok().map(|count| count - 1)
}
