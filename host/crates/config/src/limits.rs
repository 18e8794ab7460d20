//! Limits on the resources that clients can use.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Limits on the resources that clients can use.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLimits {
    /// Open connections. Beyond: new ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Open connections of one client, by its address (for IPv6, its /64 network). Trusted proxies do not count as
    /// clients. Default: half of `max_connections`. Beyond: new ones are closed at once.
    #[schemars(example = 5000)]
    pub max_connections_per_client: Option<usize>,
    /// In-flight requests, on all connections. Beyond: 503.
    pub max_requests: usize,
    /// In-flight requests of one client, by its address, or by the address that a trusted proxy names. Default:
    /// half of `max_requests`. Beyond: 503.
    #[schemars(example = 25_000)]
    pub max_requests_per_client: Option<usize>,
    /// Concurrent streams of one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// Size of a request's head, at least 8 KiB. Beyond: 431.
    #[serde(with = "unit::SizeSetting")]
    pub max_head_size: ByteSize,
    /// Header fields of a request. Beyond: 431.
    pub max_headers: usize,
    /// Bytes of a request's body that are read ahead of the guest, at least 64 KiB. Beyond: backpressure; the
    /// client waits until the guest reads. An orderly disconnect of the client is then noticed only after the guest
    /// has read.
    #[serde(with = "unit::SizeSetting")]
    pub max_body_buffer: ByteSize,
    /// Bytes of request bodies that are read ahead, for all requests together, at least `max_body_buffer`. Beyond: 503.
    #[serde(with = "unit::SizeSetting")]
    pub max_body_buffers: ByteSize,
    /// Bytes of request bodies that are read ahead, for all requests of one app. Default: half of
    /// `max_body_buffers`. Beyond: 503.
    #[serde(with = "unit::OptionalSize")]
    #[schemars(example = &"128MiB")]
    pub max_body_buffers_per_app: Option<ByteSize>,
    /// Bytes of request bodies that are read ahead, for all requests of one client, by its address. Default: a
    /// quarter of `max_body_buffers`. Beyond: 503.
    #[serde(with = "unit::OptionalSize")]
    #[schemars(example = &"64MiB")]
    pub max_body_buffers_per_client: Option<ByteSize>,
    /// How long a client may take to send a request's head, from its first byte. The first head counts from the
    /// accept, and includes the TLS handshake. Beyond: the connection is closed.
    #[serde(with = "unit::DurationSetting")]
    pub head_timeout: Duration,
    /// Idle timeout: how long a connection stays open without a request. Longer than the usual idle timeout of
    /// proxies, so that the proxy closes first.
    #[serde(with = "unit::DurationSetting")]
    pub idle_timeout: Duration,
    /// How long a client may pause in the middle of a request's body while the host is ready to read. Beyond: 408.
    #[serde(with = "unit::DurationSetting")]
    pub body_timeout: Duration,
    /// Slowest average rate, in bytes per second, at which a client may send a request's body, in addition to
    /// `body_timeout`. `"0B"`: no limit.
    #[serde(with = "unit::SizeSetting")]
    pub min_body_rate: ByteSize,
}

impl ServerLimits {
    /// Hyper does not accept a smaller buffer for a head.
    const MIN_HEAD_SIZE: ByteSize = ByteSize::kib(8);

    /// One read of hyper fits.
    const MIN_BODY_BUFFER: ByteSize = ByteSize::kib(64);

    /// The limit of open connections for one client.
    #[must_use]
    pub fn connections_per_client(&self) -> usize {
        self.max_connections_per_client.unwrap_or(self.max_connections.div_ceil(2))
    }

    /// The limit of in-flight requests for one client.
    #[must_use]
    pub fn requests_per_client(&self) -> usize {
        self.max_requests_per_client.unwrap_or(self.max_requests.div_ceil(2))
    }

    /// The limit of request bodies that are read ahead for one app.
    #[must_use]
    pub fn body_buffers_per_app(&self) -> ByteSize {
        self.max_body_buffers_per_app
            .unwrap_or(ByteSize::b(self.max_body_buffers.as_u64() / 2))
            .max(self.max_body_buffer)
    }

    /// The limit of request bodies that are read ahead for one client.
    #[must_use]
    pub fn body_buffers_per_client(&self) -> ByteSize {
        self.max_body_buffers_per_client
            .unwrap_or(ByteSize::b(self.max_body_buffers.as_u64() / 4))
            .max(self.max_body_buffer)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_connections == 0 || self.max_requests == 0 || self.max_streams_per_connection == 0 {
            return Err(
                "`max_connections`, `max_requests` and `max_streams_per_connection` must be at least 1"
                    .to_owned(),
            );
        }
        if self.connections_per_client() == 0 || self.requests_per_client() == 0 || self.max_headers == 0 {
            return Err(
                "`max_connections_per_client`, `max_requests_per_client` and `max_headers` must be at least 1"
                    .to_owned(),
            );
        }
        if self.head_timeout.is_zero() || self.idle_timeout.is_zero() || self.body_timeout.is_zero() {
            return Err("`head_timeout`, `idle_timeout` and `body_timeout` must be longer than 0s".to_owned());
        }
        if self.max_head_size < Self::MIN_HEAD_SIZE {
            return Err(format!("`max_head_size` must be at least {}", Self::MIN_HEAD_SIZE));
        }
        if self.max_body_buffer < Self::MIN_BODY_BUFFER || self.max_body_buffers < self.max_body_buffer {
            let least = Self::MIN_BODY_BUFFER;
            return Err(format!(
                "`max_body_buffer` must be at least {least}, and `max_body_buffers` at least as large"
            ));
        }
        Ok(())
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_client: None,
            max_requests: 50_000,
            max_requests_per_client: None,
            max_streams_per_connection: 200,
            max_head_size: ByteSize::kib(64),
            max_headers: 100,
            max_body_buffer: ByteSize::mib(1),
            max_body_buffers: ByteSize::mib(256),
            max_body_buffers_per_app: None,
            max_body_buffers_per_client: None,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            min_body_rate: ByteSize::b(500),
        }
    }
}
