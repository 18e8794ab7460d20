//! A client that costs little, so that the server is what is measured.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A connection that is kept. Dropped, it is closed.
pub(crate) struct BenchClient<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

/// The bytes of a request.
pub(crate) fn request(method: &str, target: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nhost: bench\r\n{length}\r\n{body}")
}

impl BenchClient {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// From an address of its own, for clients by the thousand: to find the last free ports of one address takes
    /// the kernel longer than a server takes for a connection.
    pub(crate) async fn connect_from(source: SocketAddr, address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // The last run may have had it.
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
        Self::over(socket.connect(address).await?)
    }

    fn over(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// Whether nothing has come since the last answer.
    pub(crate) fn is_waiting(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> BenchClient<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: Vec::with_capacity(1024) }
    }

    pub(crate) async fn send(&mut self, request: &str) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    pub(crate) async fn ask(&mut self, request: &str) -> anyhow::Result<u16> {
        self.send(request).await?;
        self.answer().await
    }

    /// Reads an answer to its end, and gives its status.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<u16> {
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server has closed the connection");
            }
            if let Some(status) = whole(&self.received)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer, once all of it is there: the only one that is under way.
pub(crate) fn whole(received: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = received.split_at(head + 4);
    let text = std::str::from_utf8(head)?;
    let status = text.get(9..12).context("no status")?.parse()?;
    let length = text.lines().find_map(content_length);
    let whole = match length {
        Some(length) => body.len() >= length.parse()?,
        None => status == 204 || body.ends_with(b"0\r\n\r\n"),
    };
    Ok(whole.then_some(status))
}

/// Go writes the name in capitals.
fn content_length(line: &str) -> Option<&str> {
    let (name, length) = line.split_once(": ")?;
    name.eq_ignore_ascii_case("content-length").then_some(length)
}
