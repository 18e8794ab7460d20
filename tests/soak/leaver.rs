//! A client that leaves.

use std::time::Duration;

use h2::client::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::ledger::SoakLedger;
use crate::harness::{Door, Http2, Request, Socket, soon};

/// How it leaves: when it is answered, or when it has waited for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaverManner {
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
    /// Sends all of a body that no guest reads, reads its answer, and closes.
    Upload,
    /// Closes within a push.
    BrokenPush,
    /// Closes within a head.
    BrokenHead,
    /// Asks by HEAD, and closes behind the answer.
    Head,
    /// Closes behind an answer that has no body, of a guest that has taken an event.
    NoContent,
    NotModified,
    /// Has room for little, and reads nothing.
    Stalled,
    /// Has room for little, and reads its answer bit by bit.
    SlowRead,
    /// Reads a part of its answer, and closes.
    HalfRead,
    /// Reads its answer, and closes.
    WholeRead,
    /// Has said that it asks for nothing more, reads its answer by its length, and closes.
    LastRead,
    /// Reads its answer, and resets.
    WholeReadReset,
    /// HTTP/2: resets its stream, and closes.
    StreamReset,
    /// HTTP/2: closes, after its answer where events come.
    Http2Close,
    /// HTTP/2: opens no window, and closes.
    Http2Stalled,
    /// HTTP/2: opens a small window as it reads, and closes after its answer.
    Http2Slow,
}

const ALL: [LeaverManner; MANNERS] = [
    LeaverManner::Close,
    LeaverManner::Reset,
    LeaverManner::HalfClose,
    LeaverManner::Pipelined,
    LeaverManner::StrayLine,
    LeaverManner::UnreadBody,
    LeaverManner::Upload,
    LeaverManner::BrokenPush,
    LeaverManner::BrokenHead,
    LeaverManner::Head,
    LeaverManner::NoContent,
    LeaverManner::NotModified,
    LeaverManner::Stalled,
    LeaverManner::SlowRead,
    LeaverManner::HalfRead,
    LeaverManner::WholeRead,
    LeaverManner::LastRead,
    LeaverManner::WholeReadReset,
    LeaverManner::StreamReset,
    LeaverManner::Http2Close,
    LeaverManner::Http2Stalled,
    LeaverManner::Http2Slow,
];

pub(super) const MANNERS: usize = 22;

/// The header of an event that somebody may have got before.
pub(super) const FLAG: &str = "maybe-delivered";

/// The longest that it waits for an answer.
const PATIENCE_MILLIS: usize = 12_000;

/// Of bodies that no guest reads, in bytes.
const UPLOAD: usize = 100_000;

/// How long a client leaves an answer unread that its kernel may have acknowledged: well within the window for receipts,
/// after which it would be taken for read.
const UNREAD: Duration = Duration::from_secs(1);

/// One in so many comes over TLS.
const TLS: usize = 3;

/// The doors of a server.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) plain: Door,
    pub(super) tls_http1: Door,
    pub(super) tls_http2: Door,
}

/// One client.
pub(super) struct Leaver {
    manner: LeaverManner,
    queue: String,
    patience: Duration,
    /// Whether it waits where no event comes.
    quiet: bool,
    tls: bool,
}

impl Leaver {
    /// What `number` makes of it is random, and the same each time.
    pub(super) fn new(number: usize, queues: usize) -> Self {
        let [manner, queue, patience, quiet, tls] = [1, 2, 3, 4, 5].map(|salt| scatter(number * 5 + salt));
        let manner = ALL[manner % MANNERS];
        // Half of them wait where no event comes.
        let quiet = quiet % 2 == 0 || manner == LeaverManner::StreamReset;
        Self {
            manner,
            quiet,
            queue: format!("{}{}", if quiet { "none-" } else { "" }, queue % queues),
            // Half of them leave soon.
            patience: Duration::from_millis(
                (patience % PATIENCE_MILLIS * (patience / 8192 % 2) + patience % 50) as u64,
            ),
            // There the library takes more from the kernel than it gives who reads a part.
            tls: tls % TLS == 0 && manner != LeaverManner::HalfRead,
        }
    }

    pub(super) async fn run(&self, doors: &Doors, ledger: &SoakLedger) {
        match self.manner {
            LeaverManner::StreamReset
            | LeaverManner::Http2Close
            | LeaverManner::Http2Stalled
            | LeaverManner::Http2Slow => {
                let door = if self.tls { &doors.tls_http2 } else { &doors.plain };
                self.run_http2(door, ledger).await;
            }
            _ => self.run_http1(if self.tls { &doors.tls_http1 } else { &doors.plain }, ledger).await,
        }
    }

    async fn run_http1(&self, door: &Door, ledger: &SoakLedger) {
        let mut stream = match self.manner {
            LeaverManner::Stalled | LeaverManner::SlowRead => door.connect_narrow().await,
            _ => door.connect().await,
        };
        soon("sending", stream.write_all(&self.request())).await.unwrap();
        soon("sending", stream.flush()).await.unwrap();
        let answered = self.reads_whole() || self.waits(&stream).await;
        match self.manner {
            LeaverManner::Reset => stream.tcp().set_zero_linger().unwrap(),
            LeaverManner::HalfClose => {
                // The server may have closed before.
                let _ = stream.shutdown().await;
                note(&read(&mut stream, false, &[]).await, ledger);
            }
            LeaverManner::HalfRead if answered => {
                let _ = stream.read_exact(&mut [0; 20]).await;
            }
            LeaverManner::WholeRead | LeaverManner::LastRead | LeaverManner::Upload => {
                self.read_if(&mut stream, ledger).await;
            }
            LeaverManner::WholeReadReset => {
                self.read_if(&mut stream, ledger).await;
                stream.tcp().set_zero_linger().unwrap();
            }
            LeaverManner::SlowRead if !self.quiet => read_slowly(&mut stream, ledger).await,
            LeaverManner::Stalled => sleep(UNREAD).await,
            _ => {}
        }
    }

    fn reads_whole(&self) -> bool {
        use LeaverManner::{LastRead, Upload, WholeRead, WholeReadReset};
        matches!(self.manner, LastRead | Upload | WholeRead | WholeReadReset)
    }

    /// Whether there is something to read before it loses its patience.
    async fn waits(&self, stream: &Socket) -> bool {
        if !self.tls {
            return timeout(self.patience, stream.tcp().readable()).await.is_ok();
        }
        // There may be something to read that is no answer.
        sleep(if self.quiet { self.patience } else { self.patience.min(UNREAD) }).await;
        true
    }

    /// Reads its answer if one comes.
    async fn read_if(&self, stream: &mut Socket, ledger: &SoakLedger) {
        let mut first = [0];
        if let Ok(Ok(1)) = timeout(self.patience, stream.read(&mut first)).await {
            let rest = read(stream, true, &first).await;
            note(&rest, ledger);
        }
    }

    fn request(&self) -> Vec<u8> {
        let queue = &self.queue;
        let poll = format!("GET /poll/{queue}?wait=60 HTTP/1.1\r\nhost: soak\r\n");
        let take = |method, status| {
            format!("{method} /take/{queue}?wait=60&status={status} HTTP/1.1\r\nhost: soak\r\n\r\n")
        };
        let (head, body) = match self.manner {
            LeaverManner::Pipelined => (format!("{poll}\r\n{poll}\r\n"), 0),
            LeaverManner::StrayLine => (format!("{poll}\r\n\r\n"), 0),
            LeaverManner::UnreadBody => (format!("{poll}content-length: {UPLOAD}\r\n\r\n"), UPLOAD / 2),
            LeaverManner::Upload => (format!("{poll}content-length: {UPLOAD}\r\n\r\n"), UPLOAD),
            LeaverManner::BrokenPush => {
                (format!("POST /push/{queue} HTTP/1.1\r\nhost: soak\r\ncontent-length: 1000\r\n\r\n"), 500)
            }
            LeaverManner::Head => (take("HEAD", 200), 0),
            LeaverManner::NoContent => (take("GET", 204), 0),
            LeaverManner::NotModified => (take("GET", 304), 0),
            LeaverManner::LastRead => (format!("{poll}connection: close\r\n\r\n"), 0),
            LeaverManner::BrokenHead => (poll, 0),
            _ => (format!("{poll}\r\n"), 0),
        };
        [head.into_bytes(), vec![b'x'; body]].concat()
    }

    /// Here the library reads, whether or not the application does: an answer that comes just as the
    /// application has lost its patience counts as read. So who leaves without one polls a queue without events, or
    /// opens no window for it.
    async fn run_http2(&self, door: &Door, ledger: &SoakLedger) {
        let mut settings = Builder::new();
        match self.manner {
            LeaverManner::Http2Stalled => settings.initial_window_size(0),
            LeaverManner::Http2Slow => settings.initial_window_size(5_000),
            _ => &mut settings,
        };
        let poll = Request::get(&format!("/poll/{}?wait=60", self.queue));
        let mut stream = Http2::with(door.connect().await, &settings).await.open(&poll).await;
        if self.quiet || self.manner == LeaverManner::Http2Stalled {
            sleep(self.patience).await;
        } else {
            let answer = soon("an answer", stream.split().1.try_answer()).await.expect("an answer");
            ledger.read(answer.expect(200), answer.header(FLAG).is_some());
        }
        if self.manner == LeaverManner::StreamReset {
            stream.split().0.reset().await;
            sleep(Duration::from_millis(5)).await;
        }
        stream.into_connection().close().await;
    }
}

/// What comes after this: the first whole answer, or all until the end.
async fn read(stream: &mut Socket, one: bool, first: &[u8]) -> Vec<u8> {
    let mut received = first.to_vec();
    while !(one && whole(&received).is_some()) {
        match soon("reading", stream.read_buf(&mut received)).await {
            Ok(1..) => {}
            _ => break,
        }
    }
    received
}

/// The same for one who takes a moment for each part, and must not be cut off for it.
async fn read_slowly(stream: &mut Socket, ledger: &SoakLedger) {
    let mut received = Vec::new();
    while whole(&received).is_none() {
        let mut part = [0; 2_000];
        let count = soon("reading", stream.read(&mut part)).await.unwrap();
        assert!(count > 0, "a slow reader is cut off");
        received.extend_from_slice(&part[..count]);
        sleep(Duration::from_millis(20)).await;
    }
    note(&received, ledger);
}

fn note(received: &[u8], ledger: &SoakLedger) {
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
