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
    /// The one that waits longest comes first.
    instances: Mutex<Vec<(Instant, Instance)>>,
    closed: Notify,
}

impl Warm {
    pub(super) fn take(&self) -> Option<Instance> {
        self.lock().pop().map(|(_, instance)| instance)
    }

    /// Keeps an instance for a while. Somebody in `lane` sees to it that it is not for longer.
    pub(super) fn put(self: &Arc<Self>, instance: Instance, lane: &Lane) {
        let mut instances = self.lock();
        instances.push((Instant::now(), instance));
        if instances.len() == 1 {
            let this = self.clone();
            lane.tasks.spawn(async move { this.expire().await });
        }
    }

    /// Drops all. Nothing is put here any more.
    pub(super) fn close(&self) {
        let instances = std::mem::take(&mut *self.lock());
        drop(instances);
        self.closed.notify_waiters();
    }

    /// Drops those that have waited for long, until there is none left.
    async fn expire(&self) {
        loop {
            let closed = self.closed.notified();
            let Some(oldest) = self.lock().first().map(|(since, _)| *since) else { return };
            tokio::select! {
                () = tokio::time::sleep_until(oldest + IDLE) => {}
                () = closed => return,
            }
            let expired: Vec<_> = self.lock().extract_if(.., |(since, _)| since.elapsed() >= IDLE).collect();
            drop(expired);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Instance)>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
