//! One connection: hyper, and the scope of each request on it.

mod body;
mod guard;
mod progress;
mod pump;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::cancel::Reason;
use crate::config::Limits;
use crate::exchange::{Client, Exchange};
use crate::guest::{App, Body, CallError};
use crate::net::Link;
use crate::respond;
use crate::route::{Match, Table};
use body::GuardedBody;
use guard::{ClientLink, Guard};
pub use pump::ReadAhead;

/// Where a route leads.
pub struct Target {
    /// The app.
    pub app: Arc<App>,
    /// After this time a request is cancelled.
    pub deadline: Option<Duration>,
    /// How long a guest may go on after that.
    pub grace: Duration,
}

/// What all connections share.
pub struct Context {
    /// Which requests go where.
    pub routes: Table<Target>,
    /// Bounds on what clients can occupy.
    pub limits: Limits,
    /// Requests that may still be taken up.
    pub requests: Arc<Semaphore>,
    /// Bounds on request bodies that are read ahead of their guests.
    pub read_ahead: ReadAhead,
    /// Unsettled deliveries of one request.
    pub max_deliveries: usize,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    /// Owns the tasks of HTTP/2 streams.
    pub tasks: TaskTracker,
}

/// Serves a connection to its end: until the client closes it, or the server stops and its requests end.
pub async fn serve_connection(stream: TcpStream, context: Arc<Context>) {
    let limits = &context.limits;
    let link = Link::new(stream, limits.client_timeout);
    let socket = TokioIo::new(link.socket());
    let builder = builder(limits, &context.tasks);
    let first_head = CancellationToken::new();
    let requests = TaskTracker::new();
    let service = service_fn(|request| {
        first_head.cancel();
        let (context, link, token) = (context.clone(), link.clone(), requests.token());
        async move { handle(&context, link, token, request).await }
    });
    let mut connection = pin!(builder.serve_connection(socket, service));
    let (mut watching, mut ending) = (true, false);
    let ended = loop {
        tokio::select! {
            biased;
            // First: what is known of the client counts in what hyper is polled for.
            () = link.watch(), if watching => watching = false,
            ended = connection.as_mut() => break ended,
            () = link.abandoned() => return,
            () = overdue(&requests), if ending => return,
            () = end_wanted(limits.head_timeout, &first_head, &context.stopping), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        // Clients come and go: this is news only to who looks for it.
        tracing::debug!("connection ended: {error}");
    }
}

/// Resolves when a connection that was asked to end has no request left, and does not end: hyper waits
/// without limit for an HTTP/2 client that does not answer.
async fn overdue(requests: &TaskTracker) {
    const LIMIT: Duration = Duration::from_secs(2);
    requests.close();
    loop {
        requests.wait().await;
        tokio::time::sleep(LIMIT).await;
        if requests.is_empty() {
            return;
        }
    }
}

/// Resolves when the server stops, or when no head came in time: hyper bounds the time for a head only once
/// it knows the protocol.
async fn end_wanted(head_timeout: Duration, first_head: &CancellationToken, stopping: &CancellationToken) {
    let nothing_came = async {
        if tokio::time::timeout(head_timeout, first_head.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = nothing_came => {}
    }
}

fn builder(limits: &Limits, tasks: &TaskTracker) -> auto::Builder<Tasks> {
    let head_size = usize::try_from(limits.max_head_size.as_u64()).unwrap_or(usize::MAX);
    let mut builder = auto::Builder::new(Tasks(tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(head_size);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams_per_connection)
        .max_header_list_size(u32::try_from(head_size).unwrap_or(u32::MAX));
    if let Some(timeout) = limits.client_timeout {
        // A process that has stopped still has a kernel that answers probes. Only it answers a PING.
        builder.http2().keep_alive_interval(timeout / 2).keep_alive_timeout(timeout / 3);
    }
    builder
}

/// Runs hyper's tasks under their owner.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The client has left, so there is nobody to answer. Ends the connection.
#[derive(Debug, thiserror::Error)]
#[error("the client has left")]
struct ClientLeft;

/// Answers a request. Dropped, or with an error, the exchange ends as lost.
async fn handle(
    context: &Context,
    link: Arc<ClientLink>,
    token: TaskTrackerToken,
    request: Request<Incoming>,
) -> Result<Response<GuardedBody>, ClientLeft> {
    let plain = |response: Response<Body>| Ok(response.map(GuardedBody::plain));
    let Some(host) = asked_host(&request) else {
        return plain(respond::bad_host());
    };
    let target = match context.routes.find(host.as_str(), request.uri(), request.method()) {
        Match::Found(target) => target,
        Match::OtherMethods(allowed) => return plain(respond::method_not_allowed(&allowed)),
        Match::Nothing => return plain(respond::not_found()),
    };
    let Ok(permit) = context.requests.clone().try_acquire_owned() else {
        return plain(respond::overloaded());
    };
    let (app, grace) = (target.app.name().clone(), target.grace);
    let client: Weak<dyn Client> = Arc::<ClientLink>::downgrade(&link);
    let exchange = Arc::new(Exchange::new(app, grace, context.max_deliveries, client));
    let http2 = request.version() == Version::HTTP_2;
    let guard = Guard::new(exchange.clone(), link.clone(), http2, permit, token);
    call(context, target, guard, exchange, link, make_absolute(request, host)).await
}

/// Gives a request to its app, and waits for the head of the response.
async fn call(
    context: &Context,
    target: &Target,
    guard: Guard,
    exchange: Arc<Exchange>,
    link: Arc<ClientLink>,
    request: Request<Incoming>,
) -> Result<Response<GuardedBody>, ClientLeft> {
    let head_only = request.method() == Method::HEAD;
    let mut ladder: Ladder =
        Box::pin(ladder(exchange.clone(), link.clone(), target.deadline, context.stopping.clone()));
    let request = pumped(context, &exchange, &link, request);
    let result = tokio::select! {
        biased;
        _ = link.departed() => return Err(ClientLeft),
        () = client_gone(&exchange) => return Err(ClientLeft),
        result = target.app.call(exchange.clone(), request) => result.and_then(|response| match response.status() {
            status if status.is_informational() => Err(CallError::Refused(format!("{status} is no final status"))),
            _ => Ok(response),
        }),
        reason = ladder.as_mut() => Err(CallError::GaveUp(reason)),
    };
    Ok(match result {
        Ok(response) => guarded(response, head_only, guard, ladder, context.tasks.clone()),
        Err(error) => {
            let (app, request) = (&*exchange.app, exchange.id);
            tracing::warn!(app, request = %request, "request failed: {error}");
            guard.failed();
            respond::failure(&error, request).map(GuardedBody::plain)
        }
    })
}

/// The request with its body read ahead, in a task that ends with the exchange.
fn pumped(
    context: &Context,
    exchange: &Arc<Exchange>,
    link: &Arc<ClientLink>,
    request: Request<Incoming>,
) -> Request<Body> {
    if request.body().is_end_stream() {
        return request.map(|_| empty());
    }
    let waits_for_leave = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (pump, body) = pump::split(body, &context.read_ahead, waits_for_leave);
    let (exchange, link) = (exchange.clone(), link.clone());
    context.tasks.spawn(async move {
        let broken = tokio::select! {
            read = pump.run() => read.is_err(),
            () = exchange.ended() => false,
        };
        if broken {
            // Whether the client left in the middle or does not keep to the protocol: nothing more comes.
            exchange.cancellation.cancel(link.ask_departure().unwrap_or(Reason::Reset));
        }
    });
    Request::from_parts(parts, body.boxed_unsync())
}

/// Resolves when the exchange was cancelled because its client is gone.
async fn client_gone(exchange: &Exchange) {
    if !exchange.cancellation.cancelled().await.client_is_gone() {
        std::future::pending::<()>().await;
    }
}

/// The guest's response, whose body tells the guard how it ended.
fn guarded(
    response: Response<Body>,
    head_only: bool,
    mut guard: Guard,
    ladder: Ladder,
    tasks: TaskTracker,
) -> Response<GuardedBody> {
    let status = response.status();
    if status.is_server_error() {
        guard.does_not_commit();
    }
    let bodiless = head_only || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = content_length(response.headers()).filter(|_| !bodiless);
    response.map(|body| {
        let body = if bodiless { empty() } else { body };
        GuardedBody::new(body, length, guard, ladder, tasks)
    })
}

/// Runs along with a request: sets off `deadline`, `shutdown` and, while a body is sent, what is noticed of
/// the client; resolves with the reason when the guest had its grace.
type Ladder = Pin<Box<dyn Future<Output = Reason> + Send>>;

async fn ladder(
    exchange: Arc<Exchange>,
    link: Arc<ClientLink>,
    deadline: Option<Duration>,
    stopping: CancellationToken,
) -> Reason {
    let cancellation = &exchange.cancellation;
    let deadline = async {
        match deadline {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = cancellation.cancelled() => {}
        reason = link.departed() => { cancellation.cancel(reason); }
        () = stopping.cancelled() => { cancellation.cancel(Reason::Shutdown); }
        () = deadline => { cancellation.cancel(Reason::Deadline); }
    }
    tokio::time::sleep(exchange.grace).await;
    cancellation.cancelled().await
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// The authority that the client asked for: of the URI (HTTP/2, or an absolute form), or the one `host` header.
fn asked_host<B>(request: &Request<B>) -> Option<Authority> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => None,
        (Some(authority), ..) => Some(authority.clone()),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        // HTTP/1.0 knows no hosts.
        (None, None, None) if request.version() == Version::HTTP_10 => {
            Some(Authority::from_static("localhost"))
        }
        (None, None, None) => None,
    };
    // A user's name is no part of a host, and in a URI of HTTP no longer allowed (RFC 9110, section 4.2.4).
    host.filter(|host| !host.as_str().contains('@'))
}

/// Guests see the scheme and the authority in the URI, whichever way the client sent them.
fn make_absolute<B>(mut request: Request<B>, authority: Authority) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    // All three parts are there, and each is valid.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(uri);
        for host in hosts {
            builder = builder.header(header::HOST, *host);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn host_comes_from_the_uri_or_the_one_header() {
        let asked = |version, uri, hosts: &[&str]| {
            asked_host(&request(version, uri, hosts)).map(|host| host.to_string())
        };
        assert_eq!(asked(Version::HTTP_11, "/x", &["a:80"]).as_deref(), Some("a:80"));
        assert_eq!(asked(Version::HTTP_2, "http://b/x", &[]).as_deref(), Some("b"));
        assert_eq!(asked(Version::HTTP_11, "http://b/x", &["a"]).as_deref(), Some("b"));
        assert_eq!(asked(Version::HTTP_10, "/x", &[]).as_deref(), Some("localhost"));
        assert_eq!(asked(Version::HTTP_11, "/x", &[]), None);
        assert_eq!(asked(Version::HTTP_11, "/x", &["a", "b"]), None);
        assert_eq!(asked(Version::HTTP_11, "http://b/x", &["a", "b"]), None);
        assert_eq!(asked(Version::HTTP_11, "/x", &["a b"]), None);
        assert_eq!(asked(Version::HTTP_11, "/x", &["user@a"]), None);
    }

    #[test]
    fn guests_see_absolute_uris() {
        for (uri, seen) in
            [("/x?y=1", "http://h:1/x?y=1"), ("*", "http://h:1*"), ("http://h:1/z", "http://h:1/z")]
        {
            let request = request(Version::HTTP_11, uri, &["h:1"]);
            let request = make_absolute(request, Authority::from_static("h:1"));
            assert_eq!(request.uri().authority().map(Authority::as_str), Some("h:1"), "{seen}");
            assert_eq!(request.uri().scheme_str(), Some("http"));
        }
    }
}
