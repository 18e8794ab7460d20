//! Where clients come in.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Eof;

/// An address to listen on, and how its clients are taken.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address, as `IP:PORT`; port 0 takes a free one.
    #[schemars(example = super::DEFAULT_LISTEN)]
    pub address: SocketAddr,
    /// What it means when a client closes its direction of an HTTP/1.1 connection: `"gone"`, or `"tolerant"`
    /// for clients that only say so that they have nothing more to send. With HTTP/2 it is always the first.
    #[serde(default)]
    pub eof: Eof,
    /// The certificate and key with which it speaks TLS. Without, it does not.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// What TLS needs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
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

impl Listener {
    /// A listener without TLS, and with the defaults.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, eof: Eof::default(), tls: None }
    }
}
