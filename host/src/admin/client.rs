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

use super::SOURCE;
use crate::config::AdminAddress;

/// Sends a request to the admin listener, and gives its answer. An error says in one sentence why there is none, or what
/// the server said.
pub async fn ask(
    address: &AdminAddress,
    token: Option<&str>,
    method: Method,
    path: &str,
    (source, body): (&str, Bytes),
) -> anyhow::Result<Value> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if !source.is_empty() {
        request = request.header(SOURCE, source);
    }
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(body)).context("this cannot be asked for")?;
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
        Some(error) => Err(anyhow!("{error}")),
        None if status == StatusCode::OK => Ok(value),
        None => Err(anyhow!("the server answers {status}; is an admin listener there?")),
    }
}
