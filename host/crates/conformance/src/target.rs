//! The server under test: where it is, and how to connect to it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::wire::{SharedSocket, WireConnection};

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateTrust {
    /// Those of the public authorities.
    Public,
    /// Those that the certificates in this PEM file stand for.
    File(PathBuf),
    /// Everybody's.
    Anybody,
}

/// Why a server cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL names no server.
    #[error("{0}: not the URL of a server; give one as http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// The file of authorities is of no use.
    #[error("{}: {problem}; give a PEM file with the authority's certificate", file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers there, or not as a server of this scheme does.
    #[error("{url}: cannot connect: {problem}; start the server, or correct the address{}", hint(problem))]
    Unreachable {
        /// The URL.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// It does something else than the contract says.
    #[error(
        "{url}: {problem}; the server has to answer POST /push/{{queue}} and GET /poll/{{queue}}?wait=SECONDS as `linger conformance --help` says"
    )]
    Contract {
        /// The URL.
        url: String,
        /// What it does.
        problem: String,
    },
}

fn hint(problem: &str) -> &'static str {
    if problem.contains("certificate") { ", or trust its certificate with --ca or --insecure" } else { "" }
}

/// A server.
#[derive(Clone)]
pub(super) struct TestTarget {
    pub(super) url: String,
    /// What `host` says.
    pub(super) authority: String,
    /// Comes before `/push` and `/poll`.
    base: String,
    addresses: Vec<SocketAddr>,
    tls: Option<TargetTls>,
}

/// How to speak TLS with it.
#[derive(Clone)]
struct TargetTls {
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl TestTarget {
    pub(super) async fn find(url: &str, trust: &CertificateTrust) -> Result<Self, TargetError> {
        let bad_url = || TargetError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad_url())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(bad_url());
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(bad_url()),
        };
        let tls = match scheme {
            "https" => {
                Some(TargetTls::new(ServerName::try_from(host.clone()).map_err(|_| bad_url())?, trust)?)
            }
            _ => None,
        };
        let port = authority.port_u16().unwrap_or(port);
        let unreachable = |problem: String| TargetError::Unreachable { url: url.to_owned(), problem };
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| unreachable(error.to_string()))?
            .collect::<Vec<_>>();
        let base = uri.path().trim_end_matches('/').to_owned();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, authority: authority.as_str().to_owned(), base, addresses, tls })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    pub(super) fn push_path(&self, queue: &str) -> String {
        format!("{}/push/{queue}", self.base)
    }

    pub(super) fn poll_path(&self, queue: &str, wait: Duration) -> String {
        format!("{}/poll/{queue}?wait={}", self.base, wait.as_secs())
    }

    /// Connects. Over TLS it is an error if HTTP/2 is wanted and the server does not choose it.
    pub(super) async fn connect(&self, http2: bool) -> io::Result<WireConnection> {
        timeout(CONNECT, self.connect_patiently(http2))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer for 5 s")))
    }

    async fn connect_patiently(&self, http2: bool) -> io::Result<WireConnection> {
        let socket = Arc::new(TcpStream::connect(&self.addresses[..]).await?);
        socket.set_nodelay(true)?;
        let io = SharedSocket(socket.clone());
        let Some(tls) = &self.tls else {
            return Ok(WireConnection::new(Box::new(io), socket));
        };
        let config = if http2 { &tls.http2 } else { &tls.http1 };
        let io = TlsConnector::from(config.clone()).connect(tls.name.clone(), io).await?;
        if http2 && io.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("HTTP/2 was not chosen"));
        }
        Ok(WireConnection::new(Box::new(io), socket))
    }
}

impl TargetTls {
    fn new(name: ServerName<'static>, trust: &CertificateTrust) -> Result<Self, TargetError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| TargetError::Url(error.to_string()))?;
        let mut config = match trust {
            CertificateTrust::Public => builder.with_root_certificates(
                webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<RootCertStore>(),
            ),
            CertificateTrust::File(file) => builder.with_root_certificates(authorities(file)?),
            CertificateTrust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            }
        }
        .with_no_client_auth();
        // Each connection should be like the first.
        config.resumption = Resumption::disabled();
        let with_protocol = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Self { name, http1: with_protocol(b"http/1.1"), http2: with_protocol(b"h2") })
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, TargetError> {
    let wrong = |problem: String| TargetError::Authorities { file: file.to_owned(), problem };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        store.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if store.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(store) }
}

/// Believes any certificate, and still checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
