//! Heads in a buffer of their own.
//!
//! Hyper's heads are slices of what it has read into. While a request is parked they would keep that buffer, 8 KiB
//! of which they need a few hundred bytes, and hyper would take another one to read on.

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};

/// Copies what a request's head has of the buffer.
pub(crate) fn compact<B>(request: &mut Request<B>) {
    let values = request.headers().values().map(HeaderValue::len).sum::<usize>();
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let mut copy = BytesMut::with_capacity(values + path);
    let mut own = |text: &[u8]| -> Bytes {
        copy.extend_from_slice(text);
        copy.split().freeze()
    };
    for value in request.headers_mut().values_mut() {
        let sensitive = value.is_sensitive();
        // It was valid before, so it is.
        if let Ok(owned) = HeaderValue::from_maybe_shared(own(value.as_bytes())) {
            *value = owned;
            value.set_sensitive(sensitive);
        }
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(path) = &mut parts.path_and_query
        && let Ok(owned) = PathAndQuery::from_maybe_shared(own(path.as_str().as_bytes()))
    {
        *path = owned;
    }
    if let Some(authority) = &mut parts.authority
        && let Ok(owned) = authority.as_str().parse()
    {
        *authority = owned;
    }
    // Its parts are those that it had.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_is_equal_and_needs_the_buffer_no_more() {
        let buffer = Bytes::from(b"/a?b=c|the value|another".to_vec());
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..6)).unwrap();
        request.headers_mut().append("x-one", value(7..16));
        request.headers_mut().append("x-one", value(17..24));
        compact(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        let values: Vec<_> = request.headers().get_all("x-one").iter().collect();
        assert_eq!(values, ["the value", "another"]);
        assert!(buffer.is_unique());
    }

    #[test]
    fn other_forms_of_a_target_stay() {
        for target in ["*", "http://host:1/x", "host:443"] {
            let mut request = Request::builder().method("OPTIONS").uri(target).body(()).unwrap();
            compact(&mut request);
            assert_eq!(request.uri().to_string(), target.parse::<Uri>().unwrap().to_string());
        }
    }
}
