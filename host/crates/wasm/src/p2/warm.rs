//! Warm instances, kept for the next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Instance;
use crate::Lane;

/// How long an instance is kept for the next request.
const IDLE: Duration = Duration::from_secs(10);

/// How long those that should be ready are, after the last request. Those of a generation that was replaced go so, too.
const READY: Duration = Duration::from_mins(5);

/// The warm instances of a lane. The one that was used last is used next, so that the others can go.
pub(super) struct Warm {
    /// So many are kept as long as requests come.
    ready: usize,
    kept: Mutex<Kept>,
    closed: Notify,
}

struct Kept {
    /// The one that waits longest comes first.
    instances: Vec<(Instant, Instance)>,
    /// When a request came last.
    wanted: Instant,
    /// Whether somebody sees to it that none is kept for too long.
    watched: bool,
    /// Whether somebody starts some.
    starting: bool,
    /// Whether the app has gone.
    closed: bool,
}

/// Who starts instances for a lane. There is one at a time.
pub(super) struct Starting(Arc<Warm>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.lock().starting = false;
    }
}

impl Warm {
    pub(super) fn new(ready: usize) -> Arc<Self> {
        let kept = Kept {
            instances: Vec::new(),
            wanted: Instant::now(),
            watched: false,
            starting: false,
            closed: false,
        };
        Arc::new(Self { ready, kept: Mutex::new(kept), closed: Notify::new() })
    }

    pub(super) fn take(&self) -> Option<Instance> {
        self.lock().instances.pop().map(|(_, instance)| instance)
    }

    /// One that has served nobody yet.
    pub(super) fn take_fresh(&self) -> Option<Instance> {
        let mut kept = self.lock();
        let index = kept.instances.iter().position(|(_, instance)| instance.uses == 0)?;
        Some(kept.instances.remove(index).1)
    }

    /// Whether there are fewer than should be ready.
    pub(super) fn lacks(&self) -> bool {
        let kept = self.lock();
        !kept.closed && kept.instances.len() < self.ready
    }

    /// A request has come. Lets the caller start what is lacking, unless somebody does already.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Starting> {
        if self.ready == 0 {
            return None;
        }
        let mut kept = self.lock();
        kept.wanted = Instant::now();
        let begins = !kept.closed && !kept.starting && kept.instances.len() < self.ready;
        kept.starting |= begins;
        begins.then(|| Starting(self.clone()))
    }

    /// Keeps an instance for a while, if the app is still there. Somebody in `lane` sees to it that it is not for longer.
    pub(super) fn put(self: &Arc<Self>, instance: Instance, lane: &Lane) {
        let mut kept = self.lock();
        if kept.closed {
            drop(kept);
            return;
        }
        kept.instances.push((Instant::now(), instance));
        if !std::mem::replace(&mut kept.watched, true) {
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

    /// Drops those that have waited for long, until there is none left.
    async fn expire(&self) {
        loop {
            let closed = self.closed.notified();
            let Some(due) = self.lock().due(self.ready) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = closed => return,
            }
            let expired = self.lock().expired(self.ready);
            drop(expired);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// When there will be one to drop. None, and nobody watches any more, if there is no instance.
    fn due(&mut self, ready: usize) -> Option<Instant> {
        let Some((oldest, _)) = self.instances.first() else {
            self.watched = false;
            return None;
        };
        let (oldest, unwanted) = (*oldest + IDLE, self.wanted + READY);
        Some(if self.instances.len() > ready { oldest } else { unwanted.max(oldest) })
    }

    fn expired(&mut self, ready: usize) -> Vec<(Instant, Instance)> {
        let stay = if self.wanted.elapsed() < READY { ready } else { 0 };
        let surplus = self.instances.len().saturating_sub(stay);
        self.instances.extract_if(..surplus, |(since, _)| since.elapsed() >= IDLE).collect()
    }
}
