//! A server in a process of its own: how it is started, and what it uses.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Within this time a server is looked at once, to see whether it still does something.
const LOOK: Duration = Duration::from_millis(10);
/// What a server may use within that time and be called idle.
const IDLE: Duration = Duration::from_millis(1);

/// Where a server says on which address it listens.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    Stdout,
    Stderr,
}

/// Ends when it is dropped.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    // Closed, it would have nowhere to print to.
    _printed: Box<dyn BufRead + Send>,
    // What it reads, or is.
    _folder: Option<TempDir>,
}

impl Process {
    /// Starts a server, and waits until it has printed the `http://` or `https://` address on which it listens.
    pub(crate) fn start(command: &mut Command, says: Says, folder: Option<TempDir>) -> anyhow::Result<Self> {
        // With it, errors of Rust libraries take backtraces, and some are on the way of each request.
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
        match says {
            Says::Stdout => command.stdout(Stdio::piped()),
            Says::Stderr => command.stderr(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let printed: Option<Box<dyn BufRead + Send>> = match says {
            Says::Stdout => child.stdout.take().map(|pipe| Box::new(BufReader::new(pipe)) as _),
            Says::Stderr => child.stderr.take().map(|pipe| Box::new(BufReader::new(pipe)) as _),
        };
        let mut printed = printed.context("no output")?;
        match address(&mut printed) {
            Ok(address) => Ok(Self { child, address, _printed: printed, _folder: folder }),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context(format!("{} does not start", command.get_program().display())))
            }
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "a server did not end well: {ended}");
        Ok(())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CPU time that its threads have used so far.
    pub(crate) fn used(&self) -> anyhow::Result<Used> {
        used(self.child.id())
    }

    /// The KiB of memory that are in use.
    pub(crate) fn resident(&self) -> anyhow::Result<u32> {
        resident(self.child.id())
    }

    /// Waits until it has nothing more to do, and gives the time since when that is so.
    pub(crate) async fn idle(&self) -> anyhow::Result<Instant> {
        loop {
            let (since, before) = (Instant::now(), self.used()?);
            sleep(LOOK).await;
            if self.used()?.since(&before) < IDLE {
                return Ok(since);
            }
        }
    }
}

/// The CPU time that the threads of a process have used so far.
pub(crate) fn used(process: u32) -> anyhow::Result<Used> {
    let mut threads = HashMap::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = thread?;
        // It may have ended since.
        let Ok(figures) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let used = figures.split(' ').next().context("no figure")?.parse()?;
        threads.insert(thread.file_name(), used);
    }
    Ok(Used { threads })
}

/// The KiB of memory of a process that are in use.
pub(crate) fn resident(process: u32) -> anyhow::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Nanoseconds of each thread. In a sum, what a thread has used that ends would be missing later.
pub(crate) struct Used {
    threads: HashMap<OsString, u64>,
}

impl Used {
    /// Without the last moments of threads that have ended.
    pub(crate) fn since(&self, before: &Self) -> Duration {
        let used = self
            .threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(before.threads.get(thread).copied().unwrap_or_default()));
        Duration::from_nanos(used.sum())
    }
}

/// From the first line that has one.
fn address(printed: &mut dyn BufRead) -> anyhow::Result<SocketAddr> {
    let mut line = String::new();
    loop {
        line.clear();
        anyhow::ensure!(printed.read_line(&mut line)? != 0, "it says no address");
        if let Some((_, address)) = line.split_once("http://").or_else(|| line.split_once("https://")) {
            return Ok(address.trim_end().trim_end_matches('/').parse()?);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
