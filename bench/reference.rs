//! What a departure takes without Linger: the machine's own part, in the same run.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::server::Threads;

const NOTE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nme";

/// A server with threads of its own, and a task for each connection that waits for its end: no HTTP, no guest.
pub(crate) struct Reference {
    _threads: Threads,
    address: SocketAddr,
}

impl Reference {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let threads = Threads::new()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = threads.handle.enter();
            TcpListener::from_std(listener)?
        };
        threads.handle.spawn(async move {
            let notes = Arc::new(Semaphore::new(0));
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever breaks off counts as gone.
                connections.spawn(serve(stream, notes.clone()));
            }
        });
        Ok(Self { _threads: threads, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers those who want to be told, each time that one of the others has left.
async fn serve(mut stream: TcpStream, notes: Arc<Semaphore>) {
    let mut request = [0; 1024];
    let mut told = false;
    while let Ok(1..) = stream.read(&mut request).await {
        told = request.starts_with(b"GET /told ");
        if told {
            let Ok(note) = notes.acquire().await else { return };
            note.forget();
            if stream.write_all(NOTE).await.is_err() {
                return;
            }
        }
    }
    if !told {
        notes.add_permits(1);
    }
}
