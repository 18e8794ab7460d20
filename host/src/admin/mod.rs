//! The listener for operators: health, metrics, deploys, reloads, requests, queues and topics.

mod access;
mod api;
pub mod client;

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::config::{Admin, AdminAddress};
pub use api::Operated;

/// The header in which the client says what file a component is from.
const SOURCE: &str = "linger-source";

/// The header in which the client says which requests the component is for, if not for all.
const CANARY: &str = "linger-canary";

/// Operators are few. More wait for a connection.
const MAX_CONNECTIONS: usize = 256;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 32;

/// How long the head of a request may take, and a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An open admin listener.
pub struct Listener {
    socket: Socket,
    config: Admin,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, Owned),
}

/// A socket's file, removed with its listener.
struct Owned(PathBuf);

impl Drop for Owned {
    fn drop(&mut self) {
        // Who removed it before wanted the same.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Opens it. A Unix socket that nobody listens at any more is replaced.
    pub async fn open(config: Admin) -> io::Result<Self> {
        let socket = match &config.listen {
            AdminAddress::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?),
            AdminAddress::Unix(path) => Socket::Unix(bind(path)?, Owned(path.clone())),
        };
        Ok(Self { socket, config })
    }

    /// Where it is, with the port that it got.
    pub fn address(&self) -> io::Result<AdminAddress> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => AdminAddress::Tcp(listener.local_addr()?),
            Socket::Unix(_, path) => AdminAddress::Unix(path.0.clone()),
        })
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, operated: Operated) {
        let api = Arc::new(api::Api::new(operated, self.config));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    connections.spawn(connection(stream, api.clone(), permit));
                }),
                Socket::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                    connections.spawn(connection(stream, api.clone(), permit));
                }),
            };
            if let Err(error) = accepted {
                // Of the process: too few descriptors, say. It passes.
                tracing::warn!("the admin listener cannot accept: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// A socket that only its owner can use.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: until then nobody connects.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    api: Arc<api::Api>,
    permit: OwnedSemaphorePermit,
) {
    let service = service_fn(|request| api.answer(request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("admin connection ended: {error}");
    }
    drop(permit);
}
