//! A client that behaves.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::Method;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::case::Protocol;
use super::http1::{self, HttpResponse};
use super::target::TestTarget;
use super::wire::WireConnection;

/// What an answer may take beyond the time that it was asked to wait.
const LATE: Duration = Duration::from_secs(10);

/// What a stream, and a connection, may be sent before they ask for more.
const WINDOW: u32 = 1024 * 1024;

/// A connection that asks one thing after the other.
pub(super) struct HealthyClient {
    target: TestTarget,
    speaker: HttpSpeaker,
}

enum HttpSpeaker {
    One(WireConnection),
    Two {
        requests: SendRequest<Bytes>,
        /// Drives the connection.
        _driver: JoinSet<()>,
    },
}

impl HealthyClient {
    pub(super) async fn connect(target: &TestTarget, protocol: Protocol) -> io::Result<Self> {
        let wire = target.connect(protocol.is_http2()).await?;
        let speaker =
            if protocol.is_http2() { timely(LATE, greet(wire)).await? } else { HttpSpeaker::One(wire) };
        Ok(Self { target: target.clone(), speaker })
    }

    /// Stores an event.
    pub(super) async fn push(&mut self, queue: &str, event: &Bytes) -> io::Result<()> {
        let path = self.target.push_path(queue);
        let answer = timely(LATE, self.ask(Method::POST, &path, event.clone())).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(io::Error::other(format!("POST {path} was answered with {}, not with 2xx", answer.status)))
    }

    /// Asks for an event.
    pub(super) async fn poll(&mut self, queue: &str, wait: Duration) -> io::Result<Option<Bytes>> {
        let path = self.target.poll_path(queue, wait);
        let answer = timely(wait + LATE, self.ask(Method::GET, &path, Bytes::new())).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            204 => Ok(None),
            status => {
                Err(io::Error::other(format!("GET {path} was answered with {status}, not with 200 or 204")))
            }
        }
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<HttpResponse> {
        match &mut self.speaker {
            HttpSpeaker::One(wire) => {
                let more = match method {
                    Method::GET => String::new(),
                    _ => format!("content-length: {}\r\n", body.len()),
                };
                let mut bytes = http1::head(&self.target, method.as_str(), path, &more).into_bytes();
                bytes.extend_from_slice(&body);
                wire.send(&bytes).await?;
                let answer = http1::read_answer(wire).await?;
                answer.ok_or_else(|| {
                    io::Error::other(format!("the server closed instead of an answer to {path}"))
                })
            }
            HttpSpeaker::Two { requests, .. } => {
                let uri = format!("{}://{}{path}", self.target.scheme(), self.target.authority);
                ask_http2(requests, method, &uri, body).await.map_err(|error| {
                    if error.is_io() {
                        error.into_io().unwrap_or_else(|| io::ErrorKind::Other.into())
                    } else {
                        io::Error::other(error)
                    }
                })
            }
        }
    }
}

async fn greet(wire: WireConnection) -> io::Result<HttpSpeaker> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (requests, connection) = builder.handshake(wire.into_io()).await.map_err(io::Error::other)?;
    let mut driver = JoinSet::new();
    // How it ends is seen by who asks something.
    driver.spawn(async move { drop(connection.await) });
    Ok(HttpSpeaker::Two { requests, _driver: driver })
}

async fn ask_http2(
    requests: &mut SendRequest<Bytes>,
    method: Method,
    uri: &str,
    mut body: Bytes,
) -> Result<HttpResponse, h2::Error> {
    poll_fn(|cx| requests.poll_ready(cx)).await?;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    // It is made of a URL that was parsed, and of paths without anything odd.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    let (response, mut stream) = requests.send_request(request, body.is_empty())?;
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        // None when the server wants no more of it: its answer says why.
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { break };
        let room = room?;
        let now = body.split_to(room.min(body.len()));
        stream.send_data(now, body.is_empty())?;
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(HttpResponse { status: head.status.as_u16(), body: body.freeze() })
}

async fn timely<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {} s", limit.as_secs())))
    })
}
