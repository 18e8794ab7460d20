//! One connection of a client, down to the bytes that its kernel holds.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What bytes go through: the socket, or TLS over it.
pub(super) trait WireIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> WireIo for T {}

/// A connection. Dropped, it is closed: the kernel sends FIN, or RST if it holds bytes that nobody read.
pub(super) struct WireConnection {
    io: Box<dyn WireIo>,
    socket: Arc<TcpStream>,
    /// What was read and not used yet.
    pub(super) received: BytesMut,
}

impl WireConnection {
    pub(super) fn new(io: Box<dyn WireIo>, socket: Arc<TcpStream>) -> Self {
        Self { io, socket, received: BytesMut::new() }
    }

    /// What speaks HTTP by itself takes over.
    pub(super) fn into_io(self) -> Box<dyn WireIo> {
        self.io
    }

    /// Sends all of it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Sends as much of it as is taken before nothing moves for `patience`.
    pub(super) async fn send_what_fits(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match timeout(patience, self.io.write(rest)).await {
                Ok(written) => rest = &rest[written?..],
                Err(_) => return Ok(()),
            }
        }
        timeout(patience, self.io.flush()).await.unwrap_or(Ok(()))
    }

    /// Reads more into `received`; 0 at the end.
    pub(super) async fn receive(&mut self) -> io::Result<usize> {
        self.io.read_buf(&mut self.received).await
    }

    /// How many bytes the kernel holds that nobody has read.
    pub(super) fn unread(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(&*self.socket)?)
    }

    /// Waits until the kernel holds at least `least` bytes, and no more come.
    pub(super) async fn unread_settles(&self, least: u64) -> io::Result<u64> {
        const LOOK: Duration = Duration::from_millis(5);
        /// Looks without a change.
        const QUIET: u32 = 20;
        let (mut before, mut quiet) = (0, 0);
        loop {
            let now = self.unread()?;
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            if now >= least && quiet >= QUIET {
                return Ok(now);
            }
            sleep(LOOK).await;
        }
    }

    /// Takes this many bytes from the kernel as they are, below TLS.
    pub(super) async fn discard(&mut self, count: u64) -> io::Result<()> {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            self.socket.readable().await?;
            let room = left.min(buffer.len());
            match self.socket.try_read(&mut buffer[..room]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => left -= read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says over TLS that nothing more comes; in clear there is no such word.
    pub(super) async fn close_notify(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    /// Closes the sending half.
    pub(super) fn half_close(&self) -> io::Result<()> {
        SockRef::from(&*self.socket).shutdown(Shutdown::Write)
    }

    /// Closes it with a RST.
    pub(super) fn reset(self) -> io::Result<()> {
        SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO))
    }
}

/// A socket that others look at while it is read and written.
pub(super) struct SharedSocket(pub(super) Arc<TcpStream>);

impl AsyncRead for SharedSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// How the socket ends is the business of [`WireConnection`].
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
