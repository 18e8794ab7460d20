//! The PROXY protocol: a proxy that forwards bytes first sends the address of its client.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use linger_base::ClientAddress;

/// What version 2 begins with; a header of version 1 is longer, too.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// With the two bytes after it and the length.
const FIXED: usize = 16;

/// The longest line of version 1.
const MAX_LINE: usize = 107;

/// Of version 2: the addresses take 216 bytes at most, and proxies add what they know of TLS.
const MAX_HEADER: usize = 4096;

/// For whom a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxySpeaker {
    /// For itself: to see whether the server lives.
    Itself,
    /// For a client. None: it does not know where that is.
    Client(Option<ClientAddress>),
}

/// The byte of version 2 that says that a proxy speaks for itself.
const LOCAL: u8 = 0x20;

/// Reads the header, and nothing after it: whose connection it is. Fails on anything else.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ProxySpeaker> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let length = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if length > MAX_HEADER {
            return Err(refused(&format!("it is longer than {MAX_HEADER} bytes")));
        }
        header.resize(FIXED + length, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
        if header[SIGNATURE.len()] == LOCAL {
            // Whatever its family and addresses are: they are to be ignored.
            return Ok(ProxySpeaker::Itself);
        }
    } else {
        while !header.ends_with(b"\n") {
            if header.len() == MAX_LINE || !header.starts_with(b"PROXY ") {
                return Err(refused("its version is unknown"));
            }
            header.push(stream.read_u8().await?);
        }
    }
    parse(&header)
}

fn parse(header: &[u8]) -> io::Result<ProxySpeaker> {
    let address = |ip: std::net::IpAddr, port| Some(SocketAddr::new(ip, port).into());
    let client = match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(from) => address(from.source_address.into(), from.source_port),
            v1::Addresses::Tcp6(from) => address(from.source_address.into(), from.source_port),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match header.addresses {
            v2::Addresses::IPv4(from) => address(from.source_address.into(), from.source_port),
            v2::Addresses::IPv6(from) => address(from.source_address.into(), from.source_port),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        },
        HeaderResult::V1(Err(error)) => return Err(refused(&error.to_string())),
        HeaderResult::V2(Err(error)) => return Err(refused(&error.to_string())),
    };
    Ok(ProxySpeaker::Client(client))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the PROXY protocol header is not valid: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whose connection it is that begins with this, and what is left of it.
    async fn read(sent: &[u8]) -> io::Result<(Option<String>, Vec<u8>)> {
        let mut rest = sent;
        let speaker = match read_header(&mut rest).await? {
            ProxySpeaker::Itself => Some("itself".to_owned()),
            ProxySpeaker::Client(client) => client.map(|client| client.to_string()),
        };
        Ok((speaker, rest.to_vec()))
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, body].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_nothing_more_is_read() {
        let v4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 0, 80];
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0, 7, 0, 80]].concat();
        // Something of unknown meaning behind the addresses.
        let more = [v4, &[0xe0, 0, 2, 1, 2]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 80\r\n".to_vec(), Some("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 ::1 7 80\r\n".to_vec(), Some("[2001:db8::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
            (binary(1, 0x11, v4), Some("192.0.2.1:56324")),
            (binary(1, 0x21, &v6), Some("[2001:db8::1]:7")),
            (binary(1, 0x11, &more), Some("192.0.2.1:56324")),
            // For itself, whatever else it says.
            (binary(0, 0, &[]), Some("itself")),
            (binary(0, 0x11, &[1, 2, 3]), Some("itself")),
            (binary(0, 0x11, v4), Some("itself")),
            (binary(0, 0xff, &[0; 300]), Some("itself")),
            (binary(1, 0, &[]), None),
            (binary(1, 0x31, &[0; 216]), None),
        ] {
            let (seen, rest) = read(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()).await.unwrap();
            assert_eq!(seen.as_deref(), client, "{header:?}");
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let long = [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat();
        for sent in [
            &b""[..],
            b"PROXY",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 256.0.2.1 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 99999 80\r\n",
            &long,
            &binary(1, 0x11, &[1, 2, 3]),
            &binary(1, 0x11, &[0; 5000]),
            &binary(7, 0x11, &[0; 12]),
            &binary(1, 0xff, &[0; 300]),
            &binary(0, 0, &[0; 5000]),
            &binary(0, 0, &[0; 300])[..200],
            SIGNATURE,
        ] {
            assert!(read(sent).await.is_err(), "{}", String::from_utf8_lossy(sent));
        }
    }
}
