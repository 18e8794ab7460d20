//! Detects a client's version of HTTP, before hyper reads.
//!
//! What hyper-util has for that reads the first bytes apart. For HTTP/1.1 they are then in hyper's buffer when it reads on,
//! which makes it double the buffer: 8 KiB for each connection that is open. And it has room for both versions.

use crate::connection::ClientMonitor;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    Http1,
    Http2,
}

impl HttpVersion {
    /// What TLS has negotiated: HTTP/2 has to be (RFC 9113, section 3.2).
    pub(crate) fn negotiated(protocol: Option<&[u8]>) -> Self {
        if protocol == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }

    /// Waits for the first bytes of a client, until they tell, and leaves them where they are.
    pub(crate) async fn sent(link: &ClientMonitor) -> Self {
        // One that ends before is none of HTTP/2.
        link.peek(&mut [0; PREFACE.len()], Self::of).await.ok().flatten().unwrap_or(Self::Http1)
    }

    fn of(first: &[u8]) -> Option<Self> {
        let same = first.iter().zip(PREFACE).take_while(|(sent, preface)| sent == preface).count();
        match same {
            _ if same < first.len() => Some(Self::Http1),
            _ if same == PREFACE.len() => Some(Self::Http2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_negotiates_http2_or_it_is_none() {
        assert_eq!(HttpVersion::negotiated(Some(b"h2")), HttpVersion::Http2);
        assert_eq!(HttpVersion::negotiated(Some(b"http/1.1")), HttpVersion::Http1);
        assert_eq!(HttpVersion::negotiated(None), HttpVersion::Http1);
    }

    #[test]
    fn first_bytes_tell_as_soon_as_they_differ() {
        assert_eq!(HttpVersion::of(b"GET / HTTP/1.1"), Some(HttpVersion::Http1));
        assert_eq!(HttpVersion::of(b"PO"), Some(HttpVersion::Http1));
        assert_eq!(HttpVersion::of(b"PRI * HTTP/1.1\r\n"), Some(HttpVersion::Http1));
        assert_eq!(HttpVersion::of(PREFACE), Some(HttpVersion::Http2));
        assert_eq!(HttpVersion::of(b"PRI * HT"), None);
        assert_eq!(HttpVersion::of(b""), None);
    }
}
