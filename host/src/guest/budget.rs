//! Bytes that the host has in its hands for one instance: bodies that are being collected, and responses to be sent.
//!
//! The memory of an instance is bounded, and so should be what it makes the host hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What one instance may make the host hold. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    total: u64,
    held: Arc<AtomicU64>,
}

impl Budget {
    pub(super) fn new(total: u64) -> Self {
        Self { total, held: Arc::default() }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// These bytes, which count until they are dropped. None if there is no room for them.
    pub(super) fn bytes(&self, data: Vec<u8>) -> Option<Bytes> {
        let mut share = Share::of(self);
        share.add(data.len()).then(|| {
            if data.is_empty() { Bytes::new() } else { Bytes::from_owner(Held { data, _share: share }) }
        })
    }
}

struct Held {
    data: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: u64,
}

impl Share {
    pub(super) fn of(budget: &Budget) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Takes so many bytes more, if there are so many.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let held = self.budget.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // If it is too much, it is given back with the rest.
        self.bytes += bytes;
        held <= self.budget.total
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_they_are_dropped() {
        let budget = Budget::new(10);
        let first = budget.bytes(vec![1; 6]).unwrap();
        assert!(budget.bytes(vec![2; 5]).is_none());
        let part = first.slice(1..2);
        drop(first);
        assert!(budget.bytes(vec![2; 5]).is_none(), "a part of it is left");
        drop(part);
        assert!(budget.bytes(vec![2; 10]).is_some());
    }
}
