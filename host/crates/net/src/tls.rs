//! TLS: a listener's certificate and key, and those of its clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use linger_base::FileStamp;

/// The reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has no certificate or key.
    #[error("{}: the file has no {what} ({cause}); give the path of a PEM file with one", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        cause: pem::Error,
    },
    /// The certificate and key do not match, or are of an unknown kind.
    #[error("{}: cannot use the certificate with its key: {cause}", file.display())]
    Unusable {
        /// The certificate's file.
        file: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
    /// The certificate authorities cannot be used to verify client certificates.
    #[error("{}: cannot verify client certificates with these authorities: {cause}", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: VerifierBuilderError,
    },
    /// TLS cannot be set up for outgoing requests.
    #[error("cannot set up TLS for outgoing requests: {0}")]
    Client(rustls::Error),
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Speaks TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, with files that can change.
pub struct TlsTerminator {
    files: linger_config::TlsConfig,
    /// For the next connection. Those that there are keep theirs.
    current: ArcSwap<ServerConfig>,
    /// What the files were when they were read first.
    seen: TlsStamps,
}

impl TlsTerminator {
    /// Reads the files. Blocks.
    pub fn open(files: linger_config::TlsConfig) -> Result<Arc<Self>, TlsError> {
        let seen = stamps(&files);
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current, seen }))
    }

    /// The acceptor for the next connection.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again whenever they have changed, for as long as it is polled. Those that cannot be used, as when one
    /// of them was replaced and the other not yet, change nothing.
    pub async fn watch(self: Arc<Self>) {
        let mut seen = self.seen;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.look().await;
            if std::mem::replace(&mut seen, now) == now {
                continue;
            }
            let (this, file) = (self.clone(), self.files.certificate.display());
            // Neither of the two panics.
            match tokio::task::spawn_blocking(move || read(&this.files)).await {
                Ok(Ok(config)) => {
                    self.current.store(Arc::new(config));
                    tracing::info!("{file}: the certificate is reloaded, and applies to new connections");
                }
                Ok(Err(error)) => {
                    tracing::error!("the certificate is not reloaded, and the old one stays in use: {error}");
                }
                Err(error) => tracing::error!("{file}: cannot read the certificate: {error}"),
            }
        }
    }

    async fn look(self: &Arc<Self>) -> TlsStamps {
        let this = self.clone();
        tokio::task::spawn_blocking(move || stamps(&this.files)).await.unwrap_or_default()
    }
}

/// What the files are: the certificate, its key, and what clients' are signed by.
type TlsStamps = [Option<FileStamp>; 3];

fn stamps(files: &linger_config::TlsConfig) -> TlsStamps {
    let linger_config::TlsConfig { certificate, key, client_ca } = files;
    [Some(certificate), Some(key), client_ca.as_ref()].map(|file| FileStamp::of(file?))
}

fn read(files: &linger_config::TlsConfig) -> Result<ServerConfig, TlsError> {
    let linger_config::TlsConfig { certificate, key, client_ca } = files;
    let unusable = |file: &Path| {
        let file = file.to_owned();
        move |cause| TlsError::Unusable { file, cause }
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable(certificate))?;
    let builder = match client_ca {
        Some(file) => builder.with_client_cert_verifier(verifier(file, provider)?),
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(certificate)?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "private key"))?;
    let mut config = builder.with_single_cert(chain, private_key).map_err(unusable(certificate))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Wants a certificate of each client that one of these has signed.
fn verifier(file: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(file)?), provider)
        .build()
        .map_err(|cause| TlsError::Authority { file: file.to_owned(), cause })
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|cause| TlsError::Unusable { file: file.to_owned(), cause })?;
    }
    Ok(roots)
}

/// Speaks TLS and HTTP/1.1 to other servers, whose certificates are from the authorities in a PEM file, or else from public
/// ones. Blocks.
pub fn connector(ca: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let roots = match ca {
        Some(file) => authorities(file)?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Client)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) })
        .map_err(unreadable(file, "certificate"))
}

fn unreadable(file: &Path, what: &'static str) -> impl FnOnce(pem::Error) -> TlsError {
    let file = file.to_owned();
    move |cause| TlsError::File { file, what, cause }
}
