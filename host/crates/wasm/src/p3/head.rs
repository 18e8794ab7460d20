//! The head of a request, for its guest.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, Method};
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, FieldMap, WasiHttpHooks};

use crate::BoundaryBody;

/// What a guest sees of a head. Clones share the headers: so one that is kept to run again costs next to nothing.
#[derive(Clone)]
pub(super) struct RequestHead {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    headers: FieldMap,
}

impl RequestHead {
    pub(super) fn of(parts: Parts) -> Self {
        let Parts { method, uri, headers, .. } = parts;
        let uri = uri.into_parts();
        Self {
            method,
            scheme: uri.scheme,
            authority: uri.authority,
            path: uri.path_and_query,
            headers: FieldMap::new_immutable(&mut ForbiddenHeaders, headers),
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The request with this body, and what tells when the guest has done with that.
    pub(super) fn with(
        self,
        body: BoundaryBody,
    ) -> (Request, impl Future<Output = Result<(), Error>> + Send + use<>) {
        let Self { method, scheme, authority, path, headers } = self;
        Request::new(method, scheme, authority, path, headers, None, body)
    }
}

/// The headers that are the host's own business.
struct ForbiddenHeaders;

impl WasiHttpHooks for ForbiddenHeaders {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }
}
