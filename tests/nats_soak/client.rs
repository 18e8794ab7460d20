//! A client that may leave, of a host that may die.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) struct SoakResponse {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) is_flagged: bool,
}

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n")
}

pub(super) fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request on a connection of its own, and reads the whole answer. None if the host has gone, or if it took longer
/// than the client's patience.
pub(super) async fn exchange(
    address: SocketAddr,
    request: &str,
    patience: Option<Duration>,
) -> Option<SoakResponse> {
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut received = Vec::new();
        loop {
            match stream.read_buf(&mut received).await {
                Ok(1..) => {}
                _ => return None,
            }
            if let Some(answer) = whole(&received) {
                return Some(answer);
            }
        }
    };
    match patience {
        Some(patience) => tokio::time::timeout(patience, exchanged).await.ok()?,
        None => exchanged.await,
    }
}

fn whole(received: &[u8]) -> Option<SoakResponse> {
    let text = std::str::from_utf8(received).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(Some(0), |length| length.parse().ok())?;
    Some(SoakResponse {
        status: head.get(9..12)?.parse().ok()?,
        body: body.get(..length)?.to_owned(),
        is_flagged: head.contains("maybe-delivered: true"),
    })
}

/// Numbers that look random, and are the same each time.
pub(super) struct SoakDice(u64);

impl SoakDice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
