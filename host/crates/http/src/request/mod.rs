//! One request: where it goes, what it holds, and how its response leaves.

pub(crate) mod access;
pub(crate) mod ack;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod compact;
pub(crate) mod guard;
pub(crate) mod head;
pub(crate) mod http2_body;
pub(crate) mod incoming;
pub(crate) mod intake;
pub(crate) mod progress;
pub(crate) mod pump;
pub(crate) mod refusal;
pub(crate) mod shares;
pub(crate) mod upload;
pub(crate) mod vet;

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;

use linger_base::ClientProbe;
use linger_exchange::{Exchange, RequestInfo, StopCause};
use linger_telemetry::Reached;
use linger_wasm::{App, BoundaryBody, CallError, ResponseGuard, empty};

use crate::connection::{ClientMonitor, Connection, InProgress};
use crate::context::ShardContext;
use crate::error_response;
use crate::router::RouteMatch;
use crate::settings::{HttpSettings, RouteTarget};
use access::AccessRecord;
use answer::{has_no_body, keep_out_of_caches};
use body::GuardedBody;
use compact::compact;
use guard::Guard;
use incoming::IncomingBody;
use shares::RequestPermits;
use upload::RequestUpload;

/// The client has left, so there is nobody to answer. Ends the connection.
#[derive(Debug, thiserror::Error)]
#[error("the client has disconnected")]
pub(crate) struct ClientLeft;

/// Answers a request. Dropped, or with an error, the exchange ends as lost.
///
/// It begins here, not when the future is first polled: hyper does not poll one behind which it finds the end of
/// the connection.
pub(crate) fn handle(
    context: Arc<ShardContext>,
    connection: Arc<Connection>,
    token: InProgress,
    mut request: Request<IncomingBody>,
) -> impl Future<Output = Result<Response<GuardedBody>, ClientLeft>> + Send {
    // Before it takes the next event, and whatever comes of it.
    let outcome = ack::acknowledge(&context.ack_tokens, request.headers_mut());
    let (request, upload) = RequestUpload::take_from(request);
    let begun = begin(&context, &connection, token, request);
    async move {
        let mut response = match begun {
            Ok(begun) => {
                let version = begun.request.version();
                connection.probe.allow(version == Version::HTTP_11);
                let response = call(&context, begun, upload, &connection.monitor).await;
                connection.probe.allow(false);
                let mut response = response?;
                if vet::fit(&mut response, version) {
                    connection.quiet.mark_close_awaited();
                }
                response
            }
            Err(mut answer) => {
                if let Some(upload) = upload {
                    upload.refuse(&context, answer.headers_mut()).await;
                }
                answer.map(GuardedBody::plain)
            }
        };
        ack::put_outcome(response.headers_mut(), outcome);
        Ok(response)
    }
}

/// A request whose exchange has begun.
struct BegunRequest {
    app: Arc<App>,
    guard: Guard,
    /// Without its body.
    request: Request<()>,
}

impl BegunRequest {
    /// Out of its box, which is free then: one that is moved out of stays until its scope ends.
    fn open(self: Box<Self>) -> Self {
        *self
    }
}

/// Finds out where a request goes, and begins its exchange. An error is what the host answers by itself.
fn begin(
    context: &ShardContext,
    connection: &Arc<Connection>,
    token: InProgress,
    mut request: Request<()>,
) -> Result<Box<BegunRequest>, Box<Response<BoundaryBody>>> {
    context.begun.fetch_add(1, Ordering::Relaxed);
    compact(&mut request);
    let http2 = request.version() == Version::HTTP_2;
    connection.quiet.end();
    if !http2 {
        connection.monitor.request_begins();
        connection.idle_buffer.as_ref().inspect(|idle_buffer| context.idle_buffers.record_begin(idle_buffer));
    }
    head::tidy(request.headers_mut());
    let settings = context.settings.load();
    // Before the host adds to it.
    let found = place(context, &settings, &request);
    let (client, scheme) = connection.peer().identify(request.headers_mut(), &connection.proxies);
    let found = found.and_then(|(host, target)| {
        let (place, request_in_progress) = ((&**settings, target), (connection, token));
        Ok((
            host,
            target,
            RequestPermits::take(context, place, request_in_progress, client, request.version())?,
        ))
    });
    let (host, target, shares) = match found {
        Ok(found) => found,
        Err(answer) => return Err(refusal::refuse(context, &request, client, answer)),
    };
    let deployed = target.slot.choose(request.headers());
    let link: Weak<dyn ClientProbe> = Arc::<ClientMonitor>::downgrade(&connection.monitor);
    let scheme = scheme.unwrap_or(if connection.secure { Scheme::HTTPS } else { Scheme::HTTP });
    let asked = RequestInfo { method: request.method().clone(), uri: request.uri().clone(), client };
    let mut request = make_absolute(request, scheme, host);
    head::decode(&mut request);
    let trace = context.tracer.as_ref().map(|tracer| tracer.begin(&mut request, &target.path, client));
    let generation = deployed.generation.clone();
    let exchange = Exchange::new(generation, target.terms, context.max_deliveries, link, asked);
    let exchange = Arc::new(exchange.traced(trace));
    let access = AccessRecord::default();
    let guard = Guard::new(exchange, connection.clone(), http2, access, shares);
    // Boxed, as below: what is moved through async functions takes its room in each of them, for as long as they run.
    Ok(Box::new(BegunRequest { app: deployed.app.clone(), guard, request }))
}

/// The host that a request is for, and where it goes. An error is the answer to one that
/// goes nowhere.
fn place<'a>(
    context: &ShardContext,
    settings: &'a HttpSettings,
    request: &Request<()>,
) -> Result<(Authority, &'a RouteTarget), Box<Response<BoundaryBody>>> {
    if let Some(limit) = head::beyond(request, &settings.limits) {
        context.metrics.record_reached(limit);
        return Err(error_response::head_too_large(&settings.limits).into());
    }
    let host = head::check(request)?;
    let target = match settings.routes.find(host.as_str(), request.uri(), request.method()) {
        RouteMatch::Found(target) => target,
        RouteMatch::OtherMethods(allowed) => return Err(error_response::method_not_allowed(&allowed).into()),
        RouteMatch::Nothing => return Err(error_response::not_found().into()),
        RouteMatch::Ambiguous => return Err(error_response::ambiguous().into()),
    };
    Ok((host, target))
}

/// Gives a request to its app, and waits for the head of the response.
async fn call(
    context: &ShardContext,
    begun: Box<BegunRequest>,
    upload: Option<Box<RequestUpload<IncomingBody>>>,
    link: &Arc<ClientMonitor>,
) -> Result<Response<GuardedBody>, ClientLeft> {
    let BegunRequest { app, mut guard, request } = begun.open();
    let exchange = guard.exchange().clone();
    let head_only = request.method() == Method::HEAD;
    let (body, intake) = match upload {
        Some(upload) => upload.read_ahead(context, &exchange, link).await,
        None => (empty(), None),
    };
    let request = Box::new(request.map(|()| body));
    let mut result = tokio::select! {
        biased;
        stop = exchange.wait_stopped() => match stop {
            StopCause::ClientLeft => return Err(ClientLeft),
            StopCause::GaveUp(reason) => Err(CallError::GaveUp(reason)),
            StopCause::Unread(why) => Err(CallError::Unread(why)),
        },
        result = answer(context, &app, &exchange, request) => result,
    };
    if exchange.has_failed() && result.is_ok() {
        // Better an error than half an answer.
        result = Err(CallError::Trapped);
    }
    let mut response = match result {
        Ok(answer) => guarded(context, answer, &app, head_only, guard),
        Err(error) => {
            let (app, request) = (exchange.app(), exchange.id);
            match error {
                // Its client has done that, or others: the warning of the limit says so.
                CallError::Unread(_) | CallError::OverLimit => {
                    tracing::debug!(app, request = %request, "request failed: {error}");
                }
                _ => tracing::warn!(app, request = %request, "request failed: {error}"),
            }
            let response = error_response::failure(&error, request);
            guard.record_head(response.status());
            let metrics = &exchange.generation.metrics;
            match vet::failure(&error) {
                Some(failure) => metrics.record_failure(failure),
                None => guard.mark_not_tried(),
            }
            if matches!(error, CallError::Busy) {
                metrics.record_reached(Reached::Instances);
            }
            guard.end_failed();
            response.map(GuardedBody::plain)
        }
    };
    if let Some(intake) = intake {
        let bound = context.settings.load().read_ahead.bound();
        intake.conclude(response.headers_mut(), bound).await;
    }
    // That of a guest is none that the log knows.
    response.headers_mut().insert(error_response::REQUEST_ID, exchange.id.to_header());
    Ok(response)
}

/// The answer of an app, once it is known that it can be sent.
async fn answer(
    context: &ShardContext,
    app: &App,
    exchange: &Arc<Exchange>,
    request: Box<Request<BoundaryBody>>,
) -> Result<(Response<BoundaryBody>, ResponseGuard), CallError> {
    let head_only = request.method() == Method::HEAD;
    let (response, hold) = app.call(&context.shard, exchange.clone(), request).await?;
    Ok((vet::check(response, head_only).await?, hold))
}

/// The guest's response, whose body tells the guard how it ended.
fn guarded(
    context: &ShardContext,
    (mut response, hold): (Response<BoundaryBody>, ResponseGuard),
    app: &App,
    head_only: bool,
    mut guard: Guard,
) -> Response<GuardedBody> {
    let status = response.status();
    guard.record_head(status);
    let exchange = guard.exchange();
    keep_out_of_caches(&mut response, exchange, app);
    let bodiless = head_only || has_no_body(status);
    if bodiless {
        exchange.mark_bodiless();
    }
    if status.is_server_error() {
        guard.mark_no_ack();
    } else if let Some(token) = guard.issue_ack_token(&context.ack_tokens) {
        ack::put_token(response.headers_mut(), token);
    }
    if status == StatusCode::RESET_CONTENT {
        // It has to be 0, and hyper says so.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    } else if head_only
        && !has_no_body(status)
        && let Some(length) = response.body().size_hint().exact()
    {
        // What the body, which is dropped here, would have said.
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    let length = content_length(response.headers()).filter(|_| !bodiless);
    response.map(|body| {
        let body = if bodiless { empty() } else { body };
        GuardedBody::new(body, length, guard, hold)
    })
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Guests see the scheme and the authority in the URI, whichever way the client sent them: the authority is what it asked for,
/// the scheme how it came, whatever it says.
pub(crate) fn make_absolute<B>(mut request: Request<B>, scheme: Scheme, authority: Authority) -> Request<B> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(authority);
    parts.scheme = Some(scheme);
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
    fn guests_see_absolute_uris() {
        for (uri, seen) in
            [("/x?y=1", "http://h:1/x?y=1"), ("*", "http://h:1*"), ("http://h:1/z", "http://h:1/z")]
        {
            let request = request(Version::HTTP_11, uri, &["h:1"]);
            let request = make_absolute(request, Scheme::HTTP, Authority::from_static("h:1"));
            assert_eq!(request.uri().authority().map(Authority::as_str), Some("h:1"), "{seen}");
            assert_eq!(request.uri().scheme_str(), Some("http"));
        }
        // What the client says of the scheme is not believed.
        for (said, is) in [
            ("https", Scheme::HTTP),
            ("http", Scheme::HTTPS),
            ("ftp", Scheme::HTTP),
            ("https", Scheme::HTTPS),
        ] {
            let request = request(Version::HTTP_11, &format!("{said}://h/z"), &[]);
            let request = make_absolute(request, is.clone(), Authority::from_static("h"));
            assert_eq!(request.uri().to_string(), format!("{is}://h/z"));
        }
    }
}
