//! HTTP/1.1 by hand: what is sent is exactly what a case says.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::time::sleep;

use super::case::PollRequest;
use super::target::TestTarget;
use super::wire::WireConnection;

/// A whole response.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// What is sent at a time where a body has no end.
const PIECE: usize = 64 * 1024;

/// The body of [`PollRequest::LargeBody`].
const LARGE: usize = 300_000;

/// The body of [`PollRequest::EndlessBody`].
const ENDLESS: usize = 20_000_000;

/// What comes later comes after this time.
const LATER: Duration = Duration::from_millis(50);

/// Where nothing moves for so long, nothing more is taken.
const STUCK: Duration = Duration::from_millis(200);

/// The head of a request, with more header lines.
pub(super) fn head(target: &TestTarget, method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{more}\r\n", target.authority)
}

/// Sends a poll, and what comes with it.
pub(super) async fn send_poll(
    wire: &mut WireConnection,
    target: &TestTarget,
    path: &str,
    request: PollRequest,
) -> io::Result<()> {
    let get = |more: &str| head(target, "GET", path, more);
    match request {
        PollRequest::Plain => wire.send(get("").as_bytes()).await,
        PollRequest::Pipelined => wire.send(get("").repeat(2).as_bytes()).await,
        PollRequest::LatePipelined => {
            wire.send(get("").as_bytes()).await?;
            sleep(LATER).await;
            wire.send(get("").as_bytes()).await
        }
        PollRequest::LateStrayLine => {
            wire.send(get("").as_bytes()).await?;
            sleep(LATER).await;
            wire.send(b"\r\n").await
        }
        PollRequest::StrayLine => wire.send((get("") + "\r\n").as_bytes()).await,
        PollRequest::SmallBody => {
            wire.send((get("content-length: 20\r\n") + "twenty bytes of body").as_bytes()).await
        }
        PollRequest::LargeBody => {
            wire.send(get(&format!("content-length: {LARGE}\r\n")).as_bytes()).await?;
            wire.send_what_fits(&vec![b'x'; LARGE], STUCK).await
        }
        PollRequest::ChunkedBody => {
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            let body = chunk.repeat(4) + "0\r\n\r\n";
            wire.send((get("transfer-encoding: chunked\r\n") + &body).as_bytes()).await
        }
        PollRequest::ExpectBody => {
            wire.send(get("content-length: 20\r\nexpect: 100-continue\r\n").as_bytes()).await
        }
        PollRequest::EndlessBody => {
            wire.send(get(&format!("content-length: {ENDLESS}\r\n")).as_bytes()).await?;
            let piece = vec![b'x'; PIECE];
            for _ in 0..ENDLESS / PIECE {
                // Once nothing is taken any more, the rest is not either.
                if tokio::time::timeout(STUCK, wire.send(&piece)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        PollRequest::HalfBody => wire.send((get("content-length: 20\r\n") + "ten bytes ").as_bytes()).await,
        PollRequest::HalfChunks => {
            wire.send((get("transfer-encoding: chunked\r\n") + "14\r\nten bytes ").as_bytes()).await
        }
        PollRequest::LateBody => {
            wire.send((get("content-length: 2000\r\n") + &"x".repeat(1000)).as_bytes()).await?;
            sleep(LATER).await;
            wire.send(&[b'x'; 1000]).await
        }
        PollRequest::OpenBody | PollRequest::GoAway => Err(io::Error::other("this is for HTTP/2 only")),
    }
}

/// Reads the next response. None if the connection ended before its head.
pub(super) async fn read_answer(wire: &mut WireConnection) -> io::Result<Option<HttpResponse>> {
    loop {
        let Some(head) = read_head(wire).await? else { return Ok(None) };
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP response: {head:.40}")))?;
        if status < 200 {
            continue;
        }
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let body = if matches!(status, 204 | 304) {
            Bytes::new()
        } else if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            read_chunks(wire).await?
        } else if let Some(length) = field("content-length") {
            let length = length.parse().map_err(|_| io::Error::other("a length that is no number"))?;
            take(wire, length).await?
        } else {
            while wire.receive().await? > 0 {}
            wire.received.split().freeze()
        };
        return Ok(Some(HttpResponse { status, body }));
    }
}

async fn read_head(wire: &mut WireConnection) -> io::Result<Option<String>> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(end) = find(&wire.received, END) {
            let head = wire.received.split_to(end);
            wire.received.advance(END.len());
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if wire.receive().await? == 0 {
            return if wire.received.is_empty() { Ok(None) } else { Err(cut()) };
        }
    }
}

async fn read_chunks(wire: &mut WireConnection) -> io::Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let line = loop {
            if let Some(end) = find(&wire.received, b"\r\n") {
                let line = wire.received.split_to(end);
                wire.received.advance(2);
                break line;
            }
            if wire.receive().await? == 0 {
                return Err(cut());
            }
        };
        let line = String::from_utf8_lossy(&line);
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::Error::other("a chunk without a size"))?;
        // No trailers are expected from who answers a poll.
        let chunk = take(wire, size).await?;
        take(wire, 2).await?;
        body.extend_from_slice(&chunk);
        if size == 0 {
            return Ok(body.freeze());
        }
    }
}

async fn take(wire: &mut WireConnection, length: usize) -> io::Result<Bytes> {
    while wire.received.len() < length {
        if wire.receive().await? == 0 {
            return Err(cut());
        }
    }
    Ok(wire.received.split_to(length).freeze())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A response ended before its end.
fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the response broke off")
}
