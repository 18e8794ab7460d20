//! A shard: one of the threads that serve, with instances of its own.

use tokio_util::task::TaskTracker;

/// The thread of a call, and preferably of its instance: on one thread nobody has to be woken
/// across threads.
#[derive(Clone, Debug, Default)]
pub struct ShardHandle {
    /// Its number, from 0.
    pub index: usize,
    /// Owns the tasks that run on it.
    pub tasks: TaskTracker,
}
