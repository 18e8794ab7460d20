//! A connection as the kernel has it: of TCP, or of a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// Who has left is told of by an error, and not by a signal too.
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// There it is an option of the socket, and a Rust program ignores the signal anyway.
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Bytes of a response that is written in one piece.
const SMALL: usize = 1024;

/// A connected stream, registered with the runtime of its thread.
#[derive(Debug)]
pub enum SocketStream {
    /// Of TCP.
    Tcp(TcpStream),
    /// Of a Unix socket.
    Unix(UnixStream),
}

/// Passes a call on.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            SocketStream::Tcp($stream) => $call,
            SocketStream::Unix($stream) => $call,
        }
    };
}

impl SocketStream {
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(cx))
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(cx))
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, stream => stream.ready(interest).await)
    }

    pub(super) fn try_io<R>(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        each!(self, stream => stream.try_io(interest, call))
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, || Ok(send(self, bytes, NO_SIGNAL)?))
    }

    /// What is small goes out in one piece: to copy it costs the kernel less than to gather it.
    pub(super) fn try_write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut whole = [0; SMALL];
        let mut length = 0;
        for piece in pieces {
            let Some(room) = whole.get_mut(length..length + piece.len()) else {
                return each!(self, stream => stream.try_write_vectored(pieces));
            };
            room.copy_from_slice(piece);
            length += piece.len();
        }
        self.try_write(&whole[..length])
    }

    #[cfg_attr(
        all(target_os = "linux", not(linger_read_ahead)),
        expect(dead_code, reason = "only where it reads ahead")
    )]
    pub(super) fn try_read_buf(&self, bytes: &mut impl BufMut) -> io::Result<usize> {
        each!(self, stream => stream.try_read_buf(bytes))
    }

    /// Has the kernel throw away what it has not sent when the stream is closed, and reset it. A Unix socket's bytes are
    /// with its client already.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // One that is gone needs no reset.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        each!(self, stream => stream.take_error())
    }

    /// Waits until what there is to read tells something, and leaves it there. None if it ends before, or if as many as
    /// there are `bytes` do not tell.
    pub(super) async fn peek<T>(
        &self,
        bytes: &mut [u8],
        tell: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let ready = self.ready(Interest::READABLE).await?;
            let look = || {
                let count = recv(self, &mut *bytes, RecvFlags::PEEK)?.1;
                match tell(&bytes[..count]) {
                    // There is more to come, for which it is to wait.
                    None if count < bytes.len() && !ready.is_read_closed() => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    told => Ok(told),
                }
            };
            match self.try_io(Interest::READABLE, look) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                seen => return seen,
            }
        }
    }
}

impl AsFd for SocketStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl From<TcpStream> for SocketStream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for SocketStream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
