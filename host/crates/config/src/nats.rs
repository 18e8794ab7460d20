//! How NATS `JetStream` is reached, and what is kept there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use linger_base::Name;

use super::admin::AdminToken;
use super::pattern::NamePattern;
use super::unit;

/// How NATS `JetStream` is reached, and what is kept there: for `store = "nats"`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// The servers: `nats://HOST:PORT`, or `tls://`, without a user. One that answers leads to the others of its cluster.
    pub servers: Vec<String>,
    /// A file with credentials, as `nsc` writes them, relative to the configuration's folder.
    #[schemars(example = &"linger.creds")]
    pub credentials: Option<PathBuf>,
    /// The user's name, with `password`.
    #[schemars(example = &"linger")]
    pub user: Option<String>,
    /// The user's password.
    #[schemars(with = "Option<AdminToken>", example = "${NATS_PASSWORD}")]
    pub password: Option<AdminToken>,
    /// A token, where the servers ask for one.
    #[schemars(example = "${NATS_TOKEN}")]
    pub token: Option<AdminToken>,
    /// TLS to all servers. Without it there is TLS where an address or a server asks for it.
    pub tls: Option<NatsTls>,
    /// What the names of streams and subjects begin with: letters, digits, `-` or `_`. Hosts that share their events have
    /// the same.
    pub prefix: String,
    /// Copies of each event, on so many servers of the cluster: 1 to 5. With 3, one server may be lost.
    pub replicas: usize,
    /// Where the servers keep events.
    pub storage: NatsStorage,
    /// How long NATS waits for a sign of a host that holds an event before it hands the event out again, at least 1 s.
    /// A host that lives gives that sign by itself, so this is how long the events of one that died are away.
    #[serde(with = "unit::DurationSetting")]
    pub ack_wait: Duration,
    /// How long a push waits for NATS to store its event. Beyond: `unavailable`, and it may be stored all the same.
    #[serde(with = "unit::DurationSetting")]
    pub timeout: Duration,
    /// After how long without events and waiters the stream of a queue or a topic is removed, at least 1 s.
    #[serde(with = "unit::DurationSetting")]
    pub idle: Duration,
    /// What is different for some queues. The first rule that fits a queue counts.
    pub queues: Vec<NatsQueueRule>,
    /// What is different for some topics. The first rule that fits a topic counts.
    pub topics: Vec<NatsTopicRule>,
}

/// TLS to NATS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsTls {
    /// The authorities that are believed, as a PEM file. By default those of the system.
    #[schemars(example = &"ca.pem")]
    pub ca: Option<PathBuf>,
    /// The host's own certificate, as a PEM file, with `key`.
    #[schemars(example = &"linger.pem")]
    pub certificate: Option<PathBuf>,
    /// The key of the certificate, as a PEM file.
    #[schemars(example = &"linger.key")]
    pub key: Option<PathBuf>,
}

/// Where NATS keeps events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatsStorage {
    /// On the disks of the servers.
    #[default]
    File,
    /// In their memory: with one replica nothing outlives its server.
    Memory,
}

/// What is different for the queues with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsQueueRule {
    /// The name, or the start of all names when it ends with `*`.
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

/// What is different for the topics with some names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsTopicRule {
    /// The name, or the start of all names when it ends with `*`.
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
    /// Where they are.
    pub storage: NatsStorage,
}

/// The longest prefix: with the longest name it makes a stream's name that NATS takes.
const MAX_PREFIX: usize = 64;

/// More than NATS takes.
const MAX_REPLICAS: usize = 5;

/// Less than that is over before a host could give a sign.
const MIN_TIME: Duration = Duration::from_secs(1);

impl NatsConfig {
    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(tls) = &mut self.tls {
            for file in [&mut tls.ca, &mut tls.certificate, &mut tls.key].into_iter().flatten() {
                *file = folder.join(&*file);
            }
            if tls.certificate.is_some() != tls.key.is_some() {
                return Err("tls: `certificate` and `key` go together".to_owned());
            }
        }
        if let Some(file) = &mut self.credentials {
            *file = folder.join(&*file);
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        if self.servers.is_empty() {
            return Err("`servers` names at least one, as \"nats://127.0.0.1:4222\"".to_owned());
        }
        // NATS would not be told of it, and it would be shown wherever the address is.
        if self.servers.iter().any(|server| server.contains('@')) {
            return Err(
                "`servers` have no room for a user or a token; set `user` and `password`, or `token`"
                    .to_owned(),
            );
        }
        if self.user.is_some() != self.password.is_some() {
            return Err("`user` and `password` go together".to_owned());
        }
        let ways = [self.credentials.is_some(), self.user.is_some(), self.token.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(
                "`credentials`, `user` and `token` are three ways to say who it is; keep one".to_owned()
            );
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if self.prefix.is_empty() || self.prefix.len() > MAX_PREFIX || !self.prefix.bytes().all(allowed) {
            return Err(format!("`prefix` is 1 to {MAX_PREFIX} letters, digits, `-` or `_`"));
        }
        let replicas = self.queues.iter().filter_map(|rule| rule.replicas);
        let mut replicas =
            replicas.chain(self.topics.iter().filter_map(|rule| rule.replicas)).chain([self.replicas]);
        if !replicas.all(|replicas| (1..=MAX_REPLICAS).contains(&replicas)) {
            return Err(format!("`replicas` is between 1 and {MAX_REPLICAS}"));
        }
        let waits = self.queues.iter().filter_map(|rule| rule.ack_wait);
        if waits.chain([self.ack_wait, self.idle]).any(|time| time < MIN_TIME) || self.timeout.is_zero() {
            return Err(format!(
                "`ack_wait` and `idle` are at least {MIN_TIME:?}, and `timeout` is above zero"
            ));
        }
        Ok(())
    }

    /// How the stream of a queue is kept, and how long NATS waits for a sign of who holds one of its events.
    #[must_use]
    pub fn queue(&self, queue: &Name) -> (StreamRetention, Duration) {
        let rule = self.queues.iter().find(|rule| rule.name.fits(queue));
        let keeping = self.keeping(rule.and_then(|rule| rule.replicas), rule.and_then(|rule| rule.storage));
        (keeping, rule.and_then(|rule| rule.ack_wait).unwrap_or(self.ack_wait))
    }

    /// How the stream of a topic is kept.
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
