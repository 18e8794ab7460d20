//! The client of the collector: HTTP/1.1 with keep-alive, with or without TLS.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use linger_net::{TlsError, connector};

use crate::metrics::SpanMetrics;

/// Between tries, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Where spans are sent.
pub(super) struct OtlpCollector {
    authority: Authority,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// What the configuration adds. As it stands there: the library would decode it, and prefer the environment's.
    headers: HeaderMap,
    /// For a batch, with all tries.
    timeout: Duration,
    /// From the batch before.
    kept: Mutex<Option<CollectorConnection>>,
    /// What went wrong last, if nothing went well since.
    trouble: Mutex<Option<String>>,
    spans: SpanMetrics,
}

/// What is no collector.
pub(super) enum CollectorError {
    Endpoint(String),
    Tls(TlsError),
}

/// A connection, driven until it is dropped.
struct CollectorConnection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl OtlpCollector {
    pub(super) fn new(
        endpoint: &Uri,
        config: &linger_config::TracesConfig,
        spans: SpanMetrics,
    ) -> Result<Self, CollectorError> {
        let unfit = || CollectorError::Endpoint("`endpoint` has no hostname".to_owned());
        let authority = endpoint.authority().ok_or_else(unfit)?.clone();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = endpoint.scheme() == Some(&Scheme::HTTPS);
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| unfit())?;
            Some((connector(config.ca.as_deref()).map_err(CollectorError::Tls)?, name))
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let (kept, trouble) = (Mutex::default(), Mutex::default());
        let (headers, timeout) = (headers(config), config.timeout);
        Ok(Self { authority, host, port, tls, headers, timeout, kept, trouble, spans })
    }

    async fn connect(&self) -> Result<CollectorConnection, HttpError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => {
                CollectorConnection::over(connector.connect(name.clone(), stream).await?).await
            }
            None => CollectorConnection::over(stream).await,
        }
    }

    /// Sends a request once, over the connection that there is or, where that does not take it any more, over a new one.
    async fn attempt(&self, parts: &Parts, body: &Bytes) -> Result<Response<Bytes>, HttpError> {
        let kept = self.kept.lock().take();
        if let Some(connection) = kept.filter(|connection| !connection.sender.is_closed())
            && let Ok(answer) = self.send(connection, parts, body).await
        {
            return Ok(answer);
        }
        self.send(self.connect().await?, parts, body).await
    }

    /// Keeps the connection for the next, if all goes well.
    async fn send(
        &self,
        mut connection: CollectorConnection,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Response<Bytes>, HttpError> {
        connection.sender.ready().await?;
        let request = Request::from_parts(parts.clone(), Full::new(body.clone()));
        let (parts, body) = connection.sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        *self.kept.lock() = Some(connection);
        Ok(Response::from_parts(parts, body))
    }

    /// Sends a request until it is taken, or refused for good.
    async fn persist(&self, parts: &Parts, body: &Bytes) -> Result<Response<Bytes>, HttpError> {
        let (mut pause, longest) = PAUSES;
        loop {
            match self.attempt(parts, body).await {
                Ok(answer) if !may_pass(answer.status()) => return Ok(answer),
                Ok(answer) => self.note(Some(format!("it responded with {}", answer.status()))),
                Err(error) => self.note(Some(one_line(&*error))),
            }
            sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Tells when something else goes wrong than before, or nothing any more.
    fn note(&self, trouble: Option<String>) {
        let mut before = self.trouble.lock();
        if *before == trouble {
            return;
        }
        let collector = format_args!("the trace collector at {}", self.authority);
        if let Some(trouble) = &trouble {
            tracing::warn!("{collector} does not accept spans: {trouble}");
        } else {
            tracing::info!("{collector} accepts spans again");
        }
        *before = trouble;
    }

    /// The time for a batch was over. Why, each try has said, unless there was one that did not end.
    fn note_silence(&self) {
        let silent = self.trouble.lock().is_none();
        if silent {
            self.note(Some("it did not respond within `traces.timeout`".to_owned()));
        }
    }
}

impl CollectorConnection {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, HttpError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // How it ends is seen by who sends.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }
}

#[async_trait::async_trait]
impl HttpClient for OtlpCollector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.headers.extend(self.headers.clone());
        parts.headers.insert(header::HOST, HeaderValue::from_str(self.authority.as_str())?);
        parts.uri = path.parse()?;
        let sent = timeout(self.timeout, self.persist(&parts, &body)).await.unwrap_or_else(|late| {
            self.note_silence();
            Err(late.into())
        });
        match &sent {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(format!("it responded with {}", answer.status()))),
            Err(_) => {}
        }
        if !sent.as_ref().is_ok_and(|answer| answer.status().is_success()) {
            self.spans.failed_exports.inc();
        }
        sent
    }
}

impl fmt::Debug for OtlpCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collector").field(&self.authority).finish()
    }
}

/// Those that are none were refused with the configuration.
fn headers(config: &linger_config::TracesConfig) -> HeaderMap {
    let header = |(name, value): (&String, &linger_config::AdminToken)| {
        let mut value = HeaderValue::from_str(value.reveal()).ok()?;
        value.set_sensitive(true);
        Some((name.parse::<HeaderName>().ok()?, value))
    };
    config.headers.iter().filter_map(header).collect()
}

/// Whether the same request may be taken later, as OTLP has it.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// An error with its causes.
fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<_> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    causes.join(": ")
}
