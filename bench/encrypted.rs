//! Clients that greet behind TLS, over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Request;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::BenchClient;
use crate::load::{self, CONNECTIONS, Done, LoadWork};

/// The protocols, as TLS has them.
pub(crate) const HTTP1: &[u8] = b"http/1.1";
pub(crate) const HTTP2: &[u8] = b"h2";

/// Greets for a while, on new connections.
pub(crate) async fn round(
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    protocol: &'static [u8],
    length: Duration,
) -> anyhow::Result<Done> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let start = Instant::now();
    let end = start + length;
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connector = connector.clone();
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            if protocol == HTTP2 {
                return http2(stream, end).await;
            }
            load::ask(BenchClient::new(stream), &LoadWork::Hello.requests(0), end).await
        });
    }
    let mut count = 0;
    while let Some(ended) = clients.join_next().await {
        count += ended??;
    }
    Ok(Done { count, took: start.elapsed() })
}

async fn http2(stream: TlsStream<TcpStream>, end: Instant) -> anyhow::Result<u32> {
    let (mut requests, connection) = h2::client::handshake(stream).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut done = 0;
    while Instant::now() < end {
        requests = requests.ready().await?;
        let (response, _) = requests.send_request(Request::get("https://localhost/").body(())?, true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "{}", response.status());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        done += 1;
    }
    drop(requests);
    driver.join_next().await.context("no connection")???;
    Ok(done)
}
