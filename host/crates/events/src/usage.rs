//! What a store tells of itself.

use serde::Serialize;

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Queues with an event or a waiting taker.
    pub queues: usize,
    /// Events, leased ones included.
    pub events: usize,
    /// Takers that wait.
    pub waiting: usize,
    /// Bytes in queues, with 256 added for each event.
    pub bytes: u64,
    /// Topics.
    pub topics: usize,
    /// Events that topics keep.
    pub published: usize,
    /// Bytes in topics, with 256 added for each event.
    pub published_bytes: u64,
    /// Readers that wait at topics.
    pub readers: usize,
}

/// What became of events since a store was opened. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Pushed to queues.
    pub pushed: u64,
    /// Handed out to takers, each time.
    pub taken: u64,
    /// Committed: they are gone for good.
    pub committed: u64,
    /// Put back after a handler had seen them, each time.
    pub returned: u64,
    /// Of those, the ones whose lease had run out.
    pub overdue: u64,
    /// Moved to dead letters.
    pub dead: u64,
    /// Of no use any more when their time to live was over.
    pub expired: u64,
    /// Removed because an operator wanted that.
    pub purged: u64,
    /// Published to topics.
    pub published: u64,
}

/// How the connection of a store is, to what keeps its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreConnection {
    /// Whether events can be stored now.
    pub is_ready: bool,
    /// How many connections have been made, the first included.
    pub connections: u64,
    /// Requests for events that wait there: all who wait at a queue share one.
    pub requests: usize,
    /// Topics that are followed: all readers of one share that.
    pub followed: usize,
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueUsage {
    /// Its name.
    pub queue: String,
    /// Events that can be taken.
    pub ready: usize,
    /// Events that cannot be taken yet.
    pub delayed: usize,
    /// Events that takers hold.
    pub leased: usize,
    /// Takers that wait.
    pub waiting: usize,
    /// Bytes, with 256 added for each event.
    pub bytes: u64,
    /// The queue that gets what was handed out too often, if there is one.
    pub dead_letters: Option<String>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicUsage {
    /// Its name.
    pub topic: String,
    /// Events that it keeps.
    pub events: usize,
    /// The cursor after the last of them.
    pub end: String,
    /// Readers that wait.
    pub waiting: usize,
    /// Bytes, with 256 added for each event.
    pub bytes: u64,
}
