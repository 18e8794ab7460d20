//! Warm instances, kept for the next request.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::SoloInstance;
use crate::ShardHandle;

/// How long an instance is kept for the next request.
const IDLE: Duration = Duration::from_secs(10);

/// How long those that should be ready are, after the last request. Those of a generation that was replaced go so, too.
const READY: Duration = Duration::from_mins(5);

/// The warm instances of a shard. The one that was used last is used next, so that the others can go.
pub(super) struct WarmInstances {
    /// So many are kept as long as requests come.
    ready: usize,
    kept: Mutex<IdleInstance>,
    closed: Notify,
}

struct IdleInstance {
    /// The one that waits longest comes first.
    instances: Vec<(Instant, SoloInstance)>,
    /// When a request came last.
    wanted: Instant,
    /// Whether somebody sees to it that none is kept for too long.
    watched: bool,
    /// Whether somebody starts some.
    starting: bool,
    /// Whether the app has gone.
    closed: bool,
}

/// Who starts instances for a shard. There is one at a time.
pub(super) struct StartingTurn(Arc<WarmInstances>);

impl Drop for StartingTurn {
    fn drop(&mut self) {
        self.0.lock().starting = false;
    }
}

impl WarmInstances {
    pub(super) fn new(ready: usize) -> Arc<Self> {
        let kept = IdleInstance {
            instances: Vec::new(),
            wanted: Instant::now(),
            watched: false,
            starting: false,
            closed: false,
        };
        Arc::new(Self { ready, kept: Mutex::new(kept), closed: Notify::new() })
    }

    pub(super) fn take(&self) -> Option<SoloInstance> {
        self.lock().instances.pop().map(|(_, instance)| instance)
    }

    /// One that has served nobody yet.
    pub(super) fn take_fresh(&self) -> Option<SoloInstance> {
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
    pub(super) fn begin(self: &Arc<Self>) -> Option<StartingTurn> {
        if self.ready == 0 {
            return None;
        }
        let mut kept = self.lock();
        kept.wanted = Instant::now();
        let begins = !kept.closed && !kept.starting && kept.instances.len() < self.ready;
        kept.starting |= begins;
        begins.then(|| StartingTurn(self.clone()))
    }

    /// Keeps an instance for a while, if the app is still there. Somebody in `shard` sees to it that it is not for longer.
    pub(super) fn put(self: &Arc<Self>, instance: SoloInstance, shard: &ShardHandle) {
        let mut kept = self.lock();
        if kept.closed {
            drop(kept);
            return;
        }
        kept.instances.push((Instant::now(), instance));
        if !std::mem::replace(&mut kept.watched, true) {
            let this = self.clone();
            shard.tasks.spawn(async move { this.expire().await });
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

    fn lock(&self) -> MutexGuard<'_, IdleInstance> {
        self.kept.lock()
    }
}

impl IdleInstance {
    /// When there will be one to drop. None, and nobody watches any more, if there is no instance.
    fn due(&mut self, ready: usize) -> Option<Instant> {
        let Some((oldest, _)) = self.instances.first() else {
            self.watched = false;
            return None;
        };
        let (oldest, unwanted) = (*oldest + IDLE, self.wanted + READY);
        Some(if self.instances.len() > ready { oldest } else { unwanted.max(oldest) })
    }

    fn expired(&mut self, ready: usize) -> Vec<(Instant, SoloInstance)> {
        let stay = if self.wanted.elapsed() < READY { ready } else { 0 };
        let surplus = self.instances.len().saturating_sub(stay);
        self.instances.extract_if(..surplus, |(since, _)| since.elapsed() >= IDLE).collect()
    }
}
