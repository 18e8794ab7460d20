//! HTTP/1.1 by hand: what is sent is exactly what a test says, and how a connection ends too.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rustix::io::ioctl_fionread;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::{Answer, Head, Request, eventually, soon};

/// A connection of a client. `S` is what it reads from.
pub(crate) struct Http1<S = TcpStream> {
    stream: S,
    received: BytesMut,
    body: Body,
    /// Whether the last request was a `HEAD`, whose answer has no body whatever its head says.
    head_only: bool,
}

/// What is still to come of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Bytes(usize),
    Chunks,
    UntilClose,
}

/// The response broke off before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

impl Http1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("connecting", TcpStream::connect(address)).await.unwrap();
        Self::over(stream)
    }

    /// The same with so little room for what it does not read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(soon("connecting", socket.connect(address)).await.unwrap())
    }

    /// The same to a server that may be gone: `None` if it is.
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        Some(Self::over(soon("connecting", TcpStream::connect(address)).await.ok()?))
    }

    /// A client at this address, which has to be one of this machine.
    pub(crate) async fn connect_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Self::over(soon("connecting", socket.connect(address)).await.unwrap())
    }

    /// A client on a connection that was made elsewhere.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, received: BytesMut::new(), body: Body::Bytes(0), head_only: false }
    }

    /// Connects, and sends a request.
    pub(crate) async fn open(address: SocketAddr, request: &Request) -> Self {
        let mut connection = Self::connect(address).await;
        connection.send_request(request).await;
        connection
    }

    /// Closes it with a RST instead of a FIN.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// One who reads and one who writes, at the same time.
    pub(crate) fn split(self) -> (Http1<OwnedReadHalf>, OwnedWriteHalf) {
        let Self { stream, received, body, head_only } = self;
        let (stream, writing) = stream.into_split();
        (Http1 { stream, received, body, head_only }, writing)
    }

    /// The same with a server that may be gone: `None` if it is.
    pub(crate) async fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        if !self.try_send_request(request).await {
            return None;
        }
        self.try_answer().await.ok()
    }

    /// Sends a request to a server that may be gone: whether it is there.
    pub(crate) async fn try_send_request(&mut self, request: &Request) -> bool {
        let bytes = self.encode(request);
        soon("sending", self.stream.write_all(&bytes)).await.is_ok()
    }

    /// Waits until there is something to read, be it the end of the connection.
    pub(crate) async fn is_readable(&self) {
        soon("an answer", self.stream.readable()).await.unwrap();
    }

    /// Whether there is something to read by now.
    pub(crate) async fn has_something(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(1), self.stream.readable()).await.is_ok()
    }
}

impl Http1<UnixStream> {
    /// A client of a Unix socket.
    pub(crate) async fn at(path: &Path) -> Self {
        let stream = soon("connecting", UnixStream::connect(path)).await.unwrap();
        Self { stream, received: BytesMut::new(), body: Body::Bytes(0), head_only: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub(crate) async fn send_request(&mut self, request: &Request) {
        let bytes = self.encode(request);
        self.send(&bytes).await;
    }

    fn encode(&mut self, request: &Request) -> Vec<u8> {
        self.head_only = request.method == Method::HEAD;
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.target, request.host);
        for (name, value) in &request.headers {
            write!(bytes, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
        }
        if !request.body.is_empty() || request.method == Method::POST {
            write!(bytes, "content-length: {}\r\n", request.body.len()).unwrap();
        }
        bytes += "\r\n";
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&request.body);
        bytes
    }

    /// Sends these bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) async fn finish(&mut self) {
        soon("shutting down", self.stream.shutdown()).await.unwrap();
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        self.send_request(request).await;
        self.answer().await
    }

    /// The same where the answer, and the end of the connection, may come before all was sent.
    pub(crate) async fn ask_hastily(&mut self, request: &Request) -> Result<Answer, Cut> {
        let bytes = self.encode(request);
        // What was sent of it tells nothing.
        drop(soon("sending", self.stream.write_all(&bytes)).await);
        self.try_answer().await
    }
}

impl<S: AsFd> Http1<S> {
    /// Waits until this many bytes lie unread in the kernel.
    pub(crate) async fn arrived(&self, count: u64) {
        eventually("bytes arrive", async || (ioctl_fionread(&self.stream).unwrap() >= count).then_some(()))
            .await;
    }
}

impl<S: AsyncRead + Unpin> Http1<S> {
    /// What it reads from, for who reads by hand.
    pub(crate) fn into_stream(self) -> S {
        self.stream
    }

    /// Reads this many bytes, and leaves the others where they are.
    pub(crate) async fn read_part(&mut self, count: usize) {
        soon("reading", self.stream.read_exact(&mut vec![0; count])).await.unwrap();
    }

    /// Reads more; false at the end, whether in order or by a reset.
    async fn receive(&mut self) -> bool {
        matches!(soon("receiving", self.stream.read_buf(&mut self.received)).await, Ok(1..))
    }

    /// One line, without its end.
    async fn line(&mut self) -> Result<String, Cut> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line = self.received.split_to(end);
                self.received.advance(2);
                return Ok(String::from_utf8(line.to_vec()).unwrap());
            }
            if !self.receive().await {
                return Err(Cut);
            }
        }
    }

    async fn fields(&mut self) -> Result<HeaderMap, Cut> {
        let mut fields = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').expect("a header");
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
    }

    /// The head of the next response.
    pub(crate) async fn try_head(&mut self) -> Result<Head, Cut> {
        let line = self.line().await?;
        let mut words = line.split(' ');
        assert!(words.next().unwrap().starts_with("HTTP/1."), "{line}");
        let status = words.next().unwrap().parse().unwrap();
        let headers = self.fields().await?;
        self.body = if self.head_only { Body::Bytes(0) } else { body_of(status, &headers) };
        Ok(Head { status, headers })
    }

    pub(crate) async fn head(&mut self) -> Head {
        self.try_head().await.expect("a response, not the end of the connection")
    }

    /// The next part of the body, or none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        match self.body {
            Body::Bytes(0) => Ok(None),
            Body::Bytes(left) => {
                while self.received.is_empty() {
                    if !self.receive().await {
                        return Err(Cut);
                    }
                }
                let data = self.received.split_to(left.min(self.received.len())).freeze();
                self.body = Body::Bytes(left - data.len());
                Ok(Some(data))
            }
            Body::Chunks => {
                let size = usize::from_str_radix(&self.line().await?, 16).expect("the size of a chunk");
                while self.received.len() < size + 2 && size > 0 {
                    if !self.receive().await {
                        return Err(Cut);
                    }
                }
                if size == 0 {
                    self.body = Body::Bytes(0);
                    return Ok(None);
                }
                let data = self.received.split_to(size).freeze();
                assert_eq!(self.line().await?, "");
                Ok(Some(data))
            }
            Body::UntilClose => {
                while self.received.is_empty() {
                    if !self.receive().await {
                        return Ok(None);
                    }
                }
                Ok(Some(self.received.split().freeze()))
            }
        }
    }

    /// The rest of the body, and its trailers.
    pub(crate) async fn rest(&mut self) -> Result<(Bytes, HeaderMap), Cut> {
        let chunked = self.body == Body::Chunks;
        let mut data = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            data.extend_from_slice(&chunk);
        }
        let trailers = if chunked { self.fields().await? } else { HeaderMap::new() };
        Ok((data.freeze(), trailers))
    }

    pub(crate) async fn try_answer(&mut self) -> Result<Answer, Cut> {
        let Head { status, headers } = self.try_head().await?;
        let (body, trailers) = self.rest().await?;
        Ok(Answer { status, headers, body, trailers })
    }

    /// The next response.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("a whole response")
    }

    /// Waits until the server has closed or reset the connection; what came before is thrown away.
    pub(crate) async fn closed(&mut self) {
        while self.receive().await {}
        self.received.clear();
    }

    /// Waits until the server has closed the connection in order, without another word.
    pub(crate) async fn ended(&mut self) {
        assert_eq!(self.received, "", "there is an answer");
        let read = soon("the end", self.stream.read_buf(&mut self.received)).await;
        assert_eq!(read.expect("no reset"), 0, "{:?}", self.received);
    }

    /// What has been received and not been read as a response.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.received
    }
}

fn body_of(status: StatusCode, headers: &HeaderMap) -> Body {
    let length = headers.get(header::CONTENT_LENGTH);
    if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        Body::Bytes(0)
    } else if headers.get(header::TRANSFER_ENCODING).is_some_and(|encoding| encoding == "chunked") {
        Body::Chunks
    } else if let Some(length) = length {
        Body::Bytes(length.to_str().unwrap().parse().unwrap())
    } else {
        Body::UntilClose
    }
}
