//! A Redis of our own, where `redis-server` is installed, and the little of its protocol that is needed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};

const START: Duration = Duration::from_secs(10);

/// Whether there is one to compare with.
pub(crate) fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Ends when it is dropped.
pub(crate) struct Redis {
    process: Child,
    socket: PathBuf,
    port: u16,
    // In the end, when nobody writes there any more.
    _folder: TempDir,
}

impl Redis {
    /// Starts one with its files in this folder, and with these options.
    pub(crate) async fn start(folder: TempDir, options: &[&str]) -> anyhow::Result<Self> {
        let socket = folder.path().join("socket");
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            // The path of a socket is short: it is named from the folder that the server is in.
            .args(["--unixsocket", "socket", "--save", "", "--daemonize", "no"])
            .args(options)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("log"))?)
            .spawn()
            .context("redis-server does not start")?;
        let redis = Self { process, socket, port, _folder: folder };
        let end = Instant::now() + START;
        while let Err(error) = RedisConnection::tcp(redis.address()).await {
            ensure!(Instant::now() < end, "redis-server does not listen: {error}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(redis)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Over the cheapest way there is.
    pub(crate) async fn connect(&self) -> anyhow::Result<RedisConnection<UnixStream>> {
        Ok(RedisConnection::new(UnixStream::connect(&self.socket).await?))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the server says.
#[derive(Debug)]
pub(crate) enum Reply {
    Nothing,
    Number,
    Text(Vec<u8>),
    Many(Vec<Reply>),
}

impl Reply {
    pub(crate) fn text(&self) -> Option<&[u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The id of the first event that was read from the first stream.
    pub(crate) fn first_event(&self) -> Option<&[u8]> {
        self.at(0)?.at(1)?.at(0)?.at(0)?.text()
    }

    fn at(&self, place: usize) -> Option<&Self> {
        if let Self::Many(replies) = self { replies.get(place) } else { None }
    }
}

/// Adds a command to what is to be sent.
pub(crate) fn command(request: &mut Vec<u8>, words: &[&[u8]]) {
    request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        request.extend_from_slice(word);
        request.extend_from_slice(b"\r\n");
    }
}

/// One command.
pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    command(&mut request, words);
    request
}

/// One client.
pub(crate) struct RedisConnection<S> {
    stream: S,
    received: Vec<u8>,
}

impl RedisConnection<TcpStream> {
    pub(crate) async fn tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RedisConnection<S> {
    fn new(stream: S) -> Self {
        Self { stream, received: Vec::with_capacity(1024) }
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    /// One command, and what is said to it.
    pub(crate) async fn ask(&mut self, words: &[&[u8]]) -> anyhow::Result<Reply> {
        self.send(&request(words)).await?;
        self.reply().await
    }

    pub(crate) async fn reply(&mut self) -> anyhow::Result<Reply> {
        loop {
            let mut rest = self.received.as_slice();
            if let Some(reply) = parse(&mut rest)? {
                let used = self.received.len() - rest.len();
                self.received.drain(..used);
                return Ok(reply);
            }
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "redis-server has closed");
        }
    }
}

/// A reply, if all of it is there; then `rest` is what comes after.
fn parse(rest: &mut &[u8]) -> anyhow::Result<Option<Reply>> {
    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let (line, after) = rest.split_at(end);
    *rest = &after[2..];
    let (kind, line) = line.split_first().context("an empty line")?;
    let number = || anyhow::Ok(std::str::from_utf8(line)?.parse::<i64>()?);
    let reply = match kind {
        b'+' => Reply::Text(line.to_vec()),
        b'-' => bail!("redis-server refuses: {}", line.escape_ascii()),
        b':' => Reply::Number,
        b'$' | b'*' if number()? < 0 => Reply::Nothing,
        b'$' => {
            let length = usize::try_from(number()?)?;
            let Some((text, after)) = rest.split_at_checked(length + 2) else { return Ok(None) };
            *rest = after;
            Reply::Text(text[..length].to_vec())
        }
        b'*' => {
            let mut replies = Vec::new();
            for _ in 0..number()? {
                let Some(reply) = parse(rest)? else { return Ok(None) };
                replies.push(reply);
            }
            Reply::Many(replies)
        }
        kind => bail!("a reply of the kind {kind}"),
    };
    Ok(Some(reply))
}
