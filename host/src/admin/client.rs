//! The command line's side of the admin listener.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use linger_config::ListenAddress;
use linger_deploy::TrafficSplit;

use super::{CANARY, SOURCE};

/// The body of a request: a component or an event.
#[derive(Clone, Debug, Default)]
pub struct RequestContent {
    /// All of it.
    pub bytes: Bytes,
    /// The media type of an event.
    pub content_type: Option<Arc<str>>,
    /// The file name of a component.
    pub source: String,
    /// Which requests a component is for, if not for all.
    pub canary: Option<TrafficSplit>,
}

/// What a header cannot hold, and what says that something is encoded.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

/// Sends a request to the admin listener, and gives what its answer of JSON says. An error says in one sentence why there is
/// none, or what the server said.
pub async fn ask(
    address: &ListenAddress,
    token: Option<&str>,
    method: Method,
    path: &str,
    sent: RequestContent,
) -> anyhow::Result<Value> {
    let answer = succeeded(exchange(address, token, method, path, sent).await?)?;
    Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
}

/// The answer, if it is one of success. An error says what the server said.
pub fn succeeded(answer: Response<Bytes>) -> anyhow::Result<Response<Bytes>> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let value: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    match value.get("error").and_then(Value::as_str) {
        Some(error) => Err(anyhow!("{error}")),
        None => Err(anyhow!(
            "the server responded with {}; check that the address is an admin listener's",
            answer.status()
        )),
    }
}

/// Sends a request to the admin listener, and gives its answer, whatever that is.
pub async fn exchange(
    address: &ListenAddress,
    token: Option<&str>,
    method: Method,
    path: &str,
    sent: RequestContent,
) -> anyhow::Result<Response<Bytes>> {
    let mut request = request(token, method, path);
    if !sent.source.is_empty() {
        request = request.header(SOURCE, utf8_percent_encode(&sent.source, UNSAFE).to_string());
    }
    if let Some(split) = sent.canary {
        request = request.header(CANARY, split.to_string());
    }
    if let Some(content_type) = &sent.content_type {
        request = request.header(header::CONTENT_TYPE, &**content_type);
    }
    let request = request.body(Full::new(sent.bytes)).context("cannot build the request")?;
    with_answer(address, request, async |answer| {
        let (parts, body) = answer.into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    })
    .await
}

/// Reads an answer that does not end by itself, and gives `each` what comes, until that or the answer ends.
pub async fn follow(
    address: &ListenAddress,
    token: Option<&str>,
    path: &str,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let request =
        request(token, Method::GET, path).body(Full::default()).context("cannot build the request")?;
    with_answer(address, request, async |answer| {
        if !answer.status().is_success() {
            let (parts, body) = answer.into_parts();
            return succeeded(Response::from_parts(parts, body.collect().await?.to_bytes())).map(drop);
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            if frame?.into_data().is_ok_and(|data| each(&data).is_break()) {
                return Ok(());
            }
        }
        Ok(())
    })
    .await
}

fn request(token: Option<&str>, method: Method, path: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    match token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

async fn with_answer<T>(
    address: &ListenAddress,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let unreachable = || format!("{address}: cannot reach the admin listener; set its address with --admin");
    match address {
        ListenAddress::Tcp(address) => {
            send(TcpStream::connect(address).await.with_context(unreachable)?, request, read).await
        }
        ListenAddress::Unix(path) => {
            send(UnixStream::connect(path).await.with_context(unreachable)?, request, read).await
        }
        ListenAddress::Systemd(_) => {
            bail!("{address}: give the address of that socket, as IP:PORT or unix:PATH")
        }
    }
}

async fn send<T>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let exchange = async { read(sender.send_request(request).await?).await };
    tokio::select! {
        answer = exchange => answer.context("the connection broke"),
        ended = connection => {
            ended?;
            bail!("the server closed the connection");
        }
    }
}
