//! The memory that an instance may have.

use bytesize::ByteSize;
use wasmtime::{ResourceLimiter, Result, StoreLimits, StoreLimitsBuilder};

/// Bounds each linear memory of an instance, and knows how far the guest is from that.
///
/// A memory never shrinks: what a guest leaks stays until its instance goes.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    bounds: StoreLimits,
    most: usize,
    /// The bytes of the largest memory.
    used: usize,
    /// Those after the first request: what a guest keeps for all of them.
    kept: Option<usize>,
    refused: bool,
}

impl MemoryLimiter {
    pub(super) fn new(memory: ByteSize) -> Self {
        let most = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
        let bounds = StoreLimitsBuilder::new().memory_size(most).build();
        Self { bounds, most, used: 0, kept: None, refused: false }
    }

    /// Whether another instance should have the next request, now that one has ended: the guest did not get memory that it asked
    /// for, or has taken this part of its room, in percent, since the first request.
    pub(super) fn are_near(&mut self, percent: usize) -> bool {
        let kept = *self.kept.get_or_insert(self.used);
        self.refused || self.used - kept > self.most.saturating_sub(kept) / 100 * percent
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let grows = self.bounds.memory_growing(current, desired, maximum)?;
        if grows {
            self.used = self.used.max(desired);
        } else {
            self.refused = true;
        }
        Ok(grows)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.refused = true;
        self.bounds.memory_grow_failed(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.bounds.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.bounds.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.bounds.instances()
    }

    fn tables(&self) -> usize {
        self.bounds.tables()
    }

    fn memories(&self) -> usize {
        self.bounds.memories()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn limits(first: usize) -> MemoryLimiter {
        let mut limits = MemoryLimiter::new(ByteSize::mib(64));
        assert!(limits.memory_growing(0, first * MIB, None).unwrap());
        limits
    }

    #[test]
    fn what_the_first_request_took_does_not_count() {
        let mut limits = limits(60);
        assert!(!limits.are_near(50));
        limits.memory_growing(60 * MIB, 61 * MIB, None).unwrap();
        assert!(!limits.are_near(50));
        limits.memory_growing(61 * MIB, 63 * MIB, None).unwrap();
        assert!(limits.are_near(50));
    }

    #[test]
    fn each_memory_counts_by_itself() {
        let mut limits = limits(1);
        assert!(!limits.are_near(50));
        for _ in 0..10 {
            limits.memory_growing(0, 20 * MIB, None).unwrap();
        }
        assert!(!limits.are_near(50));
    }

    #[test]
    fn who_did_not_get_what_it_asked_for_is_near() {
        let mut limits = limits(1);
        assert!(!limits.are_near(50));
        assert!(!limits.memory_growing(MIB, 65 * MIB, None).unwrap());
        assert!(limits.are_near(50));
    }
}
