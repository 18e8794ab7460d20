//! Replay of a request whose instance trapped.

use http::Method;
use http::request::Parts;
use http_body::Body as _;

use super::BoundaryBody;

/// Whether a request may run twice: its method is safe (RFC 9110, section 9.2.1), and it has no body.
pub(super) fn may_run_twice(method: &Method, body: &BoundaryBody) -> bool {
    method.is_safe() && body.is_end_stream()
}

/// A copy of a request with a safe method and without a body.
pub(super) struct RequestReplay(Box<Parts>);

impl RequestReplay {
    /// A copy, if the request may run twice.
    pub(super) fn of(request: &http::Request<BoundaryBody>) -> Option<Self> {
        if !may_run_twice(request.method(), request.body()) {
            return None;
        }
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = request.uri().clone();
        parts.version = request.version();
        parts.headers = request.headers().clone();
        Some(Self(Box::new(parts)))
    }

    pub(super) fn request(self) -> Box<http::Request<BoundaryBody>> {
        Box::new(http::Request::from_parts(*self.0, super::empty()))
    }
}
