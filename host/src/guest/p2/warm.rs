//! Instances without a request, kept for the next one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Instance;
use crate::guest::Lane;

/// How long an instance is kept for the next request.
const IDLE: Duration = Duration::from_secs(10);

/// The warm instances of a lane. The one that was used last is used next, so that the others can go.
pub(super) struct Warm {
    /// So many stay, however long nobody wants them.
    ready: usize,
    kept: Mutex<Kept>,
    closed: Notify,
    /// Whether somebody starts some.
    starting: AtomicBool,
}

#[derive(Default)]
struct Kept {
    /// The one that waits longest comes first.
    instances: Vec<(Instant, Instance)>,
    /// Whether the app has gone.
    closed: bool,
}

/// Who starts instances for a lane. There is one at a time.
pub(super) struct Starting(Arc<Warm>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.starting.store(false, Ordering::Release);
    }
}

impl Warm {
    pub(super) fn new(ready: usize) -> Arc<Self> {
        let (kept, closed, starting) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Arc::new(Self { ready, kept, closed, starting })
    }

    /// Whether there are fewer than should be ready.
    pub(super) fn lacks(&self) -> bool {
        let kept = self.lock();
        !kept.closed && kept.instances.len() < self.ready
    }

    /// Lets the caller start what is lacking, unless somebody does already.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Starting> {
        let begins = self.lacks() && !self.starting.swap(true, Ordering::AcqRel);
        begins.then(|| Starting(self.clone()))
    }

    pub(super) fn take(&self) -> Option<Instance> {
        self.lock().instances.pop().map(|(_, instance)| instance)
    }

    /// Keeps an instance for a while, if the app is still there. Somebody in `lane` sees to it that it is not for longer.
    pub(super) fn put(self: &Arc<Self>, instance: Instance, lane: &Lane) {
        let mut kept = self.lock();
        if kept.closed {
            drop(kept);
            return;
        }
        kept.instances.push((Instant::now(), instance));
        if kept.instances.len() == self.ready + 1 {
            let this = self.clone();
            lane.tasks.spawn(async move { this.expire().await });
        }
    }

    /// Drops all. Nothing is put here any more.
    pub(super) fn close(&self) {
        let mut kept = self.lock();
        kept.closed = true;
        let instances = std::mem::take(&mut kept.instances);
        drop(kept);
        drop(instances);
        self.closed.notify_waiters();
    }

    /// Drops those that have waited for long, until only those are left that should be ready.
    async fn expire(&self) {
        loop {
            let closed = self.closed.notified();
            let Some(oldest) = self.lock().oldest(self.ready) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(oldest + IDLE) => {}
                () = closed => return,
            }
            let mut kept = self.lock();
            let surplus = kept.instances.len().saturating_sub(self.ready);
            let expired: Vec<_> =
                kept.instances.extract_if(..surplus, |(since, _)| since.elapsed() >= IDLE).collect();
            drop(kept);
            drop(expired);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Since when the one waits that is the first to go, if there are more than this.
    fn oldest(&self, ready: usize) -> Option<Instant> {
        self.instances.first().filter(|_| self.instances.len() > ready).map(|(since, _)| *since)
    }
}
