//! A client of HTTP/1.1 that leaves in every way there is.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dice::{Dice, Moments, at};
use super::ledger::{Ledger, Reading};
use crate::harness::soon;

/// What it does when its moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Closes, whatever has come.
    Close,
    Reset,
    /// Closes its direction, reads what still comes, and closes. Who does not read it loses its event, as the
    /// README says.
    HalfClose,
    /// Sends a second poll with the first, and closes. Sent later, it takes an answer that has come for read, as
    /// the README says.
    Pipelined,
    /// Reads a part of its answer, and closes.
    PartRead,
    PartReadReset,
    /// Reads its answer, and closes.
    Read,
    ReadReset,
    /// Reads its answer, and keeps the connection for the next round.
    Stay,
}

const ALL: [Manner; 9] = [
    Manner::Close,
    Manner::Reset,
    Manner::HalfClose,
    Manner::Pipelined,
    Manner::PartRead,
    Manner::PartReadReset,
    Manner::Read,
    Manner::ReadReset,
    Manner::Stay,
];

pub(super) struct Client {
    address: SocketAddr,
    kept: Option<TcpStream>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, kept: None }
    }

    pub(super) async fn round(
        &mut self,
        target: &str,
        dice: &mut Dice,
        moments: &Moments,
        ledger: &Mutex<Ledger>,
    ) {
        let manner = dice.pick(&ALL);
        ledger.lock().unwrap().plays(manner);
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => connect(self.address).await,
        };
        let poll = format!("GET {target} HTTP/1.1\r\nhost: chaos\r\n\r\n");
        at(moments.poll).await;
        let polls = if manner == Manner::Pipelined { 2 } else { 1 };
        ledger.lock().unwrap().asked(polls);
        soon("sending", stream.write_all(poll.repeat(polls).as_bytes())).await.unwrap();
        let mut received = Vec::new();
        match manner {
            Manner::Read | Manner::ReadReset | Manner::Stay => {
                read_whole(&mut stream, &mut received).await;
                assert!(whole(&received).is_some(), "an answer, not the end of the connection");
            }
            Manner::PartRead | Manner::PartReadReset => {
                at(moments.leave).await;
                soon("an answer", stream.readable()).await.unwrap();
                let limit = dice.pick(&[20, 300, 1_000, 100_000]);
                let mut part = vec![0; 1 + dice.below(limit)];
                let count = soon("reading", stream.read(&mut part)).await.unwrap();
                received.extend_from_slice(&part[..count]);
            }
            Manner::Close | Manner::Reset | Manner::HalfClose | Manner::Pipelined => {
                at(moments.leave).await;
            }
        }
        if manner == Manner::HalfClose {
            soon("shutting down", stream.shutdown()).await.unwrap();
            read_whole(&mut stream, &mut received).await;
        }
        if matches!(manner, Manner::Reset | Manner::PartReadReset | Manner::ReadReset) {
            stream.set_zero_linger().unwrap();
        }
        note(&received, ledger);
        self.kept = (manner == Manner::Stay).then_some(stream);
    }

    pub(super) fn close(&mut self) {
        self.kept = None;
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = soon("connecting", TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads until the answer is whole, or until the connection ends.
async fn read_whole(stream: &mut TcpStream, received: &mut Vec<u8>) {
    while whole(received).is_none() && matches!(soon("an answer", stream.read_buf(received)).await, Ok(1..)) {
    }
}

fn note(received: &[u8], ledger: &Mutex<Ledger>) {
    let mut ledger = ledger.lock().unwrap();
    if let Some(reading) = whole(received) {
        ledger.read(&reading);
    } else if let Some(id) = id(&String::from_utf8_lossy(received)) {
        ledger.seen(id);
    }
}

fn whole(received: &[u8]) -> Option<Reading> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = str::from_utf8(&received[..end + 2]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length: usize = field(head, "content-length").expect("a length").parse().unwrap();
    Some(Reading {
        id: id(head).expect("an id").to_owned(),
        data: received[end + 4..].get(..length)?.to_vec(),
        flagged: field(head, "maybe-delivered").is_some(),
    })
}

/// The id of the event in an answer of which this has been read.
fn id(received: &str) -> Option<&str> {
    field(received, "event-id")
}

/// A header that is there to the end of its line.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = head.split_once(&format!("\r\n{name}: "))?;
    Some(rest.split_once("\r\n")?.0)
}
