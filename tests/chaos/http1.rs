//! A client of HTTP/1.1 that leaves in every way there is.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::dice::{Dice, Moments, at};
use super::ledger::{ChaosLedger, Reading};
use crate::harness::{Door, Socket, soon};

/// What it does when its moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http1Manner {
    /// Closes, whatever has come.
    Close,
    Reset,
    /// Closes its direction, reads what still comes, and closes. Who does not read it loses its event, as the
    /// README says.
    HalfClose,
    /// Sends a second poll with the first, and closes. Sent later, it takes an answer that has come for read, as
    /// the README says.
    Pipelined,
    /// Has room for little, and does not read: then it closes.
    Stall,
    /// Sends a body that nobody reads, and closes in the middle of it.
    BrokenUpload,
    /// Asks by HEAD, and reads the answer, which has no body.
    Head,
    /// Reads an answer of a guest that has taken an event and says 204.
    NoContent,
    NotModified,
    /// Reads its answer, and closes.
    Read,
    ReadReset,
    /// Has said that it asks for nothing more: reads its answer by its length, and closes.
    LastRead,
    /// Has room for little, and reads its answer bit by bit.
    SlowRead,
    /// Sends a body that nobody reads, reads its answer, and keeps the connection unless it is told not to.
    Upload,
    /// Reads its answer, and keeps the connection for the next round.
    Stay,
    /// Reads a part of its answer, and closes.
    PartRead,
    PartReadReset,
}

const ALL: [Http1Manner; 17] = [
    Http1Manner::Close,
    Http1Manner::Reset,
    Http1Manner::HalfClose,
    Http1Manner::Pipelined,
    Http1Manner::Stall,
    Http1Manner::BrokenUpload,
    Http1Manner::Head,
    Http1Manner::NoContent,
    Http1Manner::NotModified,
    Http1Manner::Read,
    Http1Manner::ReadReset,
    Http1Manner::LastRead,
    Http1Manner::SlowRead,
    Http1Manner::Upload,
    Http1Manner::Stay,
    Http1Manner::PartRead,
    Http1Manner::PartReadReset,
];

/// Over TLS its library takes more from the kernel than it gives the application: there nobody reads a part.
const WHOLE: usize = ALL.len() - 2;

/// More than the windows of a connection, and less than what is read ahead.
const UPLOAD: usize = 300_000;

/// How long a client that has no room holds out beyond its moment.
const STALL: Duration = Duration::from_millis(100);

impl Http1Manner {
    /// What it sends.
    fn request(self, queue: usize) -> Vec<u8> {
        let (method, target, more) = match self {
            Self::Head => ("HEAD", format!("/take/{queue}?wait=60"), String::new()),
            Self::NoContent => ("GET", format!("/take/{queue}?wait=60&status=204"), String::new()),
            Self::NotModified => ("GET", format!("/take/{queue}?wait=60&status=304"), String::new()),
            Self::LastRead => ("GET", format!("/poll/{queue}?wait=60"), "connection: close\r\n".to_owned()),
            Self::Upload | Self::BrokenUpload => {
                ("GET", format!("/poll/{queue}?wait=60"), format!("content-length: {UPLOAD}\r\n"))
            }
            _ => ("GET", format!("/poll/{queue}?wait=60"), String::new()),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nhost: chaos\r\n{more}\r\n");
        let body = match self {
            Self::Upload => UPLOAD,
            Self::BrokenUpload => UPLOAD / 2,
            _ => 0,
        };
        [head.into_bytes(), vec![b'x'; body]].concat().repeat(self.polls())
    }

    fn polls(self) -> usize {
        if self == Self::Pipelined { 2 } else { 1 }
    }

    fn is_narrow(self) -> bool {
        matches!(self, Self::Stall | Self::SlowRead)
    }

    fn resets(self) -> bool {
        matches!(self, Self::Reset | Self::PartReadReset | Self::ReadReset)
    }
}

pub(super) struct Http1Client {
    door: Door,
    kept: Option<Socket>,
}

impl Http1Client {
    pub(super) fn new(door: Door) -> Self {
        Self { door, kept: None }
    }

    pub(super) async fn round(
        &mut self,
        queue: usize,
        dice: &mut Dice,
        moments: &Moments,
        ledger: &Mutex<ChaosLedger>,
    ) {
        let manner = dice.pick(if self.door.is_tls() { &ALL[..WHOLE] } else { &ALL });
        ledger.lock().unwrap().plays(manner);
        let mut stream = match self.kept.take() {
            _ if manner.is_narrow() => self.door.connect_narrow().await,
            Some(stream) => stream,
            None => self.door.connect().await,
        };
        let request = manner.request(queue);
        at(moments.poll).await;
        ledger.lock().unwrap().asked(manner.polls());
        soon("sending", stream.write_all(&request)).await.unwrap();
        soon("sending", stream.flush()).await.unwrap();
        let received = act(manner, &mut stream, dice, moments).await;
        if manner.resets() {
            stream.tcp().set_zero_linger().unwrap();
        }
        if !matches!(manner, Http1Manner::Head | Http1Manner::NoContent | Http1Manner::NotModified) {
            note(&received, ledger);
        }
        let stays = matches!(
            manner,
            Http1Manner::Stay | Http1Manner::Upload | Http1Manner::Head | Http1Manner::NoContent
        );
        let is_last = || head_of(&received).is_some_and(|head| field(head, "connection") == Some("close"));
        self.kept = (stays && !is_last()).then_some(stream);
    }

    pub(super) fn close(&mut self) {
        self.kept = None;
    }
}

/// What it does once it has asked. Gives what it has read.
async fn act(manner: Http1Manner, stream: &mut Socket, dice: &mut Dice, moments: &Moments) -> Vec<u8> {
    let mut received = Vec::new();
    match manner {
        Http1Manner::Read
        | Http1Manner::ReadReset
        | Http1Manner::LastRead
        | Http1Manner::Upload
        | Http1Manner::Stay => {
            read_whole(stream, &mut received).await;
            assert!(whole(&received).is_some(), "{manner:?}: an answer, not the end of the connection");
        }
        Http1Manner::SlowRead => {
            while whole(&received).is_none() {
                let mut part = [0; 8192];
                let count = soon("reading", stream.read(&mut part)).await.unwrap();
                assert!(count > 0, "a slow reader is cut off");
                received.extend_from_slice(&part[..count]);
                sleep(Duration::from_millis(1)).await;
            }
        }
        Http1Manner::Head | Http1Manner::NoContent | Http1Manner::NotModified => {
            read_head(stream, &mut received).await;
            let status = if manner == Http1Manner::Head {
                "200"
            } else if manner == Http1Manner::NoContent {
                "204"
            } else {
                "304"
            };
            let head = head_of(&received).expect("an answer, not the end of the connection");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        }
        Http1Manner::PartRead | Http1Manner::PartReadReset => {
            at(moments.leave).await;
            soon("an answer", stream.tcp().readable()).await.unwrap();
            let limit = dice.pick(&[20, 300, 1_000, 100_000]);
            let mut part = vec![0; 1 + dice.below(limit)];
            let count = soon("reading", stream.read(&mut part)).await.unwrap();
            received.extend_from_slice(&part[..count]);
        }
        Http1Manner::Stall => at(moments.leave.max(moments.push) + STALL).await,
        Http1Manner::HalfClose => {
            at(moments.leave).await;
            soon("shutting down", stream.shutdown()).await.unwrap();
            read_whole(stream, &mut received).await;
        }
        Http1Manner::Close | Http1Manner::Reset | Http1Manner::Pipelined | Http1Manner::BrokenUpload => {
            at(moments.leave).await;
        }
    }
    received
}

/// Reads until the answer is whole, or until the connection ends.
async fn read_whole(stream: &mut Socket, received: &mut Vec<u8>) {
    while whole(received).is_none() && matches!(soon("an answer", stream.read_buf(received)).await, Ok(1..)) {
    }
}

async fn read_head(stream: &mut Socket, received: &mut Vec<u8>) {
    while head_of(received).is_none() && matches!(soon("an answer", stream.read_buf(received)).await, Ok(1..))
    {
    }
}

/// The head of an answer, with the end of its last line, if all of it is there.
fn head_of(received: &[u8]) -> Option<&str> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(str::from_utf8(&received[..end + 2]).unwrap())
}

fn note(received: &[u8], ledger: &Mutex<ChaosLedger>) {
    let mut ledger = ledger.lock().unwrap();
    if let Some(reading) = whole(received) {
        ledger.read(&reading);
    } else if let Some(id) = id(&String::from_utf8_lossy(received)) {
        ledger.seen(id);
    }
}

fn whole(received: &[u8]) -> Option<Reading> {
    let head = head_of(received)?;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length: usize = field(head, "content-length").expect("a length").parse().unwrap();
    Some(Reading {
        id: id(head).expect("an id").to_owned(),
        data: received[head.len() + 2..].get(..length)?.to_vec(),
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
