//! A collector of traces: takes what OTLP sends over HTTP, as collectors do, and keeps it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use super::{Certificate, soon};

/// What stands for a collector that takes a request and does not answer.
pub(crate) const SILENT: u16 = 0;

/// A span as it came.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for one that begins its trace.
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    pub(crate) is_server: bool,
    pub(crate) is_error: bool,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) events: Vec<String>,
    /// Its own, and those of what it is from.
    attributes: BTreeMap<String, String>,
}

/// What has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) spans: Vec<Span>,
    /// The `authorization` of each request.
    pub(crate) authorizations: Vec<String>,
    /// Requests, whatever was answered.
    pub(crate) requests: usize,
}

/// A collector. Dropped, it is gone.
pub(crate) struct Collector {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    collected: watch::Receiver<Collected>,
    _tasks: JoinSet<()>,
}

/// The place of a collector, where nothing listens yet.
pub(crate) struct Prepared {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Span {
    #[track_caller]
    pub(crate) fn get(&self, attribute: &str) -> &str {
        self.find(attribute).unwrap_or_else(|| panic!("no {attribute} in {self:?}"))
    }

    pub(crate) fn find(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::prepare().listen(None)
    }

    pub(crate) fn with_tls(certificate: &Certificate) -> Self {
        Self::prepare().listen(Some(certificate))
    }

    /// One that does not listen yet.
    pub(crate) fn prepare() -> Prepared {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Prepared { socket, address }
    }

    /// A table for the configuration of a server, with a key or two more. Spans are sent soon.
    pub(crate) fn table(&self, more: &str) -> String {
        table(self.address, more)
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Release);
    }

    /// Waits until what has come is enough.
    pub(crate) async fn wait(&self, what: &str, enough: impl FnMut(&Collected) -> bool) -> Collected {
        let mut collected = self.collected.clone();
        soon(what, collected.wait_for(enough)).await.unwrap().clone()
    }

    pub(crate) fn collected(&self) -> Collected {
        self.collected.borrow().clone()
    }

    /// The span of the request for a path, and those under it. It comes after them.
    pub(crate) async fn request(&self, path: &str) -> (Span, Vec<Span>) {
        let is_it = |span: &&Span| span.find("url.path") == Some(path);
        let collected = self.wait(path, |collected| collected.spans.iter().any(|span| is_it(&span))).await;
        let server = collected.spans.iter().find(is_it).unwrap().clone();
        let mut family = vec![server.id.clone()];
        let mut under = Vec::new();
        // Children of children come before their parents are looked for, so this is done twice.
        for _ in 0..2 {
            under = collected.spans.iter().filter(|span| family.contains(&span.parent)).cloned().collect();
            family.extend(under.iter().map(|span| span.id.clone()));
        }
        (server, under.into_iter().filter(|span| !span.is_server).collect())
    }
}

impl Prepared {
    /// As [`Collector::table`].
    pub(crate) fn table(&self, more: &str) -> String {
        table(self.address, more)
    }

    pub(crate) fn listen(self, certificate: Option<&Certificate>) -> Collector {
        let Self { socket, address } = self;
        let listener = socket.listen(16).unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (sender, collected) = watch::channel(Collected::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, certificate.map(acceptor), status.clone(), Arc::new(sender)));
        Collector { address, status, collected, _tasks: tasks }
    }
}

fn table(address: SocketAddr, more: &str) -> String {
    format!("[traces]\nendpoint = 'http://{address}'\ninterval = '10ms'\n{more}")
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate.file()).unwrap()],
            PrivateKeyDer::from_pem_file(certificate.key()).unwrap(),
        );
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    status: Arc<AtomicU16>,
    collected: Arc<watch::Sender<Collected>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, status, collected) = (tls.clone(), status.clone(), collected.clone());
        connections.spawn(async move {
            match tls {
                None => serve_one(stream, &status, &collected).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve_one(stream, &status, &collected).await,
                    Err(error) => println!("no TLS: {error}"),
                },
            }
        });
    }
}

async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    status: &AtomicU16,
    collected: &watch::Sender<Collected>,
) {
    let service = service_fn(async |request: http::Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!((head.uri.path(), &head.method), ("/v1/traces", &http::Method::POST));
        let status = status.load(Ordering::Acquire);
        collected.send_modify(|collected| {
            collected.requests += 1;
            let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap());
            collected.authorizations.extend(authorization.map(str::to_owned));
            if status == 200 {
                collected.spans.extend(decode(&body));
            }
        });
        if status == SILENT {
            std::future::pending::<()>().await;
        }
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        Ok::<_, Infallible>(answer)
    });
    // It ends with its client.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

fn decode(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let of_resource = |spans: otlp::ResourceSpans| {
        let resource = spans.resource.map(|resource| resource.attributes).unwrap_or_default();
        let own = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
        own.map(|span| read(span, &resource)).collect::<Vec<_>>()
    };
    request.resource_spans.into_iter().flat_map(of_resource).collect()
}

fn read(span: otlp::Span, resource: &[KeyValue]) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        name: span.name,
        is_server: span.kind == otlp::span::SpanKind::Server as i32,
        is_error: span.status.is_some_and(|status| status.code == otlp::status::StatusCode::Error as i32),
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        events: span.events.into_iter().map(|event| event.name).collect(),
        attributes: resource.iter().chain(&span.attributes).map(text).collect(),
    }
}

fn text(attribute: &KeyValue) -> (String, String) {
    let value = match attribute.value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    (attribute.key.clone(), value)
}
