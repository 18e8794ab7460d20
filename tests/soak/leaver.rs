//! A client that leaves.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::ledger::Ledger;
use crate::harness::{Http2, Request, soon};

/// How it leaves: when it is answered, or when it has waited for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Close,
    Reset,
    /// Closes its direction, reads what comes until the other is closed too, and closes.
    HalfClose,
    /// Closes behind a second poll.
    Pipelined,
    /// Closes behind an empty line.
    StrayLine,
    /// Closes in the middle of a body that no guest reads.
    UnreadBody,
    /// Closes within a push.
    BrokenPush,
    /// Closes within a head.
    BrokenHead,
    /// Reads a part of its answer, and closes.
    HalfRead,
    /// Reads its answer, and closes.
    WholeRead,
    /// Reads its answer, and resets.
    WholeReadReset,
    /// HTTP/2: resets its stream, and closes.
    StreamReset,
    /// HTTP/2: closes, after its answer where events come.
    Http2Close,
}

const ALL: [Manner; MANNERS] = [
    Manner::Close,
    Manner::Reset,
    Manner::HalfClose,
    Manner::Pipelined,
    Manner::StrayLine,
    Manner::UnreadBody,
    Manner::BrokenPush,
    Manner::BrokenHead,
    Manner::HalfRead,
    Manner::WholeRead,
    Manner::WholeReadReset,
    Manner::StreamReset,
    Manner::Http2Close,
];

pub(super) const MANNERS: usize = 13;

/// The header of an event that somebody may have got before.
pub(super) const FLAG: &str = "maybe-delivered";

/// The longest that it waits for an answer.
const PATIENCE_MILLIS: usize = 12_000;

/// One client.
pub(super) struct Leaver {
    manner: Manner,
    queue: String,
    patience: Duration,
    /// Whether it waits where no event comes.
    quiet: bool,
}

impl Leaver {
    /// What `number` makes of it is random, and the same each time.
    pub(super) fn new(number: usize, queues: usize) -> Self {
        let [manner, queue, patience, quiet] = [1, 2, 3, 4].map(|salt| scatter(number * 4 + salt));
        let manner = ALL[manner % MANNERS];
        // Half of them wait where no event comes.
        let quiet = quiet % 2 == 0 || manner == Manner::StreamReset;
        Self {
            manner,
            quiet,
            queue: format!("{}{}", if quiet { "none-" } else { "" }, queue % queues),
            // Half of them leave soon.
            patience: Duration::from_millis(
                (patience % PATIENCE_MILLIS * (patience / 8192 % 2) + patience % 50) as u64,
            ),
        }
    }

    pub(super) async fn run(&self, server: SocketAddr, ledger: &Ledger) {
        match self.manner {
            Manner::StreamReset | Manner::Http2Close => self.run_http2(server, ledger).await,
            _ => self.run_http1(server, ledger).await,
        }
    }

    async fn run_http1(&self, server: SocketAddr, ledger: &Ledger) {
        let mut stream = soon("connecting", TcpStream::connect(server)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        soon("sending", stream.write_all(self.request().as_bytes())).await.unwrap();
        let answered = timeout(self.patience, stream.readable()).await.is_ok();
        match self.manner {
            Manner::Reset => stream.set_zero_linger().unwrap(),
            Manner::HalfClose => {
                // The server may have closed before.
                let _ = stream.shutdown().await;
                note(&read(&mut stream, false).await, ledger);
            }
            Manner::HalfRead if answered => {
                let _ = stream.read_exact(&mut [0; 20]).await;
            }
            Manner::WholeRead if answered => note(&read(&mut stream, true).await, ledger),
            Manner::WholeReadReset if answered => {
                note(&read(&mut stream, true).await, ledger);
                stream.set_zero_linger().unwrap();
            }
            _ => {}
        }
    }

    fn request(&self) -> String {
        let queue = &self.queue;
        let poll = format!("GET /poll/{queue}?wait=60 HTTP/1.1\r\nhost: soak\r\n");
        match self.manner {
            Manner::Pipelined => format!("{poll}\r\n{poll}\r\n"),
            Manner::StrayLine => format!("{poll}\r\n\r\n"),
            Manner::UnreadBody => format!("{poll}content-length: 100000\r\n\r\n{}", "x".repeat(50_000)),
            Manner::BrokenPush => {
                let mut push = format!("POST /push/{queue} HTTP/1.1\r\nhost: soak\r\n");
                let _ = write!(push, "content-length: 1000\r\n\r\n{}", "x".repeat(500));
                push
            }
            Manner::BrokenHead => poll,
            _ => format!("{poll}\r\n"),
        }
    }

    /// Here the library reads, whether or not the application does: an answer that comes just as the
    /// application has lost its patience counts as read. So who leaves without one polls a queue without events.
    async fn run_http2(&self, server: SocketAddr, ledger: &Ledger) {
        let poll = Request::get(&format!("/poll/{}?wait=60", self.queue));
        let mut stream = Http2::connect(server).await.open(&poll).await;
        if self.quiet {
            sleep(self.patience).await;
        } else {
            let answer = soon("an answer", stream.split().1.try_answer()).await.expect("an answer");
            ledger.read(answer.expect(200), answer.header(FLAG).is_some());
        }
        if self.manner == Manner::StreamReset {
            stream.split().0.reset().await;
            sleep(Duration::from_millis(5)).await;
        }
        stream.into_connection().close().await;
    }
}

/// What comes: the first whole answer, or all until the end.
async fn read(stream: &mut TcpStream, one: bool) -> Vec<u8> {
    let mut received = Vec::new();
    while !(one && whole(&received).is_some()) {
        match soon("reading", stream.read_buf(&mut received)).await {
            Ok(1..) => {}
            _ => break,
        }
    }
    received
}

fn note(received: &[u8], ledger: &Ledger) {
    match whole(received) {
        Some((head, data)) if head.starts_with("HTTP/1.1 200 ") => ledger.read(data, head.contains(FLAG)),
        _ => {}
    }
}

/// The head and the body of an answer, if all of it is there.
fn whole(received: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(received).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    Some((head, body.get(..length.parse().ok()?)?))
}

/// Spreads numbers, always in the same way.
fn scatter(number: usize) -> usize {
    let mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    usize::try_from((mixed ^ (mixed >> 32)) & 0x7FFF_FFFF).unwrap()
}
