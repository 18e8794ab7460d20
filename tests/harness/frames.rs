//! HTTP/2 by hand: a client that makes room for answers only when it is told to, and answers all PINGs.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use super::soon;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// What came, that a test may wait for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// The head of an answer, or its trailers, and whether it is the last.
    Head {
        stream: u32,
        end: bool,
    },
    /// So much data, and whether it is the last.
    Data {
        stream: u32,
        bytes: usize,
        end: bool,
    },
    /// A stream was reset, with this code.
    Reset {
        stream: u32,
        code: u32,
    },
    /// The answer to a PING of this client.
    Pong,
    GoAway,
    /// The server has closed the connection.
    Closed,
}

/// The code CANCEL.
pub(crate) const CANCEL: u32 = 8;

/// A connection.
pub(crate) struct Frames {
    socket: TcpStream,
    came: BytesMut,
    next: u32,
    /// Reads so much at a time, and waits so long before.
    slowly: Option<(usize, Duration)>,
}

impl Frames {
    /// Opens a connection whose streams have this much room for an answer, and the connection as much as can be.
    pub(crate) async fn connect(address: SocketAddr, window: u32) -> Self {
        let socket = soon("connecting", TcpStream::connect(address)).await.unwrap();
        Self::over(socket, window, None).await
    }

    /// The same with little room in the kernel, and it reads 40 KB a second from there.
    pub(crate) async fn connect_slowly(address: SocketAddr, window: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let socket = soon("connecting", socket.connect(address)).await.unwrap();
        Self::over(socket, window, Some((4_000, Duration::from_millis(100)))).await
    }

    async fn over(socket: TcpStream, window: u32, slowly: Option<(usize, Duration)>) -> Self {
        socket.set_nodelay(true).unwrap();
        let mut this = Self { socket, came: BytesMut::new(), next: 1, slowly };
        let mut hello = PREFACE.to_vec();
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        hello.extend(frame(SETTINGS, 0, 0, &setting));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &0x4000_0000_u32.to_be_bytes()));
        this.send(&hello).await;
        this
    }

    async fn send(&mut self, bytes: &[u8]) {
        soon("sending", self.socket.write_all(bytes)).await.unwrap();
    }

    /// Sends a GET, and gives the number of its stream.
    pub(crate) async fn get(&mut self, path: &str) -> u32 {
        // GET, http, authority, path.
        let mut head = b"\x82\x86\x41\x01x\x04".to_vec();
        head.push(path.len().try_into().unwrap());
        head.extend(path.as_bytes());
        let stream = self.next;
        self.next += 2;
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)).await;
        stream
    }

    /// Makes room for so much more of an answer.
    pub(crate) async fn make_room(&mut self, stream: u32, bytes: u32) {
        self.send(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await;
    }

    pub(crate) async fn ping(&mut self) {
        self.send(&frame(PING, 0, 0, b"by hand.")).await;
    }

    /// What comes next, in any time.
    pub(crate) async fn next(&mut self) -> Came {
        loop {
            let Some((kind, flags, stream, payload)) = self.frame().await else { return Came::Closed };
            let end = flags & END_STREAM != 0;
            match kind {
                HEADERS => return Came::Head { stream, end },
                DATA => return Came::Data { stream, bytes: payload.len(), end },
                RST_STREAM => {
                    return Came::Reset {
                        stream,
                        code: u32::from_be_bytes(payload[..4].try_into().unwrap()),
                    };
                }
                GOAWAY => return Came::GoAway,
                PING if flags & ACK != 0 => return Came::Pong,
                PING => self.try_send(&frame(PING, ACK, 0, &payload)).await,
                SETTINGS if flags & ACK == 0 => self.try_send(&frame(SETTINGS, ACK, 0, &[])).await,
                _ => {}
            }
        }
    }

    /// The server may have closed.
    async fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Bytes)> {
        loop {
            if let &[a, b, c, kind, flags, d, e, f, g, ..] = &self.came[..] {
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if self.came.len() >= HEAD + length {
                    let payload = self.came.split_to(HEAD + length).freeze().slice(HEAD..);
                    return Some((kind, flags, u32::from_be_bytes([d, e, f, g]), payload));
                }
            }
            let most = match self.slowly {
                Some((most, pause)) => {
                    sleep(pause).await;
                    most
                }
                None => 64 * 1024,
            };
            match (&mut self.socket).take(most as u64).read_buf(&mut self.came).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}
