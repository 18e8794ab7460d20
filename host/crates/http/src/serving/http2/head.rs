//! The head of a response over HTTP/2.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, Entry, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Of the connection, of which HTTP/2 says nothing in heads (RFC 9113, section 8.2.2).
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
];

/// Removes what is only of the connection.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in &CONNECTION_SPECIFIC {
        headers.remove(name);
    }
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let Entry::Occupied(connection) = headers.entry(CONNECTION) else { return };
    let (_, values) = connection.remove_entry_mult();
    let lists: Vec<HeaderValue> = values.collect();
    for name in lists.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
        headers.remove(name.trim());
    }
}

/// Makes a response's head complete. `length`: of a body that is still to come, if it is known.
pub(super) fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    strip(headers);
    headers.entry(DATE).or_insert_with(date);
    if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

/// The date, as it is written in a head. Written once in a second, for each thread.
#[expect(clippy::disallowed_methods, reason = "a head has the time of day, which no test depends on")]
fn date() -> HeaderValue {
    thread_local!(static WRITTEN: RefCell<Option<(Duration, HeaderValue)>> = const { RefCell::new(None) });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WRITTEN.with_borrow_mut(|written| match written {
        Some((second, date)) if second.as_secs() == now.as_secs() => date.clone(),
        _ => {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + now);
            // It has letters, digits, spaces and signs.
            let date = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
            *written = Some((now, date.clone()));
            date
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_the_connection_goes_and_what_it_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-of-the-connection"),
            ("connection", "x-too"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("x-of-the-connection", "1"),
            ("x-too", "2"),
            ("x-else", "3"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-else"]);
    }

    #[test]
    fn what_the_guest_says_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("then"));
        complete(&mut headers, Some(3));
        assert_eq!(headers[DATE], "then");
        assert_eq!(headers[CONTENT_LENGTH], "3");
        let mut headers = HeaderMap::new();
        complete(&mut headers, None);
        assert!(httpdate::parse_http_date(headers[DATE].to_str().unwrap()).is_ok());
        assert_eq!(headers.get(CONTENT_LENGTH), None);
    }
}
