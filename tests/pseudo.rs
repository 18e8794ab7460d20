//! Heads of HTTP/2 that no library would send, byte by byte: a stream is reset for each, or answered, and the connection goes on.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Server, soon};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// A client that speaks in frames.
struct PseudoFrames {
    stream: TcpStream,
    /// The next of its streams.
    next: u32,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// With the first byte of the head: an index, for most statuses.
    Answered(u8),
    Reset(u32),
    /// The connection was.
    Closed,
}

/// As the static table of HPACK has them.
const OK: Fate = Fate::Answered(0x88);
const BAD_REQUEST: Fate = Fate::Answered(0x8c);
const PROTOCOL_ERROR: Fate = Fate::Reset(1);

impl PseudoFrames {
    async fn connect(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self { stream, next: 1 }
    }

    /// Sends a request with these fields and no body.
    async fn ask(&mut self, fields: &[(&str, &str)]) -> Fate {
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        for (name, value) in fields {
            // Literally, with a new name, and never to be indexed.
            block.push(0x10);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        // END_STREAM and END_HEADERS.
        self.stream.write_all(&frame(HEADERS, 5, id, &block)).await.unwrap();
        soon("what comes of a request", async {
            loop {
                let Ok((kind, stream, payload)) = self.read().await else { return Fate::Closed };
                match kind {
                    HEADERS if stream == id => return Fate::Answered(payload[0]),
                    RST_STREAM if stream == id => {
                        return Fate::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                    }
                    _ => {}
                }
            }
        })
        .await
    }

    async fn read(&mut self) -> std::io::Result<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, kind, _, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await?;
        Ok((kind, u32::from_be_bytes(id), payload))
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "x");
const PATH: (&str, &str) = (":path", "/");

#[tokio::test]
async fn malformed_heads_reset_their_streams_only() {
    let server = Server::start("hello").await;
    let mut client = PseudoFrames::connect(&server).await;
    let whole = [METHOD, SCHEME, AUTHORITY, PATH];
    assert_eq!(client.ask(&whole).await, OK);
    assert_eq!(client.ask(&[METHOD, SCHEME, PATH, ("host", "x")]).await, OK);
    for fields in [
        &[SCHEME, AUTHORITY, PATH][..],
        &[METHOD, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY],
        &[METHOD, SCHEME, AUTHORITY, (":path", "")],
        &[METHOD, METHOD, SCHEME, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("connection", "close")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("te", "gzip")],
        &[METHOD, SCHEME, (":authority", "a b"), PATH],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/a b")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "5")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "0"), ("content-length", "1")],
    ] {
        let fate = client.ask(fields).await;
        assert!(fate == PROTOCOL_ERROR || fate == BAD_REQUEST, "{fields:?}: {fate:?}");
        assert_eq!(client.ask(&whole).await, OK, "after {fields:?}");
    }
    for fields in [
        &[METHOD, SCHEME, PATH][..],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "y")],
        &[METHOD, SCHEME, (":authority", "user@x"), PATH],
        &[METHOD, SCHEME, AUTHORITY, (":path", "*")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "?x")],
    ] {
        assert_eq!(client.ask(fields).await, BAD_REQUEST, "{fields:?}");
    }
}

/// What no field can be is not known to be one of the stream: there the connection ends.
#[tokio::test]
async fn names_and_values_that_are_none_end_the_connection() {
    let server = Server::start("hello").await;
    for field in [(":unknown", "x"), ("Upper", "x"), ("x", "a\0b"), ("x", "a\r\nb: c"), ("", "x")] {
        let mut client = PseudoFrames::connect(&server).await;
        let fate = client.ask(&[METHOD, SCHEME, AUTHORITY, PATH, field]).await;
        assert_eq!(fate, Fate::Closed, "{field:?}");
    }
    assert_eq!(PseudoFrames::connect(&server).await.ask(&[METHOD, SCHEME, AUTHORITY, PATH]).await, OK);
}

#[tokio::test]
async fn connect_is_not_served() {
    let server = Server::start("hello").await;
    let mut client = PseudoFrames::connect(&server).await;
    let plain = [(":method", "CONNECT"), (":authority", "x:443")];
    // No index: a literal with an indexed name.
    let fate = client.ask(&plain).await;
    assert!(matches!(fate, Fate::Answered(first) if first != 0x88), "{fate:?}");
    let websocket = [(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, PATH];
    let fate = client.ask(&websocket).await;
    assert_ne!(fate, OK);
    assert_eq!(client.ask(&[METHOD, SCHEME, AUTHORITY, PATH]).await, OK);
}
