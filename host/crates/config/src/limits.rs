//! Bounds on what clients can occupy.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unit;

/// Bounds on what clients can occupy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLimits {
    /// Open connections. At the limit new ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Open connections of one client, by its address (of a /64 network for IPv6); a half of `max_connections` unless set.
    /// Trusted proxies are no clients. Beyond: new ones are closed at once.
    #[schemars(example = 5000)]
    pub max_connections_per_client: Option<usize>,
    /// Requests in progress, on all connections. Beyond: 503.
    pub max_requests: usize,
    /// Requests in progress of one client, by its address, as a trusted proxy names it if there is one; a half of
    /// `max_requests` unless set. Beyond: 503.
    #[schemars(example = 25_000)]
    pub max_requests_per_client: Option<usize>,
    /// Streams that an HTTP/2 client may have open on one connection.
    pub max_streams_per_connection: u32,
    /// Bytes of a request's head, at least 8 KiB. Beyond: 431.
    #[serde(with = "unit::SizeSetting")]
    pub max_head_size: ByteSize,
    /// Header fields of a request. Beyond: 431.
    pub max_headers: usize,
    /// Bytes of a request's body that are read ahead of its guest, at least 64 KiB. Beyond, the client waits
    /// until the guest reads; and when it leaves in order meanwhile, that is noticed only then.
    #[serde(with = "unit::SizeSetting")]
    pub max_body_buffer: ByteSize,
    /// The same for all requests together, at least as much. Beyond: 503.
    #[serde(with = "unit::SizeSetting")]
    pub max_body_buffers: ByteSize,
    /// The same for all requests of one app; a half of `max_body_buffers` unless set. Beyond: 503.
    #[serde(with = "unit::OptionalSize")]
    #[schemars(example = &"128MiB")]
    pub max_body_buffers_per_app: Option<ByteSize>,
    /// The same for all requests of one client, by its address; a quarter of `max_body_buffers` unless set. Beyond: 503.
    #[serde(with = "unit::OptionalSize")]
    #[schemars(example = &"64MiB")]
    pub max_body_buffers_per_client: Option<ByteSize>,
    /// How long a client may take to send a head: from its first byte on; for the first one from the accept on, with the TLS
    /// handshake. Beyond: the connection is closed.
    #[serde(with = "unit::DurationSetting")]
    pub head_timeout: Duration,
    /// How long a connection without a request is kept. Longer than proxies keep theirs, so that they close first.
    #[serde(with = "unit::DurationSetting")]
    pub idle_timeout: Duration,
    /// How long a client may stop in the middle of a request's body, while the host would read on. Beyond: 408.
    #[serde(with = "unit::DurationSetting")]
    pub body_timeout: Duration,
    /// Bytes a second that a client has to send of a request's body, on average, beside `body_timeout`. `"0B"`: any.
    #[serde(with = "unit::SizeSetting")]
    pub min_body_rate: ByteSize,
}

impl ServerLimits {
    /// Hyper takes no smaller buffer for a head.
    const MIN_HEAD_SIZE: ByteSize = ByteSize::kib(8);

    /// What hyper reads at a time fits.
    const MIN_BODY_BUFFER: ByteSize = ByteSize::kib(64);

    /// Open connections of one client.
    #[must_use]
    pub fn connections_per_client(&self) -> usize {
        self.max_connections_per_client.unwrap_or(self.max_connections.div_ceil(2))
    }

    /// Requests in progress of one client.
    #[must_use]
    pub fn requests_per_client(&self) -> usize {
        self.max_requests_per_client.unwrap_or(self.max_requests.div_ceil(2))
    }

    /// Bytes of request bodies that are read ahead, of all requests of one app.
    #[must_use]
    pub fn body_buffers_per_app(&self) -> ByteSize {
        self.max_body_buffers_per_app
            .unwrap_or(ByteSize::b(self.max_body_buffers.as_u64() / 2))
            .max(self.max_body_buffer)
    }

    /// Bytes of request bodies that are read ahead, of all requests of one client.
    #[must_use]
    pub fn body_buffers_per_client(&self) -> ByteSize {
        self.max_body_buffers_per_client
            .unwrap_or(ByteSize::b(self.max_body_buffers.as_u64() / 4))
            .max(self.max_body_buffer)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_connections == 0 || self.max_requests == 0 || self.max_streams_per_connection == 0 {
            return Err("`max_connections`, `max_requests` and `max_streams_per_connection` are at least 1"
                .to_owned());
        }
        if self.connections_per_client() == 0 || self.requests_per_client() == 0 || self.max_headers == 0 {
            return Err(
                "`max_connections_per_client`, `max_requests_per_client` and `max_headers` are at least 1"
                    .to_owned(),
            );
        }
        if self.head_timeout.is_zero() || self.idle_timeout.is_zero() || self.body_timeout.is_zero() {
            return Err("`head_timeout`, `idle_timeout` and `body_timeout` are longer than 0s".to_owned());
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
