//! The other pool of an app, and what both do for the places that they share.
//!
//! Each shard keeps an instance without requests for the next one. So that those of one pool do not keep all places from the
//! other, one of them goes when somebody waits there: at once if there is one, or as soon as there is.

use std::sync::{Arc, OnceLock, Weak};

use super::PoolState;
use crate::instance_queue::InstanceQueue;

/// The other pool, if there is one.
#[derive(Default)]
pub(super) struct SiblingPool(OnceLock<SiblingState>);

struct SiblingState {
    pool: Weak<PoolState>,
    /// By itself, for it is looked at after each request.
    queue: Arc<InstanceQueue>,
}

impl SiblingPool {
    /// To be called once.
    pub(super) fn set(&self, other: &Arc<PoolState>) {
        self.0.get_or_init(|| SiblingState { pool: Arc::downgrade(other), queue: other.queue.clone() });
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether somebody waits there, for whom an instance should go that has no requests.
    pub(super) fn is_waited_in(&self) -> bool {
        self.0.get().is_some_and(|other| other.queue.is_waited_in())
    }

    /// A place has become free, which may be taken there as well.
    pub(super) fn place_freed(&self) {
        self.0.get().inspect(|other| other.queue.notify_freed());
    }

    /// Lets one there go that has no requests. Its place will be free soon, and is not yet.
    pub(super) fn ask_for_place(&self) {
        if let Some(other) = self.0.get().and_then(|other| other.pool.upgrade()) {
            other.make_room();
        }
    }
}
