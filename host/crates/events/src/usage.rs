//! The usage and totals of a store.

use serde::Serialize;

/// The number and size of a store's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Queues with an event or a waiting taker.
    pub queues: usize,
    /// Events, leased ones included.
    pub events: usize,
    /// Waiting consumers.
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

/// Totals of events since a store was opened. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTotals {
    /// Pushed to queues.
    pub pushed: u64,
    /// Leased to consumers, each time.
    pub taken: u64,
    /// Acknowledged, and so removed.
    pub committed: u64,
    /// Requeued after a handler had seen them, each time.
    pub returned: u64,
    /// Of those, the ones whose lease had expired.
    pub overdue: u64,
    /// Moved to dead letters.
    pub dead: u64,
    /// Dropped because their time to live was over.
    pub expired: u64,
    /// Purged by an operator.
    pub purged: u64,
    /// Published to topics.
    pub published: u64,
}

/// The connection of a store to its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreConnection {
    /// Whether events can be stored now.
    pub is_ready: bool,
    /// How many connections have been made, the first included.
    pub connections: u64,
    /// Requests for events pending there: all waiters at a queue share one.
    pub requests: usize,
    /// Topics with a subscription, which all readers of a topic share.
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
    /// Leased events.
    pub leased: usize,
    /// Waiting consumers.
    pub waiting: usize,
    /// Bytes, with 256 added for each event.
    pub bytes: u64,
    /// The queue for its dead letters, if there is one.
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
