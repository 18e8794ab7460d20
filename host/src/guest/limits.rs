//! The memory that an instance may have.

use bytesize::ByteSize;
use wasmtime::{ResourceLimiter, Result, StoreLimits, StoreLimitsBuilder};

/// Bounds the linear memory of an instance, and remembers whether it wanted more.
#[derive(Debug)]
pub(super) struct Limits {
    bounds: StoreLimits,
    reached: bool,
}

impl Limits {
    pub(super) fn new(memory: ByteSize) -> Self {
        let memory = usize::try_from(memory.as_u64()).unwrap_or(usize::MAX);
        Self { bounds: StoreLimitsBuilder::new().memory_size(memory).build(), reached: false }
    }

    /// Whether the guest did not get all that it asked for.
    pub(super) fn were_reached(&self) -> bool {
        self.reached
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let grows = self.bounds.memory_growing(current, desired, maximum)?;
        self.reached |= !grows;
        Ok(grows)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.reached = true;
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
