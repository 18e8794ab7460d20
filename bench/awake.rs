//! Processors that do not sleep.
//!
//! One that has nothing to do is halted, and to wake it takes the hypervisor of a virtual machine tens of microseconds: for each
//! message between two threads that wait for each other, whoever they are. Meanwhile these have the least thing to do.

use std::process::{Child, Command};

use crate::peers::installed;

/// Some minutes, so that it ends even if nobody ends it.
const LOOP: &str = "i=0; while [ $i -lt 300000000 ]; do i=$((i + 1)); done";

/// Loops that run where nothing else does. Dropped, they end.
pub(crate) struct Awake(Vec<Child>);

impl Awake {
    /// One for each processor. None, with a line, without `chrt` of util-linux.
    pub(crate) fn keep() -> anyhow::Result<Option<Self>> {
        if !installed("processors that do not sleep", "chrt", "--version") {
            return Ok(None);
        }
        let mut awake = Self(Vec::new());
        for _ in 0..std::thread::available_parallelism()?.get() {
            let mut idle = Command::new("chrt");
            awake.0.push(idle.args(["--idle", "0", "sh", "-c", LOOP]).spawn()?);
        }
        Ok(Some(awake))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // It may have ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
