//! Where clients come in.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{ListenAddress, TrustedNetwork};

/// An address to listen on, and how its clients are taken.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Where it is: `IP:PORT` (port 0 takes a free one), `unix:PATH` for a Unix socket, relative to the configuration's
    /// folder, or `systemd:NAME` for the sockets that systemd has opened under this name (`FileDescriptorName=` of a
    /// `.socket` unit).
    pub address: ListenAddress,
    /// Who may use a Unix socket, as the mode of its file.
    #[serde(default)]
    pub mode: FileMode,
    /// What it means when a client closes its direction of an HTTP/1.1 connection: `"gone"`, or `"tolerant"`
    /// for clients that only say so that they have nothing more to send. With HTTP/2 it is always the first.
    #[serde(default)]
    pub eof: HalfClosePolicy,
    /// The certificate and key with which it speaks TLS. Without, it does not.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// The proxies in front, by their networks: `"10.0.0.0/8"`, `"192.0.2.7"`, or `"unix"` for whoever may use the Unix
    /// socket. Of these it believes who a client is, and whether it came by TLS, in the headers of `proxy_headers`. What
    /// others say there reaches no guest.
    #[serde(default)]
    pub trusted_proxies: Vec<TrustedNetwork>,
    /// In which headers the trusted proxies name their clients. The others are removed: most proxies pass on what a
    /// client has made up in them.
    #[serde(default)]
    pub proxy_headers: ProxyHeaders,
    /// Whether the trusted proxies begin each connection with a header of the PROXY protocol, version 1 or 2. Those that do
    /// not are refused. Others are clients, who have none.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// What the end of a client's stream means: it comes with a close, and also from a client that has only said
/// all that it has to say, and still reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HalfClosePolicy {
    /// The client has left. Right for nearly all that comes: browsers and libraries close both directions.
    #[default]
    Gone,
    /// It may still read. Whether it does shows by what it answers to the next byte.
    Tolerant,
}

/// In which headers proxies name their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeaders {
    /// `x-forwarded-for` and `x-forwarded-proto`.
    #[default]
    XForwarded,
    /// `forwarded` (RFC 7239).
    Forwarded,
}

/// The mode of a Unix socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(example = "0660", extend("pattern" = r"^0?[0-7]{3}$|\$\{"))]
pub struct FileMode(u32);

/// What TLS needs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The file with the certificate and those that lead to its root, as PEM, relative to the configuration's
    /// folder.
    #[schemars(example = "cert.pem")]
    pub certificate: PathBuf,
    /// The file with its private key, as PEM, relative to the configuration's folder.
    #[schemars(example = "key.pem")]
    pub key: PathBuf,
    /// A file with certificates, as PEM, relative to the configuration's folder. With it each client needs a certificate that
    /// one of them has signed. All three files are read again when they change.
    #[serde(default)]
    #[schemars(example = "clients.pem")]
    pub client_ca: Option<PathBuf>,
}

impl ListenerConfig {
    /// A listener without TLS, and with the defaults.
    #[must_use]
    pub fn plain(address: ListenAddress) -> Self {
        Self {
            address,
            mode: FileMode::default(),
            eof: HalfClosePolicy::default(),
            tls: None,
            trusted_proxies: Vec::new(),
            proxy_headers: ProxyHeaders::default(),
            proxy_protocol: false,
        }
    }

    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        self.address.complete(folder);
        if let Some(tls) = &mut self.tls {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
            tls.client_ca = tls.client_ca.as_ref().map(|file| folder.join(file));
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            return Err(
                "`proxy_protocol` is for proxies; name their networks in `trusted_proxies`".to_owned()
            );
        }
        Ok(())
    }
}

impl Default for FileMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl FileMode {
    /// For its owner alone.
    pub const OWNER: Self = Self(0o600);

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for FileMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| digit.is_ascii_digit());
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if digits && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("`{text}` is no mode of a file; write it in octal, as \"0660\"")),
        }
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(&format_args!("{:04o}", self.0))
    }
}
