//! TLS: a listener's certificate and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ServerConfig};

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of its kind.
    #[error("{}: no {what} in it ({source}); name a PEM file with one", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// The two do not go together, or are of a kind that is not known.
    #[error("{}: the certificate and its key cannot be used: {source}", file.display())]
    Unusable {
        /// The certificate's file.
        file: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Speaks TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. Reads files, so it blocks.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |file: &Path, what| {
        let file = file.to_owned();
        move |source| TlsError::File { file, what, source }
    };
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|found| if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) })
        .map_err(unreadable(certificate, "certificate"))?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private_key))
        .map_err(|source| TlsError::Unusable { file: certificate.to_owned(), source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
