//! A client that sends what it is told, and leaves.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum FuzzLeave {
    Close,
    Reset,
    /// Closes its direction, and reads until the server closes the other.
    HalfClose,
    /// Reads what there is, and then closes.
    ReadThenClose,
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    bytes: &'a [u8],
    /// The bytes go in pieces of this size.
    piece: usize,
    /// Turns that the server gets after each piece.
    turns: u8,
    leave: FuzzLeave,
}

impl<'a> Script<'a> {
    /// A script from an input of the fuzzer, unless that is too short.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let [bytes @ .., pieces, leave] = data else { return None };
        let leave_how = match leave % 4 {
            0 => FuzzLeave::Close,
            1 => FuzzLeave::Reset,
            2 => FuzzLeave::HalfClose,
            _ => FuzzLeave::ReadThenClose,
        };
        // Zero: all at once.
        let piece = if *pieces == 0 { usize::MAX } else { usize::from(*pieces) };
        Some(Self { bytes, piece, turns: leave / 4 % 8, leave: leave_how })
    }

    /// Connects, sends, and leaves. What the server does to the connection meanwhile is its right.
    pub async fn play(&self, server: SocketAddr) {
        let Ok(stream) = TcpStream::connect(server).await else { return };
        let _ = stream.set_nodelay(true);
        for piece in self.bytes.chunks(self.piece.min(self.bytes.len().max(1))) {
            // The server takes what it wants: a client that insisted would wait for ever.
            if stream.try_write(piece).is_err() {
                break;
            }
            for _ in 0..self.turns {
                tokio::task::yield_now().await;
            }
        }
        self.leave(stream).await;
    }

    async fn leave(&self, mut stream: TcpStream) {
        let mut waste = [0; 4096];
        match self.leave {
            FuzzLeave::Close => {}
            FuzzLeave::Reset => {
                let _ = stream.set_zero_linger();
            }
            FuzzLeave::HalfClose => {
                let _ = stream.shutdown().await;
                while matches!(stream.read(&mut waste).await, Ok(1..)) {}
            }
            FuzzLeave::ReadThenClose => {
                for _ in 0..32 {
                    tokio::task::yield_now().await;
                    let _ = stream.try_read(&mut waste);
                }
            }
        }
    }
}
