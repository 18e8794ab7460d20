//! HTTP/2 with prior knowledge: one connection, streams that can be reset, and a look at what has left and come.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::http1::Cut;
use super::socket::{Door, Socket};
use super::wire::{GOAWAY, HEADERS, RST_STREAM, Sent, Watched, Wire};
use super::{Answer, Head, Request, soon};

/// A connection of a client. Dropped, it is closed.
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    sent: watch::Receiver<Sent>,
    wire: Arc<Wire>,
    pings: PingPong,
    /// Drives it.
    task: JoinSet<()>,
}

/// One request and its response.
pub(crate) struct TestStream {
    sending: Sending,
    receiving: Receiving,
    /// The connection, if it is there for this stream only.
    connection: Option<Http2>,
}

/// The request of a stream.
pub(crate) struct Sending {
    request: SendStream<Bytes>,
    sent: watch::Receiver<Sent>,
}

/// The response of a stream.
pub(crate) struct Receiving {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(Door::plain(address).connect().await, &Builder::new(), false).await
    }

    /// A connection with these settings.
    pub(crate) async fn with(socket: Socket, settings: &Builder) -> Self {
        Self::over(socket, settings, false).await
    }

    /// The same that can say what it has [`received`](Self::received).
    pub(crate) async fn recorded(socket: Socket, settings: &Builder) -> Self {
        Self::over(socket, settings, true).await
    }

    async fn over(socket: Socket, settings: &Builder, recorded: bool) -> Self {
        let (socket, sent, wire) = Watched::new(socket, recorded);
        let (requests, mut connection) = soon("the handshake", settings.handshake(socket)).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move { drop(connection.await) });
        Self { requests, sent, wire, pings, task }
    }

    /// Waits until the server has read all that was sent before.
    pub(crate) async fn is_read(&mut self) {
        soon("the answer to a PING", self.pings.ping(Ping::opaque())).await.unwrap();
    }

    /// Sends a request without its body, on a stream that keeps the connection open.
    pub(crate) async fn open(self, request: &Request) -> TestStream {
        let mut connection = self;
        let mut stream = connection.stream(request).await;
        stream.connection = Some(connection);
        stream
    }

    /// Sends a request on a stream of this connection.
    pub(crate) async fn stream(&mut self, request: &Request) -> TestStream {
        let mut stream = self.start(request, request.body.is_empty()).await;
        if !request.body.is_empty() {
            stream.split().0.data(&request.body, true).await;
        }
        stream
    }

    /// Sends the head of a request.
    pub(crate) async fn start(&mut self, request: &Request, end: bool) -> TestStream {
        let mut head = http::Request::builder()
            .method(request.method.clone())
            .uri(format!("http://{}{}", request.host, request.target))
            .body(())
            .unwrap();
        *head.headers_mut() = request.headers.clone();
        std::future::poll_fn(|cx| self.requests.poll_ready(cx)).await.unwrap();
        let (response, stream) = self.requests.send_request(head, end).unwrap();
        TestStream {
            sending: Sending { request: stream, sent: self.sent.clone() },
            receiving: Receiving { response: Some(response), body: None },
            connection: None,
        }
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Answer {
        self.stream(request).await.split().1.answer().await
    }

    /// Sends the head of a request, and returns when it is in the kernel's hands.
    pub(crate) async fn ask_only(&mut self, request: &Request, end: bool) -> TestStream {
        let before = self.sent.borrow().frames(HEADERS);
        let stream = self.start(request, end).await;
        let sent = self.sent.wait_for(|sent| sent.frames(HEADERS) > before);
        soon("the request leaves", sent).await.unwrap();
        stream
    }

    /// Reads nothing more: what comes from now on stays in the kernel.
    pub(crate) fn stop_reading(&self) {
        self.wire.stop_reading();
    }

    /// The data of an answer that the library has read, whether or not anybody asked it, and whether its end too.
    pub(crate) fn received(&self, stream: &TestStream) -> (Bytes, bool) {
        self.wire.received(stream.sending.request.stream_id().into())
    }

    /// Says that it takes no new streams, and returns when that is in the kernel's hands.
    pub(crate) async fn go_away(&mut self) {
        self.wire.go_away();
        // With it goes what makes the library write.
        self.pings.send_ping(Ping::opaque()).unwrap();
        soon("GOAWAY leaves", self.sent.wait_for(|sent| sent.frames(GOAWAY) > 0)).await.unwrap();
    }

    /// Closes the connection with a RST instead of a FIN.
    pub(crate) async fn reset(self) {
        self.wire.reset_at_the_end();
        self.close().await;
    }

    /// Closes the connection, and returns when it is closed.
    pub(crate) async fn close(mut self) {
        self.task.shutdown().await;
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(mut self) {
        soon("the server closes the connection", self.task.join_next()).await;
    }
}

impl TestStream {
    /// One who sends and one who receives, at the same time.
    pub(crate) fn split(&mut self) -> (&mut Sending, &mut Receiving) {
        (&mut self.sending, &mut self.receiving)
    }

    /// The connection that was opened for it.
    pub(crate) fn into_connection(self) -> Http2 {
        self.connection.expect("a connection of its own")
    }
}

impl Sending {
    /// Sends these bytes as far as the server's window allows, and waits for more window until all is sent.
    pub(crate) async fn data(&mut self, data: &[u8], end: bool) {
        soon("sending", self.patient_data(data, end)).await;
    }

    /// The same without a bound on the time.
    pub(crate) async fn patient_data(&mut self, data: &[u8], end: bool) {
        let mut data = Bytes::copy_from_slice(data);
        while !data.is_empty() {
            self.request.reserve_capacity(data.len());
            let room = std::future::poll_fn(|cx| self.request.poll_capacity(cx)).await;
            let room = room.expect("the stream is open").expect("the stream is not reset");
            let now = data.split_to(room.min(data.len()));
            self.request.send_data(now, end && data.is_empty()).unwrap();
        }
    }

    /// The same, until the server wants no more of it.
    pub(crate) async fn try_data(&mut self, data: &[u8]) {
        let mut data = Bytes::copy_from_slice(data);
        while !data.is_empty() {
            self.request.reserve_capacity(data.len());
            let room = soon("room", std::future::poll_fn(|cx| self.request.poll_capacity(cx))).await;
            let Some(Ok(room)) = room else { return };
            let now = data.split_to(room.min(data.len()));
            if self.request.send_data(now, data.is_empty()).is_err() {
                return;
            }
        }
    }

    /// Waits until the server resets the stream, and says why.
    pub(crate) async fn was_reset(&mut self) -> Reason {
        soon("the reset", std::future::poll_fn(|cx| self.request.poll_reset(cx))).await.unwrap()
    }

    pub(crate) fn trailers(&mut self, trailers: HeaderMap) {
        self.request.send_trailers(trailers).unwrap();
    }

    /// Resets the stream, and returns when the reset is in the kernel's hands.
    pub(crate) async fn reset(&mut self) {
        let before = self.sent.borrow().frames(RST_STREAM);
        self.request.send_reset(Reason::CANCEL);
        let sent = self.sent.wait_for(|sent| sent.frames(RST_STREAM) > before);
        soon("the reset leaves", sent).await.unwrap();
    }
}

impl Receiving {
    /// The status of an answer before the answer, if there is one.
    pub(crate) async fn interim(&mut self) -> Option<u16> {
        let response = self.response.as_mut().unwrap();
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx));
        Some(soon("an answer", interim).await?.unwrap().status().as_u16())
    }

    pub(crate) async fn try_head(&mut self) -> Result<Head, Cut> {
        let response = soon("the head", self.response.as_mut().unwrap()).await.map_err(|_| Cut)?;
        self.response = None;
        let (parts, body) = response.into_parts();
        self.body = Some(body);
        Ok(Head { status: parts.status, headers: parts.headers })
    }

    pub(crate) async fn head(&mut self) -> Head {
        self.try_head().await.expect("a response, not the end of the stream")
    }

    /// The next part of the body, or none at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        let body = self.body.as_mut().unwrap();
        loop {
            let Some(data) = soon("the body", body.data()).await else { return Ok(None) };
            let data = data.map_err(|_| Cut)?;
            body.flow_control().release_capacity(data.len()).unwrap();
            // An empty one is only a way to say that this is the end.
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// The rest of the body, and its trailers.
    pub(crate) async fn rest(&mut self) -> Result<(Bytes, HeaderMap), Cut> {
        let mut data = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            data.extend_from_slice(&chunk);
        }
        let body = self.body.as_mut().unwrap();
        let trailers = soon("the trailers", body.trailers()).await.map_err(|_| Cut)?;
        Ok((data.freeze(), trailers.unwrap_or_default()))
    }

    pub(crate) async fn try_answer(&mut self) -> Result<Answer, Cut> {
        let Head { status, headers } = self.try_head().await?;
        let (body, trailers) = self.rest().await?;
        Ok(Answer { status, headers, body, trailers })
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("a whole response")
    }
}
