//! HTTP/2 by hand, as far as a client with one request at a time needs it: it reads only when it is told
//! to, and sends exactly what a case says.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};

use super::target::TestTarget;
use super::wire::WireConnection;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Lengths of frame heads.
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// On SETTINGS and PING.
const ACK: u8 = 1;
/// On DATA and HEADERS.
const END_STREAM: u8 = 1;
/// On HEADERS.
const END_HEADERS: u8 = 4;
/// On DATA.
const PADDED: u8 = 8;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// What the server may send without being asked for more: larger than any event here.
const WINDOW: u32 = 1024 * 1024;

/// The error code CANCEL.
const CANCEL: u32 = 8;

/// What has come in for the request in progress.
#[derive(Default)]
pub(super) struct ResponseInbox {
    stream: u32,
    data: BytesMut,
    ended: bool,
    broken: Option<&'static str>,
}

/// Starts the connection.
pub(super) async fn greet(wire: &mut WireConnection) -> io::Result<()> {
    let mut bytes = PREFACE.to_vec();
    let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
    settings.extend(WINDOW.to_be_bytes());
    bytes.extend(frame(SETTINGS, 0, 0, &settings));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes()));
    wire.send(&bytes).await
}

/// Sends a GET on a stream of its own, whose body is at its end or still to come.
pub(super) async fn send_get(
    wire: &mut WireConnection,
    inbox: &mut ResponseInbox,
    target: &TestTarget,
    path: &str,
    end: bool,
) -> io::Result<()> {
    let stream = if inbox.stream == 0 { 1 } else { inbox.stream + 2 };
    *inbox = ResponseInbox { stream, ..ResponseInbox::default() };
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    wire.send(&frame(HEADERS, flags, stream, &fields(target, path))).await
}

/// Resets the stream of the request in progress.
pub(super) async fn reset_stream(wire: &mut WireConnection, inbox: &ResponseInbox) -> io::Result<()> {
    wire.send(&frame(RST_STREAM, 0, inbox.stream, &CANCEL.to_be_bytes())).await
}

/// Says that this side takes no new streams, without an error.
pub(super) async fn go_away(wire: &mut WireConnection) -> io::Result<()> {
    // The last stream of the server's own, of which there are none, and NO_ERROR.
    wire.send(&frame(GOAWAY, 0, 0, &[0; 8])).await
}

/// Reads on until something comes in, and deals with it. False at the end of the connection.
pub(super) async fn receive(wire: &mut WireConnection, inbox: &mut ResponseInbox) -> io::Result<bool> {
    if wire.receive().await? == 0 {
        return Ok(false);
    }
    let mut replies = Vec::new();
    while let Some((kind, flags, stream, payload)) = next_frame(&mut wire.received) {
        match kind {
            SETTINGS if flags & ACK == 0 => replies.extend(frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => replies.extend(frame(PING, ACK, 0, &payload)),
            GOAWAY if payload.len() >= 8 && payload[4..8] != [0; 4] => inbox.broken = Some("a GOAWAY"),
            DATA | HEADERS if stream == inbox.stream => {
                if kind == DATA {
                    inbox.data.extend_from_slice(data_of(flags, &payload));
                }
                inbox.ended |= flags & END_STREAM != 0;
            }
            RST_STREAM if stream == inbox.stream => inbox.broken = Some("a RST_STREAM"),
            _ => {}
        }
    }
    if !replies.is_empty() {
        wire.send(&replies).await?;
    }
    Ok(true)
}

/// The body of the response, read to its end. None if there will be none.
pub(super) async fn read_body(
    wire: &mut WireConnection,
    inbox: &mut ResponseInbox,
) -> io::Result<Option<Bytes>> {
    while !inbox.ended {
        if let Some(what) = inbox.broken {
            return Err(io::Error::other(format!("the server answered with {what}")));
        }
        if !receive(wire, inbox).await? {
            return Ok(None);
        }
    }
    Ok(Some(inbox.data.split().freeze()))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // All that is sent here is short.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn next_frame(received: &mut BytesMut) -> Option<(u8, u8, u32, Bytes)> {
    let mut head = received.get(..HEAD)?;
    let length = usize::try_from(head.get_uint(3)).ok()?;
    let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32() & 0x7fff_ffff);
    if received.len() < HEAD + length {
        return None;
    }
    received.advance(HEAD);
    Some((kind, flags, stream, received.split_to(length).freeze()))
}

fn data_of(flags: u8, payload: &[u8]) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    let padding = payload.first().copied().unwrap_or_default();
    payload.get(1..payload.len().saturating_sub(usize::from(padding))).unwrap_or_default()
}

/// The header block of a GET, in HPACK without its tables and without Huffman's code.
fn fields(target: &TestTarget, path: &str) -> Vec<u8> {
    /// Static entries: `:method: GET`, `:scheme: http`, `:scheme: https`.
    const GET: u8 = 0x82;
    const HTTP: u8 = 0x86;
    const HTTPS: u8 = 0x87;
    /// Literals that enter no table, with static names: `:authority`, `:path`.
    const AUTHORITY: u8 = 0x01;
    const PATH: u8 = 0x04;
    let mut block = vec![GET, if target.is_tls() { HTTPS } else { HTTP }];
    for (name, value) in [(AUTHORITY, target.authority.as_str()), (PATH, path)] {
        block.push(name);
        put_length(&mut block, value.len());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// A length of HPACK: seven bits, and sevens of bits more if they are all set.
fn put_length(block: &mut Vec<u8>, length: usize) {
    const FULL: usize = 0x7f;
    let low = |number: usize| u8::try_from(number & FULL).unwrap_or_default();
    if length < FULL {
        block.push(low(length));
        return;
    }
    block.push(low(FULL));
    let mut rest = length - FULL;
    while rest > FULL {
        block.push(low(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_sizes() {
        for (length, expected) in [
            (0, &[0][..]),
            (126, &[126]),
            (127, &[127, 0]),
            (254, &[127, 127]),
            (255, &[127, 128, 1]),
            (1337, &[127, 186, 9]),
        ] {
            let mut block = Vec::new();
            put_length(&mut block, length);
            assert_eq!(block, expected, "{length}");
        }
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut bytes = BytesMut::from(&frame(DATA, END_STREAM, 3, b"hello")[..]);
        bytes.extend_from_slice(&frame(PING, ACK, 0, &[1; 8])[..12]);
        assert_eq!(next_frame(&mut bytes), Some((DATA, END_STREAM, 3, Bytes::from_static(b"hello"))));
        assert_eq!(next_frame(&mut bytes), None);
        assert_eq!(bytes.len(), 12);
    }

    #[test]
    fn padding_is_no_data() {
        assert_eq!(data_of(0, b"hello"), b"hello");
        assert_eq!(data_of(PADDED, b"\x02hello__"), b"hello");
        assert_eq!(data_of(PADDED, b"\xffhello"), b"");
        assert_eq!(data_of(PADDED, b""), b"");
    }
}
