//! Instances without a request, kept for the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Instance;
use crate::guest::Lane;

/// How long an instance is kept for the next request.
const IDLE: Duration = Duration::from_secs(10);

/// The warm instances of a lane. The one that was used last is used next, so that the others can go.
#[derive(Default)]
pub(super) struct Warm {
    kept: Mutex<Kept>,
    closed: Notify,
}

#[derive(Default)]
struct Kept {
    /// The one that waits longest comes first.
    instances: Vec<(Instant, Instance)>,
    /// Whether the app has gone.
    closed: bool,
}

impl Warm {
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
        if kept.instances.len() == 1 {
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
            let Some(oldest) = self.lock().instances.first().map(|(since, _)| *since) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(oldest + IDLE) => {}
                () = closed => return,
            }
            let expired: Vec<_> =
                self.lock().instances.extract_if(.., |(since, _)| since.elapsed() >= IDLE).collect();
            drop(expired);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
