//! The log, for clients that follow it. Without such clients it does no work.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Layer, Registry};

use super::json::JsonLayer;
use super::wanted::DynamicFilter;

/// Lines that are kept for one who is slow. More are missed, and it is told how many.
const KEPT: usize = 4096;

/// All levels, the rarest first.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// A line of the log, as JSON.
#[derive(Clone, Debug)]
pub struct LogLine {
    target: String,
    level: Level,
    /// The object, with the end of the line.
    pub json: Bytes,
}

impl LogLine {
    /// Whether it tells of a request that has ended.
    #[must_use]
    pub fn is_access(&self) -> bool {
        self.target == "linger::access"
    }
}

/// Where lines go to those who follow.
#[derive(Clone)]
pub(super) struct LogFollowers(Arc<FollowerState>);

struct FollowerState {
    lines: broadcast::Sender<LogLine>,
    /// What each of them wants.
    wanted: Mutex<Vec<Arc<Targets>>>,
    /// What any of them wants.
    filter: DynamicFilter,
}

/// One who follows the log, until it is dropped.
pub struct LogFollower {
    lines: broadcast::Receiver<LogLine>,
    wanted: Arc<Targets>,
    followers: LogFollowers,
}

/// The next item of a follower.
#[derive(Debug)]
pub enum FollowStep {
    /// A line.
    Line(LogLine),
    /// There were more lines than one who is so slow can have: so many are missing.
    Missed(u64),
}

impl LogFollowers {
    /// Those who will follow, and the layer that makes their lines.
    pub(super) fn new() -> (Self, impl Layer<Registry> + Send + Sync + use<>) {
        let filter = DynamicFilter::new(Targets::new());
        let (lines, _) = broadcast::channel(KEPT);
        let shared = FollowerState { lines: lines.clone(), wanted: Mutex::default(), filter: filter.clone() };
        let layer = JsonLayer::to(move |line, of| {
            let (target, level) = (of.target().to_owned(), *of.level());
            // Without a follower it goes nowhere.
            let _ = lines.send(LogLine { target, level, json: Bytes::copy_from_slice(line.as_bytes()) });
        });
        (Self(Arc::new(shared)), layer.with_filter(filter))
    }

    pub(super) fn follow(&self, wanted: Targets) -> LogFollower {
        let wanted = Arc::new(wanted);
        let lines = self.0.lines.subscribe();
        self.change(|all| all.push(wanted.clone()));
        LogFollower { lines, wanted, followers: self.clone() }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Targets>>)) {
        let mut all = self.wanted();
        change(&mut all);
        self.0.filter.set(union(&all));
    }

    fn wanted(&self) -> MutexGuard<'_, Vec<Arc<Targets>>> {
        self.0.wanted.lock()
    }
}

impl LogFollower {
    /// Waits for the next line that it wants. None if there is no log any more. Cancel-safe.
    pub async fn next(&mut self) -> Option<FollowStep> {
        loop {
            match self.lines.recv().await {
                Ok(line) if self.wanted.would_enable(&line.target, &line.level) => {
                    return Some(FollowStep::Line(line));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(FollowStep::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for LogFollower {
    fn drop(&mut self) {
        let wanted = self.wanted.clone();
        self.followers.change(|all| {
            if let Some(index) = all.iter().position(|one| Arc::ptr_eq(one, &wanted)) {
                all.swap_remove(index);
            }
        });
    }
}

/// What any of them wants.
fn union(all: &[Arc<Targets>]) -> Targets {
    let default = all.iter().filter_map(|one| one.default_level()).max();
    let names: Vec<&str> = all.iter().flat_map(|one| one.iter()).map(|(name, _)| name).collect();
    let level = |name: &str| {
        let wanted = |level: &&Level| all.iter().any(|one| one.would_enable(name, level));
        LEVELS.iter().rfind(wanted).map_or(LevelFilter::OFF, |&level| LevelFilter::from_level(level))
    };
    Targets::new()
        .with_default(default.unwrap_or(LevelFilter::OFF))
        .with_targets(names.iter().map(|name| ((*name).to_owned(), level(name))))
}
