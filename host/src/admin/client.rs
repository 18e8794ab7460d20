//! The command line's side of the admin listener.

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{CANARY, SOURCE};
use crate::config::AdminAddress;
use crate::deploy::Split;

/// A component that is sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// All of it.
    pub bytes: Bytes,
    /// The file that it is from.
    pub source: String,
    /// Which requests it is for, if not for all.
    pub canary: Option<Split>,
}

/// Sends a request to the admin listener, and gives its answer. An error says in one sentence why there is none, or what
/// the server said.
pub async fn ask(
    address: &AdminAddress,
    token: Option<&str>,
    method: Method,
    path: &str,
    sent: Sent,
) -> anyhow::Result<Value> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if !sent.source.is_empty() {
        request = request.header(SOURCE, sent.source);
    }
    if let Some(split) = sent.canary {
        request = request.header(CANARY, split.to_string());
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(sent.bytes)).context("this cannot be asked for")?;
    let unreachable =
        || format!("{address}: no admin listener answers; name the one of `linger serve` with --admin");
    match address {
        AdminAddress::Tcp(address) => {
            send(TcpStream::connect(address).await.with_context(unreachable)?, request).await
        }
        AdminAddress::Unix(path) => {
            send(UnixStream::connect(path).await.with_context(unreachable)?, request).await
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<Value> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let (status, body) = tokio::select! {
        answer = exchange => answer.context("the server broke off")?,
        ended = connection => {
            ended?;
            bail!("the server closed the connection");
        }
    };
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    match value.get("error").and_then(Value::as_str) {
        // A record may say so of a generation.
        _ if status == StatusCode::OK => Ok(value),
        Some(error) => Err(anyhow!("{error}")),
        None => Err(anyhow!("the server answers {status}; is an admin listener there?")),
    }
}
