//! How much of request bodies is read ahead of their guests, and how slowly they may come.

use std::sync::Arc;
use std::time::Duration;

use linger_base::rate::MinRate;
use linger_config::ServerLimits;

use crate::buffers::BodyBuffers;

/// The limits of reading ahead, in bytes and time.
#[derive(Clone, Debug)]
pub struct ReadAhead {
    /// Bytes for all requests.
    pub buffers: Arc<BodyBuffers>,
    /// How slow a client may send.
    pub(crate) rate: MinRate,
}

impl ReadAhead {
    /// Those of a configuration.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Self {
        Self { buffers: BodyBuffers::new(limits), rate: rate(limits) }
    }

    /// Others, in the place of these. What is there counts against them too.
    #[must_use]
    pub fn next(&self, limits: &ServerLimits) -> Self {
        self.buffers.set(limits);
        Self { buffers: self.buffers.clone(), rate: rate(limits) }
    }

    /// Bytes of a body that are read for nothing, so that its connection stays.
    pub(crate) fn bound(&self) -> u64 {
        self.buffers.per_request()
    }

    /// How long that may take.
    pub(crate) fn patience(&self) -> Duration {
        self.rate.grace
    }
}

fn rate(limits: &ServerLimits) -> MinRate {
    MinRate { bytes_per_second: limits.min_body_rate.as_u64(), grace: limits.body_timeout }
}
