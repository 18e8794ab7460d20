//! The connection to NATS `JetStream`, and how it keeps events.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::admin::AdminToken;
use super::pattern::NamePattern;
use super::unit;

/// The connection to NATS `JetStream`, and how it keeps events: for `store = "nats"`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// The servers, as `nats://HOST:PORT` or `tls://HOST:PORT`, without a user. One reachable server leads to the
    /// others of its cluster.
    pub servers: Vec<String>,
    /// A credentials file, as written by `nsc`, relative to the configuration's folder.
    #[schemars(example = &"linger.creds")]
    pub credentials: Option<PathBuf>,
    /// The user name; needs `password`.
    #[schemars(example = &"linger")]
    pub user: Option<String>,
    /// The user's password.
    #[schemars(with = "Option<AdminToken>", example = "${NATS_PASSWORD}")]
    pub password: Option<AdminToken>,
    /// A token, if the servers require one.
    #[schemars(example = "${NATS_TOKEN}")]
    pub token: Option<AdminToken>,
    /// TLS to all servers. Default: TLS only if the address or the server requires it.
    pub tls: Option<NatsTls>,
    /// Prefix of the names of streams and subjects: letters, digits, `-` or `_`. Hosts that share events use the
    /// same prefix.
    pub prefix: String,
    /// Copies of each event, each on another server of the cluster: 1 to 5. With 3, events survive the loss of one
    /// server.
    pub replicas: usize,
    /// The storage of the NATS servers.
    pub storage: NatsStorage,
    /// How long NATS waits for a sign of life from the host that has taken an event before it redelivers the event,
    /// at least 1 s. A running host sends these signs by itself, so this is the time until the events of a crashed
    /// host are redelivered.
    #[serde(with = "unit::DurationSetting")]
    pub ack_wait: Duration,
    /// How long a push waits until NATS has stored the event. Beyond: `unavailable`; the event may still be stored.
    #[serde(with = "unit::DurationSetting")]
    pub timeout: Duration,
    /// Time without events and waiters after which the stream of a queue or topic is removed, at least 1 s.
    #[serde(with = "unit::DurationSetting")]
    pub idle: Duration,
    /// Exceptions for some queues. The first matching rule applies.
    pub queues: Vec<NatsQueueRule>,
    /// Exceptions for some topics. The first matching rule applies.
    pub topics: Vec<NatsTopicRule>,
}

/// TLS to NATS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsTls {
    /// The trusted certificate authorities, as a PEM file. Default: those of the system.
    #[schemars(example = &"ca.pem")]
    pub ca: Option<PathBuf>,
    /// The host's client certificate, as a PEM file; needs `key`.
    #[schemars(example = &"linger.pem")]
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, as a PEM file.
    #[schemars(example = &"linger.key")]
    pub key: Option<PathBuf>,
}

/// The storage of the NATS servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatsStorage {
    /// On the servers' disks.
    #[default]
    File,
    /// In the servers' memory: with one replica, events are lost when its server stops.
    Memory,
}

/// Exceptions for the queues with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsQueueRule {
    /// The name, or a prefix followed by `*`.
    pub name: NamePattern,
    /// As in `[events.nats]`.
    #[serde(default)]
    #[schemars(example = 3)]
    pub replicas: Option<usize>,
    /// As in `[events.nats]`.
    #[serde(default)]
    pub storage: Option<NatsStorage>,
    /// As in `[events.nats]`.
    #[serde(default, with = "unit::OptionalDuration")]
    pub ack_wait: Option<Duration>,
}

/// Exceptions for the topics with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsTopicRule {
    /// The name, or a prefix followed by `*`.
    pub name: NamePattern,
    /// As in `[events.nats]`.
    #[serde(default)]
    #[schemars(example = 3)]
    pub replicas: Option<usize>,
    /// As in `[events.nats]`.
    #[serde(default)]
    pub storage: Option<NatsStorage>,
}

/// How one stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRetention {
    /// Copies of each event.
    pub replicas: usize,
    /// Their storage.
    pub storage: NatsStorage,
}

/// The longest prefix: together with the longest name, it is a stream name that NATS accepts.
const MAX_PREFIX: usize = 64;

/// The most that NATS accepts.
const MAX_REPLICAS: usize = 5;

/// A shorter time is over before a host could send a sign of life.
const MIN_TIME: Duration = Duration::from_secs(1);

impl NatsConfig {
    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(tls) = &mut self.tls {
            for file in [&mut tls.ca, &mut tls.certificate, &mut tls.key].into_iter().flatten() {
                *file = folder.join(&*file);
            }
            if tls.certificate.is_some() != tls.key.is_some() {
                return Err("tls: set both `certificate` and `key`, or neither".to_owned());
            }
        }
        if let Some(file) = &mut self.credentials {
            *file = folder.join(&*file);
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        if self.servers.is_empty() {
            return Err("`servers` needs at least one address, such as \"nats://127.0.0.1:4222\"".to_owned());
        }
        // It would not be sent to NATS, and would be shown wherever the address is.
        if self.servers.iter().any(|server| server.contains('@')) {
            return Err(
                "`servers` must not contain a user or a token; set `user` and `password`, or `token`"
                    .to_owned(),
            );
        }
        if self.user.is_some() != self.password.is_some() {
            return Err("set both `user` and `password`, or neither".to_owned());
        }
        let ways = [self.credentials.is_some(), self.user.is_some(), self.token.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(
                "`credentials`, `user` and `token` are three ways to authenticate; keep one".to_owned()
            );
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if self.prefix.is_empty() || self.prefix.len() > MAX_PREFIX || !self.prefix.bytes().all(allowed) {
            return Err(format!("`prefix` must be 1 to {MAX_PREFIX} letters, digits, `-` or `_`"));
        }
        let replicas = self.queues.iter().filter_map(|rule| rule.replicas);
        let mut replicas =
            replicas.chain(self.topics.iter().filter_map(|rule| rule.replicas)).chain([self.replicas]);
        if !replicas.all(|replicas| (1..=MAX_REPLICAS).contains(&replicas)) {
            return Err(format!("`replicas` must be between 1 and {MAX_REPLICAS}"));
        }
        let waits = self.queues.iter().filter_map(|rule| rule.ack_wait);
        if waits.chain([self.ack_wait, self.idle]).any(|time| time < MIN_TIME) || self.timeout.is_zero() {
            return Err(format!(
                "`ack_wait` and `idle` must be at least {MIN_TIME:?}, and `timeout` above zero"
            ));
        }
        Ok(())
    }

    /// The storage of a queue's stream, and how long NATS waits for a sign of life from the host that has taken an event.
    #[must_use]
    pub fn queue(&self, queue: &Name) -> (StreamRetention, Duration) {
        let rule = self.queues.iter().find(|rule| rule.name.fits(queue));
        let keeping = self.keeping(rule.and_then(|rule| rule.replicas), rule.and_then(|rule| rule.storage));
        (keeping, rule.and_then(|rule| rule.ack_wait).unwrap_or(self.ack_wait))
    }

    /// The storage of a topic's stream.
    #[must_use]
    pub fn topic(&self, topic: &Name) -> StreamRetention {
        let rule = self.topics.iter().find(|rule| rule.name.fits(topic));
        self.keeping(rule.and_then(|rule| rule.replicas), rule.and_then(|rule| rule.storage))
    }

    fn keeping(&self, replicas: Option<usize>, storage: Option<NatsStorage>) -> StreamRetention {
        StreamRetention {
            replicas: replicas.unwrap_or(self.replicas),
            storage: storage.unwrap_or(self.storage),
        }
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            credentials: None,
            user: None,
            password: None,
            token: None,
            tls: None,
            prefix: "linger".to_owned(),
            replicas: 1,
            storage: NatsStorage::default(),
            ack_wait: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            idle: Duration::from_hours(1),
            queues: Vec::new(),
            topics: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Result<NatsConfig, String> {
        let mut nats: NatsConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        nats.complete(Path::new("/etc"))?;
        Ok(nats)
    }

    #[test]
    fn first_rule_that_fits_counts() {
        let nats = complete(
            "replicas = 3\n\
             [[queues]]\nname = 'brief.*'\nstorage = 'memory'\nack_wait = '2s'\n\
             [[topics]]\nname = 'brief.*'\nreplicas = 1",
        )
        .unwrap();
        let brief: Name = "brief.a".parse().unwrap();
        let memory = StreamRetention { replicas: 3, storage: NatsStorage::Memory };
        assert_eq!(nats.queue(&brief), (memory, Duration::from_secs(2)));
        assert_eq!(nats.topic(&brief), StreamRetention { replicas: 1, storage: NatsStorage::File });
        let other = StreamRetention { replicas: 3, storage: NatsStorage::File };
        assert_eq!(nats.queue(&"other".parse().unwrap()), (other, Duration::from_secs(30)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, part) in [
            ("servers = []", "`servers`"),
            ("user = 'a'", "`password`"),
            ("token = 't'\ncredentials = 'c'", "keep one"),
            ("prefix = 'a.b'", "`prefix`"),
            ("replicas = 6", "`replicas`"),
            ("[[queues]]\nname = 'a'\nreplicas = 0", "`replicas`"),
            ("ack_wait = '10ms'", "`ack_wait`"),
            ("[tls]\nkey = 'a'", "`certificate`"),
        ] {
            assert!(complete(text).unwrap_err().contains(part), "{text}");
        }
        for server in
            ["nats://linger:secret@localhost:4222", "tls://secret@localhost", "linger:secret@localhost"]
        {
            let said = complete(&format!("servers = ['nats://localhost', '{server}']")).unwrap_err();
            assert!(
                said.contains("`password`") && said.contains("`token`") && !said.contains("secret"),
                "{said}"
            );
        }
        assert_eq!(complete("credentials = 'a'").unwrap().credentials, Some("/etc/a".into()));
    }
}
