//! Detection of disconnected clients, and the time limits of receipts.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::rate::MinRate;

use super::setting::DerivedTimeout;
use super::unit;

/// Detection of disconnected clients. `client_timeout` sets all timeouts for silent clients; each can be set separately.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionConfig {
    /// How long a client may be unresponsive on the network before it counts as disconnected, at least 6 s. Also
    /// how long it may stop reading a response, in addition to the time that `min_read_rate` allows. `"none"`: no
    /// limit.
    #[serde(with = "unit::DurationOrNone")]
    pub client_timeout: Option<Duration>,
    /// Slowest average rate, in bytes per second, at which a client may read a response, in addition to
    /// `client_timeout`: after 64 KiB were sent, it may pause for two minutes more. `"0B"`: no limit.
    #[serde(with = "unit::SizeSetting")]
    pub min_read_rate: ByteSize,
    /// Idle time before the first TCP keepalive probe, in whole seconds. Default: a third of `client_timeout`.
    /// `"none"`: no probes.
    pub keepalive_idle: DerivedTimeout,
    /// Time between TCP keepalive probes, in whole seconds. Default: a sixth of `client_timeout`.
    pub keepalive_interval: DerivedTimeout,
    /// Unanswered TCP keepalive probes until the client counts as disconnected.
    pub keepalive_probes: u32,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged while the client's kernel sends nothing.
    /// Default: five sixths of `client_timeout`. `"none"`: as long as this machine's kernel retries.
    pub user_timeout: DerivedTimeout,
    /// Time between HTTP/2 PING frames, which detect a client process that hangs. Default: half of
    /// `client_timeout`. `"none"`: no PING.
    pub ping_interval: DerivedTimeout,
    /// How long the reply to a PING may take. Default: a third of `client_timeout`.
    pub ping_timeout: DerivedTimeout,
    /// How long a response with events may stay unacknowledged by the client's kernel, without progress, in
    /// addition to the time that `min_read_rate` allows. Beyond: the events are requeued, and the connection is
    /// reset.
    #[serde(with = "unit::DurationSetting")]
    pub ack_timeout: Duration,
    /// How long the host waits for a sign that the client has read a response with events, or has not, after the
    /// client's kernel has acknowledged it. Without a sign, the events are acknowledged. `"none"`: a response
    /// counts as read once the kernel has it.
    #[serde(with = "unit::DurationOrNone")]
    pub confirm_window: Option<Duration>,
    /// Whether the watcher runs, for measuring what it costs.
    #[serde(skip)]
    pub watch: bool,
}

/// When the kernel gives up a client that does not answer, on a connection with nothing in flight. `None` leaves it to
/// wait. What is in flight is watched by `linger_net::SocketMonitor::check_reader`: the kernel's own
/// `TCP_USER_TIMEOUT` gives up a client that reads slowly too, whose window stays small for longer than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SilenceTimeouts {
    /// Probes.
    pub keepalive: Option<KeepaliveProbes>,
}

/// Probes of an idle connection. The kernel counts in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepaliveProbes {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Probes without an answer until the client is given up.
    pub probes: u32,
}

/// How a client has to take what it is sent. `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderBounds {
    /// How slow it may read.
    pub pace: Option<MinRate>,
    /// How long its kernel may stay silent while it owes an answer.
    pub silence: Option<Duration>,
}

impl ReaderBounds {
    /// How often to look, so that a bound is kept to within a sixth. `None` if there is none.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        const PERIODS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
        let shortest = self.pace.map(|pace| pace.grace).into_iter().chain(self.silence).min()?;
        Some((shortest / 6).clamp(PERIODS.0, PERIODS.1))
    }
}

/// How long a receipt may take to become final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptWaits {
    /// For the client's kernel to acknowledge the response or, where the kernel tells that, for the client to read it.
    pub acknowledgement: MinRate,
    /// From the acknowledgement on, for a sign that the client has read it.
    pub confirmation: Duration,
    /// Whether a reset after the acknowledgement is such a sign as little as it is one of the contrary. So it is with
    /// proxies, which reset connections that they have no use for, when they have read an answer.
    pub resets_tell_nothing: bool,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        Self {
            client_timeout: Some(Duration::from_secs(30)),
            min_read_rate: ByteSize::b(500),
            keepalive_idle: DerivedTimeout::Derived,
            keepalive_interval: DerivedTimeout::Derived,
            keepalive_probes: 3,
            user_timeout: DerivedTimeout::Derived,
            ping_interval: DerivedTimeout::Derived,
            ping_timeout: DerivedTimeout::Derived,
            ack_timeout: Duration::from_secs(30),
            confirm_window: Some(Duration::from_secs(1)),
            watch: true,
        }
    }
}

impl DetectionConfig {
    /// The kernel counts keepalive in whole seconds, and probes come at sixths of the timeout.
    const MIN_CLIENT_TIMEOUT: Duration = Duration::from_secs(6);

    /// The kernel accepts no more seconds, and no more probes.
    const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
    const MAX_PROBES: u32 = 127;

    /// The kernel's settings for silent clients. With these fractions of `client_timeout`, the kernel's rounding
    /// stays within the timeout: the first probe after a third, further ones at sixths, and the end at five sixths.
    #[must_use]
    pub fn silence(&self) -> SilenceTimeouts {
        let share = |part: u32| self.client_timeout.map(|timeout| timeout / part);
        let idle = self.keepalive_idle.or(share(3));
        let interval = self.keepalive_interval.or(share(6)).or(idle);
        SilenceTimeouts {
            keepalive: idle.zip(interval).map(|(idle, interval)| KeepaliveProbes {
                idle,
                interval,
                probes: self.keepalive_probes,
            }),
        }
    }

    /// The interval of PING frames, and the time limit for a reply.
    #[must_use]
    pub fn ping(&self) -> Option<(Duration, Duration)> {
        let interval = self.ping_interval.or(self.client_timeout.map(|timeout| timeout / 2))?;
        let timeout = self.ping_timeout.or(self.client_timeout.map(|timeout| timeout / 3));
        Some((interval, timeout.unwrap_or(interval)))
    }

    /// The silence after which a closed connection counts as `unresponsive`.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        // A PING is sent some time after its interval, and its reply may come a little late.
        self.ping().map(|(interval, timeout)| (interval + timeout) * 9 / 10)
    }

    /// The slowest rate at which a client may read a response; `None`: no limit.
    #[must_use]
    pub fn read_pace(&self) -> Option<MinRate> {
        Some(self.pace_with(self.client_timeout?))
    }

    fn pace_with(&self, grace: Duration) -> MinRate {
        MinRate { bytes_per_second: self.min_read_rate.as_u64(), grace }
    }

    /// How fast a client must read a response.
    #[must_use]
    pub fn reader_bounds(&self) -> ReaderBounds {
        let silence = self.user_timeout.or(self.client_timeout.map(|timeout| timeout * 5 / 6));
        ReaderBounds { pace: self.read_pace(), silence }
    }

    /// The time limits of a receipt, unless a response counts as read once it is written.
    #[must_use]
    pub fn receipt_waits(&self) -> Option<ReceiptWaits> {
        let confirmation = self.confirm_window?;
        let acknowledgement = self.pace_with(self.ack_timeout);
        Some(ReceiptWaits { acknowledgement, confirmation, resets_tell_nothing: false })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let seconds = Duration::from_secs(1)..=Self::MAX_KEEPALIVE;
        let whole = |time: Duration| time.subsec_nanos() == 0 && seconds.contains(&time);
        for (name, setting) in
            [("keepalive_idle", self.keepalive_idle), ("keepalive_interval", self.keepalive_interval)]
        {
            if matches!(setting, DerivedTimeout::Time(time) if !whole(time)) {
                return Err(format!("`{name}` must be whole seconds, from 1s to 32767s"));
            }
        }
        if self.client_timeout.is_some_and(|timeout| timeout < Self::MIN_CLIENT_TIMEOUT) {
            return Err(format!(
                "`client_timeout` must be at least {:?}, or \"none\"",
                Self::MIN_CLIENT_TIMEOUT
            ));
        }
        if !(1..=Self::MAX_PROBES).contains(&self.keepalive_probes) {
            return Err(format!("`keepalive_probes` must be from 1 to {}", Self::MAX_PROBES));
        }
        for (name, setting) in [
            ("user_timeout", self.user_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
        ] {
            if matches!(setting, DerivedTimeout::Time(time) if time < Duration::from_millis(10)) {
                return Err(format!("`{name}` must be at least 10ms, or \"none\""));
            }
        }
        if self.keepalive_interval == DerivedTimeout::Off || self.ping_timeout == DerivedTimeout::Off {
            return Err(
                "`keepalive_interval` and `ping_timeout` must be durations; set `keepalive_idle` or \
                        `ping_interval` to \"none\" to turn them off"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
