//! Listeners for clients.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{ListenAddress, TrustedNetwork};

/// A listener: its address, and the rules for its clients.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// The address: `IP:PORT` (port 0 takes a free one); `unix:PATH` for a Unix socket, relative to the
    /// configuration's folder; or `systemd:NAME` for sockets opened by systemd under this name
    /// (`FileDescriptorName=` of a `.socket` unit).
    pub address: ListenAddress,
    /// File mode of a Unix socket: who may connect.
    #[serde(default)]
    pub mode: FileMode,
    /// What a half-closed HTTP/1.1 connection means: the client has shut down its sending side. With HTTP/2 it is
    /// always `"gone"`.
    #[serde(default)]
    pub eof: HalfClosePolicy,
    /// Certificate and key for TLS. Default: no TLS.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Networks of the trusted proxies in front: `"10.0.0.0/8"`, `"192.0.2.7"`, or `"unix"` for every peer of the
    /// Unix socket. The headers of `proxy_headers` from these proxies tell the client's address, and whether it
    /// used TLS. From other peers, these headers are removed.
    #[serde(default)]
    pub trusted_proxies: Vec<TrustedNetwork>,
    /// The headers in which the trusted proxies name the client. The other kind is removed, because most proxies
    /// forward it unchanged, with whatever a client wrote.
    #[serde(default)]
    pub proxy_headers: ProxyHeaders,
    /// Whether trusted proxies start each connection with a PROXY protocol header, version 1 or 2. A trusted proxy
    /// without this header is refused. Other peers are clients, and do not send one.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// What the end of a client's stream means: it comes with a close, and also from a client that has only said
/// all that it has to say, and still reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HalfClosePolicy {
    /// The client has disconnected. Right for nearly all clients: browsers and libraries close both directions.
    #[default]
    Gone,
    /// The client may still read. Whether it does shows by its kernel's reply to the next byte that is sent.
    Tolerant,
}

/// The headers in which proxies name the client.
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

/// Certificates and key for TLS.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain: a PEM file, relative to the configuration's folder.
    #[schemars(example = "cert.pem")]
    pub certificate: PathBuf,
    /// The private key: a PEM file, relative to the configuration's folder.
    #[schemars(example = "key.pem")]
    pub key: PathBuf,
    /// Certificate authorities for client certificates (mutual TLS): a PEM file, relative to the configuration's
    /// folder. If set, each client needs a certificate signed by one of them. All three files are reloaded when
    /// they change.
    #[serde(default)]
    #[schemars(example = "clients.pem")]
    pub client_ca: Option<PathBuf>,
}

impl ListenerConfig {
    /// A listener without TLS, with defaults.
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
                "`proxy_protocol` needs trusted proxies; list their networks in `trusted_proxies`".to_owned()
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
    /// Accessible to its owner only.
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
            _ => Err(format!("`{text}` is not a file mode; write it in octal, such as \"0660\"")),
        }
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(&format_args!("{:04o}", self.0))
    }
}
