//! Outgoing HTTP of guests: only to the hosts that the configuration names.

use std::future::Future;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Uri};
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
    default_send_request,
};

use linger_exchange::Exchange;

/// Sends a guest's requests, or refuses them.
#[derive(Clone)]
pub(crate) struct OutgoingHttp {
    allowed: Arc<[String]>,
    /// The headers that are the host's own business.
    forbidden: ForbiddenHeaderFilter,
    /// The request that its guest works for when it sends one, if there are spans of that.
    exchange: Option<Arc<Exchange>>,
}

/// The header that says of which trace a request is.
const TRACEPARENT: &str = "traceparent";

type OutgoingIo = Box<dyn Future<Output = Result<(), Error>> + Send>;
type OutgoingResult = Result<(http::Response<WasiBody>, OutgoingIo), Error>;

impl OutgoingHttp {
    /// Allows `NAME` (its default port and any other) and `NAME:PORT`.
    pub(crate) fn to(allowed: &[String]) -> Self {
        let allowed = allowed.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { allowed, forbidden: Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)), exchange: None }
    }

    /// What is sent from now on is for this request. Only traces want to know.
    pub(crate) fn work_for(&mut self, exchange: Option<Arc<Exchange>>) {
        self.exchange = exchange.filter(|exchange| exchange.trace().is_some());
    }

    /// Has a request be of the trace of the one that it is for, unless its guest has said of which it is.
    fn continue_trace(&self, headers: &mut HeaderMap) {
        if let Some(trace) = self.exchange.as_ref().and_then(|exchange| exchange.trace())
            && !headers.contains_key(TRACEPARENT)
        {
            trace.name_in(headers);
        }
    }

    fn allows(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let host = host.to_ascii_lowercase();
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let with_port = format!("{host}:{}", uri.port_u16().unwrap_or(default_port));
        self.allowed.iter().any(|allowed| *allowed == host || *allowed == with_port)
    }
}

impl WasiHttpHooks for OutgoingHttp {
    // As by default, but made once and not for each header.

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        self.forbidden.clone()
    }

    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _body_sent: OutgoingIo,
    ) -> Box<dyn Future<Output = OutgoingResult> + Send> {
        let allowed = self.allows(request.uri());
        self.continue_trace(request.headers_mut());
        Box::new(async move {
            if !allowed {
                return Err(Error::HttpRequestDenied);
            }
            let (response, io) = default_send_request(request, options).await?;
            Ok((response.map(http_body_util::BodyExt::boxed_unsync), Box::new(io) as OutgoingIo))
        })
    }

    // Also the way in which a guest learns that a client broke off its upload: no news for the log.

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> p2::ErrorCode {
        tracing::debug!("an outgoing request failed: {error}");
        p2::ErrorCode::HttpProtocolError
    }

    fn p3_error_from_hyper(&mut self, error: &hyper::Error) -> p3::ErrorCode {
        tracing::debug!("an outgoing request failed: {error}");
        p3::ErrorCode::HttpProtocolError
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_are_reached() {
        let outgoing = OutgoingHttp::to(&[
            "Example.com".to_owned(),
            "127.0.0.1:8081".to_owned(),
            "secure.org:443".to_owned(),
        ]);
        for (uri, allowed) in [
            ("http://example.com/x", true),
            ("https://EXAMPLE.com:8443/", true),
            ("http://127.0.0.1:8081/", true),
            ("http://127.0.0.1/", false),
            ("https://secure.org/", true),
            ("http://secure.org/", false),
            ("http://example.com.evil.org/", false),
            ("http://example.com@evil.org/", false),
            ("/no/host", false),
        ] {
            assert_eq!(outgoing.allows(&uri.parse().unwrap()), allowed, "{uri}");
        }
    }
}
