//! Bounds on what clients can occupy.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Bounds on what clients can occupy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections. At the limit new ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Requests in progress, on all connections. Beyond: 503.
    pub max_requests: usize,
    /// Streams that an HTTP/2 client may have open on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of a request's head, at least 8 KiB. Beyond: 431.
    #[serde(with = "unit::Size")]
    pub max_head_size: ByteSize,
    /// Bytes of a request's body that are read ahead of its guest, at least 64 KiB. Beyond, the client waits
    /// until the guest reads; and when it leaves in order meanwhile, that is noticed only then.
    #[serde(with = "unit::Size")]
    pub max_body_buffer: ByteSize,
    /// The same for all requests together, at least as much. Beyond, clients wait in the same way.
    #[serde(with = "unit::Size")]
    pub max_body_buffers: ByteSize,
    /// How long a client may take to send a head, and how long an idle HTTP/1.1 connection is kept.
    #[serde(with = "unit::Time")]
    pub head_timeout: Duration,
}

impl Limits {
    /// Hyper takes no smaller buffer for a head.
    const MIN_HEAD_SIZE: ByteSize = ByteSize::kib(8);

    /// What hyper reads at a time fits.
    const MIN_BODY_BUFFER: ByteSize = ByteSize::kib(64);

    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_connections == 0 || self.max_requests == 0 || self.max_streams_per_connection == 0 {
            return Err("`max_connections`, `max_requests` and `max_streams_per_connection` are at least 1"
                .to_owned());
        }
        if self.max_head_size < Self::MIN_HEAD_SIZE {
            return Err(format!("`max_head_size` is at least {}", Self::MIN_HEAD_SIZE));
        }
        if self.max_body_buffer < Self::MIN_BODY_BUFFER || self.max_body_buffers < self.max_body_buffer {
            let least = Self::MIN_BODY_BUFFER;
            return Err(format!(
                "`max_body_buffer` is at least {least}, and `max_body_buffers` at least that"
            ));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_requests: 50_000,
            max_streams_per_connection: 200,
            max_head_size: ByteSize::kib(64),
            max_body_buffer: ByteSize::mib(1),
            max_body_buffers: ByteSize::mib(256),
            head_timeout: Duration::from_secs(30),
        }
    }
}
