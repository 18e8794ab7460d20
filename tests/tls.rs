//! TLS: certificates that change while clients come, and clients that need one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{Certificate, Server, assert_refused, eventually, serve_in_vain, write_config};

/// A client that trusts these, and has this one for itself.
pub(crate) fn client(trusted: &[&Certificate], own: Option<&Certificate>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(CertificateDer::from_pem_file(certificate.file()).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_file(own.file()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(own.key()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// Asks on a connection of its own. Gives the server's certificate.
async fn ask(address: SocketAddr, client: &TlsConnector) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = client.connect(name, stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(certificate)
}

/// Puts a certificate and its key in the place of others, one after the other.
fn put(certificate: &Certificate, folder: &Path) {
    for (from, to) in [(certificate.file(), "cert.pem"), (certificate.key(), "key.pem")] {
        let new = folder.join("new");
        std::fs::copy(from, &new).unwrap();
        std::fs::rename(new, folder.join(to)).unwrap();
    }
}

const LISTENER: &str =
    "[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n";
const APP: &str = "[apps.app]\ncomponent = '{hello}'\n";

#[tokio::test]
async fn certificate_that_is_replaced_fails_no_handshake() {
    let certificates = [Certificate::new(), Certificate::new(), Certificate::new()];
    let folder = tempfile::tempdir().unwrap();
    put(&certificates[0], folder.path());
    let server = Server::in_folder(folder, &format!("{LISTENER}{APP}")).await;
    let client = client(&certificates.each_ref(), None);
    for certificate in &certificates[1..] {
        put(certificate, server.folder());
        let new = CertificateDer::from_pem_file(certificate.file()).unwrap();
        // One after the other, while the files change: each one is answered.
        eventually("the new certificate counts", async || {
            (ask(server.address(), &client).await.unwrap() == new.as_ref()).then_some(())
        })
        .await;
    }
    // One that is of no use changes nothing.
    std::fs::write(server.folder().join("cert.pem"), "no certificate").unwrap();
    server.log.line(&["the certificate is not reloaded", "cert.pem"]).await;
    ask(server.address(), &client).await.unwrap();
}

#[tokio::test]
async fn client_needs_a_certificate_where_that_is_wanted() {
    let [server_one, known, stranger] = [Certificate::new(), Certificate::new(), Certificate::new()];
    let folder = tempfile::tempdir().unwrap();
    put(&server_one, folder.path());
    std::fs::copy(known.file(), folder.path().join("clients.pem")).unwrap();
    let server = Server::in_folder(folder, &format!("{LISTENER}client_ca = 'clients.pem'\n{APP}")).await;
    ask(server.address(), &client(&[&server_one], Some(&known))).await.unwrap();
    for other in [None, Some(&stranger)] {
        ask(server.address(), &client(&[&server_one], other)).await.unwrap_err();
    }
}

#[tokio::test]
async fn authority_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    put(&Certificate::new(), folder.path());
    std::fs::write(folder.path().join("clients.pem"), "no certificate").unwrap();
    let config = write_config(folder.path(), &format!("{LISTENER}client_ca = 'clients.pem'\n{APP}"));
    let output = serve_in_vain(&config, &[]);
    assert_refused(&output, &["clients.pem", "certificate"]);
}
