//! The head of a request.

use crate::Body;
use std::cell::OnceCell;
use std::net::IpAddr;
use wasip3::http::types::{self, Method, Scheme};

/// The request that a handler answers.
///
/// Parts are fetched from the host when they are asked for. [`into_body`](Self::into_body) consumes the request: read
/// the parts of the head that the handler needs before that.
///
/// ```no_run
/// use linger_guest::{Request, Response};
///
/// async fn route(request: Request) -> Response {
///     match (request.method(), request.path()) {
///         ("GET", "/") => Response::text("welcome\n"),
///         (_, "/") => Response::new(405).header("allow", "GET"),
///         _ => Response::new(404),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Request {
    inner: types::Request,
    method: OnceCell<String>,
    target: OnceCell<String>,
}

impl Request {
    /// The method, as sent: `GET`. Does not block.
    pub fn method(&self) -> &str {
        self.method.get_or_init(|| method_name(self.inner.get_method()))
    }

    /// The path, as sent: still percent-encoded and without the query; `/` if the request has none.
    /// Does not block.
    pub fn path(&self) -> &str {
        path_of(self.target())
    }

    /// Whether the client uses TLS, as the host or a trusted proxy says. Does not block.
    pub fn is_secure(&self) -> bool {
        matches!(self.inner.get_scheme(), Some(Scheme::Https))
    }

    /// The client's address; none if the host does not know it. A client cannot forge it: Linger sets it in
    /// `x-forwarded-for`, and believes only the trusted proxies of its configuration. Does not block.
    ///
    /// ```no_run
    /// # use linger_guest::{Request, Response};
    /// async fn whoami(request: Request) -> Response {
    ///     Response::text(request.client().map_or("unknown\n".into(), |address| format!("{address}\n")))
    /// }
    /// ```
    pub fn client(&self) -> Option<IpAddr> {
        self.header("x-forwarded-for")?.parse().ok()
    }

    /// The first query parameter of this name, decoded; none if there is none. `a=1+%2B+2` gives `1 + 2`.
    /// Does not block.
    ///
    /// ```no_run
    /// # fn doc(request: linger_guest::Request) {
    /// let wait: Option<String> = request.query("wait");
    /// # }
    /// ```
    pub fn query(&self, name: &str) -> Option<String> {
        query_value(self.target(), name)
    }

    /// The header with this name, in any case; none if there is none, or if it is not UTF-8. Several lines are joined
    /// with commas (RFC 9110, section 5.3). Does not block.
    ///
    /// ```no_run
    /// # fn doc(request: linger_guest::Request) {
    /// let kind: Option<String> = request.header("content-type");
    /// # }
    /// ```
    pub fn header(&self, name: &str) -> Option<String> {
        joined(self.inner.get_headers().get(name))
    }

    /// All headers, in the order in which they were sent, with names in lower case. Does not block.
    ///
    /// ```no_run
    /// # fn doc(request: linger_guest::Request) {
    /// for (name, value) in request.headers() {
    ///     println!("{name}: {}", String::from_utf8_lossy(&value));
    /// }
    /// # }
    /// ```
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.inner.get_headers().copy_all()
    }

    /// The body, to be read as it arrives or whole. Does not block.
    ///
    /// ```no_run
    /// # use linger_guest::{Request, Response, Result};
    /// async fn count(request: Request) -> Result<Response> {
    ///     let data = request.into_body().bytes(64 * 1024).await?;
    ///     Ok(Response::text(format!("{} bytes\n", data.len())))
    /// }
    /// ```
    pub fn into_body(self) -> Body {
        Body::of(self.inner)
    }

    fn target(&self) -> &str {
        self.target.get_or_init(|| self.inner.get_path_with_query().unwrap_or_default())
    }
}

/// For components that export `wasi:http/handler` themselves.
impl From<types::Request> for Request {
    fn from(inner: types::Request) -> Self {
        Self { inner, method: OnceCell::new(), target: OnceCell::new() }
    }
}

fn joined(lines: Vec<Vec<u8>>) -> Option<String> {
    let whole = lines.into_iter().reduce(|mut whole, line| {
        whole.extend_from_slice(b", ");
        whole.extend(line);
        whole
    });
    String::from_utf8(whole?).ok()
}

fn method_name(method: Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(name) => name,
    }
}

fn path_of(target: &str) -> &str {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if path.is_empty() { "/" } else { path }
}

fn query_value(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_without_query() {
        assert_eq!(path_of("/poll/a%2Fb?wait=1?"), "/poll/a%2Fb");
        assert_eq!(path_of("/poll"), "/poll");
    }

    #[test]
    fn missing_path_is_the_root() {
        assert_eq!(path_of(""), "/");
        assert_eq!(path_of("?wait=1"), "/");
    }

    #[test]
    fn lines_of_one_header_are_one() {
        let joined = |lines: &[&str]| joined(lines.iter().map(|line| line.as_bytes().to_vec()).collect());
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&["a"]).as_deref(), Some("a"));
        assert_eq!(joined(&["a, b", "", "c"]).as_deref(), Some("a, b, , c"));
        assert_eq!(super::joined(vec![vec![0xff]]), None);
    }

    #[test]
    fn query_is_decoded_and_the_first_wins() {
        let target = "/?a=1+%2B+2&a=3&%62=x";
        assert_eq!(query_value(target, "a").as_deref(), Some("1 + 2"));
        assert_eq!(query_value(target, "b").as_deref(), Some("x"));
    }

    #[test]
    fn query_tells_empty_from_missing() {
        assert_eq!(query_value("/?a=&b", "a").as_deref(), Some(""));
        assert_eq!(query_value("/?a=&b", "b").as_deref(), Some(""));
        assert_eq!(query_value("/?a=&b", "c"), None);
        assert_eq!(query_value("/", "a"), None);
    }
}
