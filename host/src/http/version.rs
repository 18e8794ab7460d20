//! Which version of HTTP a client speaks, where it can be told before hyper reads.
//!
//! Hyper's own way is to read the first bytes apart. For HTTP/1.1 they are then in its buffer when it reads on, which
//! makes it double the buffer: 8 KiB for each connection that is open.

use super::guard::ClientLink;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

impl Version {
    /// What TLS has negotiated, if it has.
    pub(super) fn negotiated(protocol: Option<&[u8]>) -> Option<Self> {
        match protocol? {
            b"h2" => Some(Self::Http2),
            b"http/1.1" => Some(Self::Http1),
            _ => None,
        }
    }

    /// Waits for the first bytes of a client, and leaves them where they are. None if they do not tell.
    pub(super) async fn sent(link: &ClientLink) -> Option<Self> {
        let mut first = [0; PREFACE.len()];
        let count = link.peek(&mut first).await.ok()?;
        Self::of(&first[..count])
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
    fn first_bytes_tell_as_soon_as_they_differ() {
        assert_eq!(Version::of(b"GET / HTTP/1.1"), Some(Version::Http1));
        assert_eq!(Version::of(b"PO"), Some(Version::Http1));
        assert_eq!(Version::of(b"PRI * HTTP/1.1\r\n"), Some(Version::Http1));
        assert_eq!(Version::of(PREFACE), Some(Version::Http2));
        assert_eq!(Version::of(b"PRI * HT"), None);
        assert_eq!(Version::of(b""), None);
    }
}
