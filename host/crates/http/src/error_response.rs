//! An error to a response: the only place that maps one to a status.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use linger_base::Reason;
use linger_config::ServerLimits;
use linger_exchange::{RequestId, UnreadCause};
use linger_wasm::{BoundaryBody, CallError};

/// Names a request to its client, as the log does.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The value of `cache-control` for what is for one client and one moment.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// 400: the request is not as HTTP has it.
#[must_use]
pub(crate) fn bad_request(why: &str) -> Response<BoundaryBody> {
    text(StatusCode::BAD_REQUEST, why)
}

/// 400: the request does not say which host it is for.
#[must_use]
pub(crate) fn bad_host() -> Response<BoundaryBody> {
    bad_request("the request needs exactly one valid `host` header, and no other authority")
}

/// 501: the request asks for what this server does not do.
#[must_use]
pub(crate) fn not_implemented(why: &str) -> Response<BoundaryBody> {
    text(StatusCode::NOT_IMPLEMENTED, why)
}

/// 431: the head is beyond the limits.
#[must_use]
pub(crate) fn head_too_large(limits: &ServerLimits) -> Response<BoundaryBody> {
    text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &too_large(limits))
}

fn too_large(limits: &ServerLimits) -> String {
    let ServerLimits { max_head_size, max_headers, .. } = limits;
    format!("the request head is too large; the limits are {max_head_size} and {max_headers} fields")
}

/// 400: the path leads to different places, by how it is read.
#[must_use]
pub(crate) fn ambiguous() -> Response<BoundaryBody> {
    bad_request("the path is ambiguous; write it without `//`, `.`, `..` and encoded slashes")
}

/// 404: no route leads there.
#[must_use]
pub(crate) fn not_found() -> Response<BoundaryBody> {
    text(StatusCode::NOT_FOUND, "no app is served at this host and path")
}

/// 405: there is a route, for other methods.
#[must_use]
pub(crate) fn method_not_allowed(allowed: &[Method]) -> Response<BoundaryBody> {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response =
        text(StatusCode::METHOD_NOT_ALLOWED, &format!("the method is not allowed; use {list}"));
    if let Ok(list) = HeaderValue::from_str(&list) {
        response.headers_mut().insert(ALLOW, list);
    }
    response
}

/// 503: the server has as many requests as it may.
#[must_use]
pub(crate) fn overloaded() -> Response<BoundaryBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "the server is busy");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
    response
}

/// 503: the client has as many requests in progress as one may.
#[must_use]
pub(crate) fn too_many_of_client() -> Response<BoundaryBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "this client has too many requests in-flight");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
    response
}

/// The guest gave no response that could be sent.
#[must_use]
pub(crate) fn failure(error: &CallError, id: RequestId) -> Response<BoundaryBody> {
    let (status, retry_after) = match error {
        CallError::Busy | CallError::OverLimit | CallError::Unread(UnreadCause::NoRoom) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(1))
        }
        CallError::Unread(UnreadCause::TooSlow) => (StatusCode::REQUEST_TIMEOUT, None),
        CallError::GaveUp(Reason::Deadline) => (StatusCode::GATEWAY_TIMEOUT, None),
        CallError::GaveUp(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(0)),
        CallError::Unread(UnreadCause::Malformed) => (StatusCode::BAD_REQUEST, None),
        CallError::Trapped
        | CallError::NotStarted(_)
        | CallError::Refused(_)
        | CallError::Invalid(_)
        | CallError::NoResponse => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    // What a guest or the engine says of it is for the log: it may tell a stranger too much.
    let what = match error {
        CallError::Busy | CallError::OverLimit => "the server is busy",
        CallError::Unread(UnreadCause::NoRoom) => "the server has no room left for request bodies",
        CallError::Unread(UnreadCause::TooSlow) => "the request body arrived too slowly",
        CallError::GaveUp(Reason::Deadline) => "the handler did not respond in time",
        CallError::GaveUp(Reason::Shutdown) => "the server is shutting down",
        CallError::GaveUp(_) => "the request was cancelled",
        CallError::Unread(UnreadCause::Malformed) => "the request body is malformed",
        CallError::Trapped => "the handler failed",
        CallError::NotStarted(_) => "the handler cannot be started",
        CallError::Refused(_) => "the handler returned an error",
        CallError::Invalid(why) => &format!("the handler's response is not valid: {why}"),
        CallError::NoResponse => "the handler did not respond",
    };
    let mut response = text(status, &format!("{what} (request {id})"));
    let headers = response.headers_mut();
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error, CallError::Unread(UnreadCause::Malformed)) {
        // Where its next request would begin is not known.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What is wrong with bytes that HTTP could not be read from, for which hyper answers by itself with this status.
#[must_use]
pub(crate) fn unreadable(status: StatusCode, limits: &ServerLimits) -> String {
    match status {
        StatusCode::URI_TOO_LONG => "the request target is too long".to_owned(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => too_large(limits),
        _ => "this is not a valid HTTP/1.1 request".to_owned(),
    }
}

/// A whole answer of HTTP/1.1 as bytes, for who gets it without hyper. The connection is closed after it. `date`: when, as
/// headers have it.
#[must_use]
pub(crate) fn plain(status: StatusCode, text: &str, id: RequestId, date: Option<&str>) -> Bytes {
    let (code, reason) = (status.as_str(), status.canonical_reason().unwrap_or_default());
    let date = date.map(|date| format!("date: {date}\r\n")).unwrap_or_default();
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 {code} {reason}\r\nconnection: close\r\ncontent-type: {TEXT}\r\ncache-control: no-store\r\n{REQUEST_ID}: {id}\r\n\
         {date}content-length: {length}\r\n\r\n{text}\n"
    )
    .into()
}

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer of the host: one line that says what was wrong.
fn text(status: StatusCode, text: &str) -> Response<BoundaryBody> {
    let body = Full::new(Bytes::from(format!("{text}\n"))).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
