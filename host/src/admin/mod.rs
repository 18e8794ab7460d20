//! The listener for operators: health, metrics, deploys, reloads, requests, queues and topics.

mod access;
mod api;
pub mod client;
mod exposition;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use linger_config::{AdminConfig, FileMode, ListenAddress, SilenceTimeouts};
use linger_net::{AcceptedSocket, SocketStream};

pub use api::AdminContext;
pub use exposition::MetricsExposition;

/// The header in which the client says what file a component is from.
const SOURCE: &str = "linger-source";

/// The header in which the client says which requests the component is for, if not for all.
const CANARY: &str = "linger-canary";

/// Operators are few. More wait for a connection.
const MAX_CONNECTIONS: usize = 256;

/// How long the head of a request may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An open admin listener.
pub struct AdminListener {
    /// One, but for what systemd passes.
    sockets: Vec<linger_net::BoundListener>,
    config: AdminConfig,
}

impl AdminListener {
    /// Opens it. A Unix socket that nobody listens at any more is replaced. To be called in the runtime that serves.
    pub fn open(config: AdminConfig) -> io::Result<Self> {
        let sockets = linger_net::BoundListener::open(
            &config.listen,
            FileMode::OWNER.bits(),
            &SilenceTimeouts::default(),
        )?;
        Ok(Self { sockets, config })
    }

    /// Its address, with the actual port.
    #[must_use]
    pub fn address(&self) -> ListenAddress {
        self.sockets.first().map_or_else(|| self.config.listen.clone(), |socket| socket.address().clone())
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, operated: AdminContext) {
        let api = Arc::new(api::AdminApi::new(operated, self.config));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let accepted = select_all(self.sockets.iter().map(|socket| Box::pin(socket.accept()))).await.0;
            let accepted = accepted.and_then(AcceptedSocket::stream).map(|stream| match stream {
                SocketStream::Tcp(stream) => drop(connections.spawn(connection(stream, api.clone(), permit))),
                SocketStream::Unix(stream) => {
                    drop(connections.spawn(connection(stream, api.clone(), permit)));
                }
            });
            if let Err(error) = accepted {
                // Of the process: too few descriptors, say. It passes.
                tracing::warn!("the admin listener cannot accept connections: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    api: Arc<api::AdminApi>,
    permit: OwnedSemaphorePermit,
) {
    let service = service_fn(|request| api.answer(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("admin connection closed: {error}");
    }
    drop(permit);
}
