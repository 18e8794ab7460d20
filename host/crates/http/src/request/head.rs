//! The head of a request, before routing: validates and normalizes it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};

use linger_config::ServerLimits;
use linger_telemetry::Reached;
use linger_wasm::BoundaryBody;

use crate::error_response;

/// What a field of HTTP/2 counts for beside its bytes (RFC 9113, section 6.5.2).
const FIELD: usize = 32;

/// The limit that a request's head is beyond, if it is. Hyper looks after both for HTTP/1.1, and H2 after none in words.
pub(crate) fn beyond<B>(request: &Request<B>, limits: &ServerLimits) -> Option<Reached> {
    let headers = request.headers();
    if headers.len() > limits.max_headers {
        return Some(Reached::Headers);
    }
    if request.version() != Version::HTTP_2 {
        return None;
    }
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let size = fields.sum::<usize>() + target;
    (size as u64 > limits.max_head_size.as_u64()).then_some(Reached::HeadSize)
}

/// Puts right what says the same in another way: a guest sees it as it is meant.
pub(crate) fn tidy(headers: &mut HeaderMap) {
    join_cookies(headers);
    remove_twins(headers);
}

/// HTTP/2 clients send the pieces of a cookie header apart, which is one for all others (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return };
    let mut whole = first.as_bytes().to_vec();
    for piece in std::iter::once(second).chain(pieces) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(piece.as_bytes());
    }
    // Its pieces were valid.
    if let Ok(mut whole) = HeaderValue::from_bytes(&whole) {
        whole.set_sensitive(true);
        headers.insert(header::COOKIE, whole);
    }
}

/// Where headers become variables, as with CGI and WSGI, `x_forwarded_for` is not told from what the host says of the client.
fn remove_twins(headers: &mut HeaderMap) {
    let is_twin = |name: &HeaderName| {
        let name = name.as_str();
        name.contains('_') && {
            let name = name.replace('_', "-");
            name.starts_with("x-forwarded-") || name == "x-real-ip" || name.starts_with("linger-")
        }
    };
    while let Some(twin) = headers.keys().find(|name| is_twin(name)).cloned() {
        headers.remove(twin);
    }
}

/// The authority that a request is for. An error says what is wrong with the request.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Authority, Box<Response<BoundaryBody>>> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return Err(error_response::not_implemented("CONNECT is not supported").into());
    }
    check_codings(request.headers())?;
    check_length(request.headers())?;
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    // Of HTTP/1.1 an absolute form may have no path, which is that of the root.
    let rooted = target.starts_with('/') || (uri.scheme().is_some() && request.version() != Version::HTTP_2);
    if target == "*" && request.method() != Method::OPTIONS {
        return Err(error_response::bad_request("the request target `*` is only for OPTIONS").into());
    }
    // An authority by itself is for CONNECT.
    if target != "*" && !rooted {
        return Err(error_response::bad_request("the request target has no path").into());
    }
    Ok(asked_host(request).ok_or_else(error_response::bad_host)?)
}

/// The only coding that is taken off a request's body is `chunked`, once.
fn check_codings(headers: &HeaderMap) -> Result<(), Box<Response<BoundaryBody>>> {
    let codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let codings: Vec<_> = codings
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let Some((last, others)) = codings.split_last() else { return Ok(()) };
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if !is_chunked(last) || others.iter().any(|coding| is_chunked(coding)) {
        return Err(
            error_response::bad_request("`transfer-encoding` must end with a single `chunked`").into()
        );
    }
    if others.iter().any(|coding| !coding.is_empty()) {
        return Err(error_response::not_implemented("the only supported transfer coding is `chunked`").into());
    }
    Ok(())
}

/// One length, however often it is said. Hyper looks after that for HTTP/1.1, and H2 only at the first.
fn check_length(headers: &HeaderMap) -> Result<(), Box<Response<BoundaryBody>>> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next();
    if lengths.any(|other| Some(other) != first) {
        return Err(error_response::bad_request("the request has several different lengths").into());
    }
    Ok(())
}

/// The authority that the client asked for: of the URI (HTTP/2, or an absolute form), or the one `host` header.
fn asked_host<B>(request: &Request<B>) -> Option<Authority> {
    let version = request.version();
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return None;
    }
    // One that is there is valid, even where it does not count.
    let header = host.map(|host| Authority::try_from(host.as_bytes()).ok().filter(is_valid).ok_or(()));
    let header = header.transpose().ok()?;
    let host = match (request.uri().authority().cloned(), header) {
        // Two that differ are two requests, for all who look at one of them only (RFC 9113, section 8.3.1).
        (Some(authority), Some(host)) if version == Version::HTTP_2 => {
            return (is_same(&authority, &host) && is_valid(&authority)).then_some(authority);
        }
        // There it is required in any case (RFC 9112, section 3.2).
        (Some(_), None) if version == Version::HTTP_11 => None,
        // Of an absolute form, which replaces the header (RFC 9112, section 3.2.2).
        (Some(authority), _) => Some(authority),
        (None, Some(host)) => Some(host),
        // HTTP/1.0 knows no hosts.
        (None, None) if version == Version::HTTP_10 => Some(Authority::from_static("localhost")),
        (None, None) => None,
    };
    host.filter(is_valid)
}

/// Whether two authorities are of one host and port, said or not.
fn is_same(one: &Authority, other: &Authority) -> bool {
    let port = |authority: &Authority| authority.port_u16().filter(|port| !matches!(port, 80 | 443));
    one.host().eq_ignore_ascii_case(other.host()) && port(one) == port(other)
}

/// Whether an authority names a host, and maybe a port. A user's name is no part of it, and in a URI of HTTP no longer allowed
/// (RFC 9110, section 4.2.4). Names of hosts have nothing that has to be encoded.
fn is_valid(authority: &Authority) -> bool {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host()).and_then(|rest| match rest.strip_prefix(':') {
        Some(port) => Some(port),
        None => rest.is_empty().then_some(""),
    });
    let port_fits = port.is_some_and(|port| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    let name_fits = match authority.host().strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !authority.host().is_empty() && !text.contains(['@', '%']),
    };
    port_fits && name_fits
}

/// Has the request say its path as it is compared with those of routes: the guest sees what was decided by. All that changes is
/// what is percent-encoded without need.
pub(crate) fn decode<B>(request: &mut Request<B>) {
    let path = match linger_base::spelling::decoded(request.uri().path()) {
        Cow::Owned(path) => path,
        // An absolute form without a path.
        Cow::Borrowed(path)
            if request.uri().path_and_query().is_some_and(|all| all.as_str().starts_with('?')) =>
        {
            path.to_owned()
        }
        Cow::Borrowed(_) => return,
    };
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Ok(target) = PathAndQuery::try_from(target) {
        parts.path_and_query = Some(target);
    }
    // Its parts are those that it had, and what is decoded is allowed in a path.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn host_comes_from_the_uri_or_the_one_header() {
        let asked = |version, uri, hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            asked_host(&request(version, uri, &hosts)).map(|host| host.to_string())
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, expected) in [
            (one, "/x", &["a:80"][..], Some("a:80")),
            (two, "http://b/x", &[], Some("b")),
            (two, "/x", &["b"], Some("b")),
            (two, "http://b/x", &["B:80"], Some("b")),
            (two, "http://b/x", &["a"], None),
            (two, "http://b/x", &["b:8080"], None),
            (one, "http://b/x", &["a"], Some("b")),
            (one, "http://b/x", &["a b"], None),
            (one, "http://b/x", &[], None),
            (Version::HTTP_10, "/x", &[], Some("localhost")),
            (Version::HTTP_10, "http://b/x", &[], Some("b")),
            (one, "/x", &[], None),
            (one, "/x", &["a", "b"], None),
            (one, "http://b/x", &["a", "b"], None),
            (one, "/x", &["a b"], None),
            (one, "/x", &["user@a"], None),
            (one, "/x", &["a:"], Some("a:")),
            (one, "/x", &["a:65536"], None),
            (one, "/x", &["a:x"], None),
            (one, "/x", &["a%62"], None),
            (one, "/x", &["[::1]:80"], Some("[::1]:80")),
            (one, "/x", &["[::z]"], None),
            (one, "/x", &["::1"], None),
            (one, "/x", &[":80"], None),
        ] {
            assert_eq!(asked(version, uri, hosts).as_deref(), expected, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn one_coding_is_served() {
        for (codings, status) in [
            (&[][..], None),
            (&["chunked"], None),
            (&["Chunked"], None),
            (&[", chunked"], None),
            (&["gzip, chunked"], Some(501)),
            (&["gzip", "chunked"], Some(501)),
            (&["identity, chunked"], Some(501)),
            (&["chunked, chunked"], Some(400)),
            (&["chunked", "chunked"], Some(400)),
            (&["chunked, gzip"], Some(400)),
            (&["gzip"], Some(400)),
            (&[""], Some(400)),
        ] {
            let codings: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            let request = request(Version::HTTP_11, "/", &codings);
            let refused = check_codings(request.headers()).err().map(|refused| refused.status().as_u16());
            assert_eq!(refused, status, "{codings:?}");
        }
    }

    #[test]
    fn targets_have_a_path() {
        let refused = |method: &str, uri: &str| {
            let mut request = request(Version::HTTP_11, uri, &[("host", "x")]);
            *request.method_mut() = method.parse().unwrap();
            check(&request).err().map(|refused| refused.status().as_u16())
        };
        assert_eq!(refused("GET", "/"), None);
        assert_eq!(refused("GET", "http://x"), None);
        assert_eq!(refused("GET", "http://x?y"), None);
        assert_eq!(refused("OPTIONS", "*"), None);
        assert_eq!(refused("GET", "*"), Some(400));
        assert_eq!(refused("GET", "x:443"), Some(400));
        assert_eq!(refused("CONNECT", "x:443"), Some(501));
        assert_eq!(refused("CONNECT", "/"), Some(501));
    }

    #[test]
    fn cookies_are_one_header() {
        let cookies =
            [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2; c=3"), ("accept", "y"), ("cookie", "d")];
        let mut request = request(Version::HTTP_2, "http://x/", &cookies);
        tidy(request.headers_mut());
        let of = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(of("cookie"), ["a=1; b=2; c=3; d"]);
        assert_eq!(of("accept"), ["x", "y"]);
    }

    #[test]
    fn what_could_be_taken_for_a_word_of_the_host_goes() {
        let mut request = request(
            Version::HTTP_11,
            "/",
            &[
                ("x_forwarded_for", "1.1.1.1"),
                ("x-forwarded_proto", "https"),
                ("x_real-ip", "x"),
                ("api_key", "y"),
            ],
        );
        tidy(request.headers_mut());
        assert_eq!(request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["api_key"]);
    }

    #[test]
    fn guests_see_the_path_that_was_decided_by() {
        for (target, seen) in [
            ("/%67et?a=%67", "/get?a=%67"),
            ("/a%2Fb", "/a%2Fb"),
            ("http://h:1/%7e?", "http://h:1/~?"),
            ("*", "*"),
            ("http://h?x", "http://h/?x"),
        ] {
            let mut request = request(Version::HTTP_11, target, &[]);
            decode(&mut request);
            assert_eq!(request.uri().to_string(), seen.parse::<Uri>().unwrap().to_string(), "{target}");
        }
    }
}
