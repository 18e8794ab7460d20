//! An error to a response: the only place that maps one to a status.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::cancel::Reason;
use crate::exchange::{RequestId, Unread};
use crate::guest::{Body, CallError};

/// Names a request to its client, as the log does.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The value of `cache-control` for what is for one client and one moment.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// 404: no route leads there.
#[must_use]
pub fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "nothing is served at this host and path\n".to_owned())
}

/// 405: there is a route, for other methods.
#[must_use]
pub fn method_not_allowed(allowed: &[Method]) -> Response<Body> {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {list} here\n"));
    if let Ok(list) = HeaderValue::from_str(&list) {
        response.headers_mut().insert(ALLOW, list);
    }
    response
}

/// 400: the request does not say which host it is for.
#[must_use]
pub fn bad_host() -> Response<Body> {
    text(StatusCode::BAD_REQUEST, "the request needs one valid `host` header\n".to_owned())
}

/// 503: the server has as many requests as it may.
#[must_use]
pub fn overloaded() -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "the server is busy\n".to_owned());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
    response
}

/// 503: the client has as many requests in progress as one may.
#[must_use]
pub fn too_many_of_client() -> Response<Body> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests of this client are in progress\n".to_owned(),
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
    response
}

/// The guest gave no response.
#[must_use]
pub fn failure(error: &CallError, id: RequestId) -> Response<Body> {
    let (status, retry_after) = match error {
        CallError::Busy | CallError::OverLimit | CallError::Unread(Unread::NoRoom) => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(1))
        }
        CallError::Unread(Unread::TooSlow) => (StatusCode::REQUEST_TIMEOUT, None),
        CallError::GaveUp(Reason::Deadline) => (StatusCode::GATEWAY_TIMEOUT, None),
        CallError::GaveUp(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(0)),
        CallError::Trapped | CallError::NotStarted(_) | CallError::Refused(_) | CallError::NoResponse => {
            (StatusCode::INTERNAL_SERVER_ERROR, None)
        }
    };
    // What went wrong is for the log: it may tell a stranger too much.
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let mut response = text(status, format!("{reason} (request {id})\n"));
    let headers = response.headers_mut();
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}
