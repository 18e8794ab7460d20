//! A client of HTTP/2 that leaves in every way there is.
//!
//! Its library reads whether or not the application does, and what the library has read of an answer counts as
//! read, as the README says. So it reads nothing where the client should not, and says what it has read where it may.

use std::sync::Mutex;

use h2::client::Builder;
use http::Method;

use super::dice::{Dice, Moments, at};
use super::ledger::{ChaosLedger, Reading};
use crate::harness::{Door, Http2, Request, TestStream};

/// What it does when its moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http2Manner {
    /// Closes, whatever has come.
    Close,
    Reset,
    /// Resets the stream, and closes.
    StreamResetClose,
    /// Resets the stream, and keeps the connection for the next round.
    StreamReset,
    /// Sends GOAWAY, and closes.
    GoAway,
    /// Closes a connection with several polls.
    Several,
    SeveralReset,
    /// Has a window of nothing, and closes.
    Window,
    /// The same, and resets the stream before.
    WindowReset,
    /// Sends a part of a body that nobody reads, and closes.
    BrokenUpload,
    /// Asks by HEAD, and reads the answer, which has no body.
    Head,
    /// Reads an answer of a guest that has taken an event and says 204.
    NoContent,
    NotModified,
    /// Reads its answer, and closes.
    Read,
    ReadReset,
    /// Has a small window, and opens it bit by bit as it reads.
    SlowRead,
    /// Reads its answer while its body, which nobody reads, has not ended; and closes.
    Upload,
    /// Reads its answer, and keeps the connection for the next round.
    Stay,
}

const ALL: [Http2Manner; 18] = [
    Http2Manner::Close,
    Http2Manner::Reset,
    Http2Manner::StreamResetClose,
    Http2Manner::StreamReset,
    Http2Manner::GoAway,
    Http2Manner::Several,
    Http2Manner::SeveralReset,
    Http2Manner::Window,
    Http2Manner::WindowReset,
    Http2Manner::BrokenUpload,
    Http2Manner::Head,
    Http2Manner::NoContent,
    Http2Manner::NotModified,
    Http2Manner::Read,
    Http2Manner::ReadReset,
    Http2Manner::SlowRead,
    Http2Manner::Upload,
    Http2Manner::Stay,
];

/// The window of a slow reader, in bytes.
const SMALL_WINDOW: u32 = 5_000;

/// Fits in the windows with which a connection begins.
const UPLOAD: usize = 40_000;

pub(super) struct Http2Client {
    door: Door,
    kept: Option<Http2>,
}

impl Http2Client {
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
        let manner = dice.pick(&ALL);
        ledger.lock().unwrap().plays(manner);
        let library_reads = dice.below(2) == 0 || manner == Http2Manner::StreamReset || manner.waits();
        let mut connection = match (self.kept.take(), manner.window()) {
            (kept, Some(window)) => {
                close(kept).await;
                let socket = self.door.connect().await;
                Http2::recorded(socket, Builder::new().initial_window_size(window)).await
            }
            (Some(connection), None) => connection,
            (None, None) => Http2::recorded(self.door.connect().await, &Builder::new()).await,
        };
        if !library_reads {
            connection.stop_reading();
        }
        at(moments.poll).await;
        let polls = if matches!(manner, Http2Manner::Several | Http2Manner::SeveralReset) {
            2 + dice.below(3)
        } else {
            1
        };
        let mut streams = Vec::new();
        for _ in 0..polls {
            ledger.lock().unwrap().asked(1);
            streams.push(manner.ask(&mut connection, queue).await);
        }
        if manner.waits() {
            let answer = streams.remove(0).split().1.answer().await;
            match manner.status() {
                None => ledger.lock().unwrap().read(&Reading::of(&answer)),
                Some(status) => assert_eq!(answer.expect(status), "", "{manner:?}"),
            }
        } else {
            at(moments.leave).await;
        }
        self.kept = leave(manner, connection, streams, ledger).await;
    }

    pub(super) async fn close(&mut self) {
        close(self.kept.take()).await;
    }
}

async fn close(kept: Option<Http2>) {
    if let Some(connection) = kept {
        connection.close().await;
    }
}

/// Leaves in its manner. Gives the connection back if it is kept.
async fn leave(
    manner: Http2Manner,
    mut connection: Http2,
    mut streams: Vec<TestStream>,
    ledger: &Mutex<ChaosLedger>,
) -> Option<Http2> {
    if manner == Http2Manner::StreamReset {
        reset_and_stay(&mut connection, streams.remove(0), ledger).await;
    } else if !manner.stays() {
        connection.stop_reading();
    }
    for stream in &mut streams {
        if !note_if_whole(&connection, stream, ledger).await
            && matches!(manner, Http2Manner::StreamResetClose | Http2Manner::WindowReset)
        {
            stream.split().0.reset().await;
        }
    }
    match manner {
        manner if manner.stays() => return Some(connection),
        Http2Manner::Reset | Http2Manner::SeveralReset | Http2Manner::ReadReset => connection.reset().await,
        Http2Manner::GoAway => {
            connection.go_away().await;
            connection.close().await;
        }
        _ => connection.close().await,
    }
    None
}

impl Http2Manner {
    /// Whether it waits for its answer.
    fn waits(self) -> bool {
        matches!(self, Self::Read | Self::ReadReset | Self::SlowRead | Self::Upload | Self::Stay)
            || self.status().is_some()
    }

    fn stays(self) -> bool {
        matches!(self, Self::Stay | Self::StreamReset | Self::Head | Self::NoContent | Self::NotModified)
    }

    /// The status of an answer that has no body, whatever became of the event.
    fn status(self) -> Option<u16> {
        match self {
            Self::Head => Some(200),
            Self::NoContent => Some(204),
            Self::NotModified => Some(304),
            _ => None,
        }
    }

    /// With which window its streams begin, if with another than usual.
    fn window(self) -> Option<u32> {
        match self {
            Self::Window | Self::WindowReset => Some(0),
            Self::SlowRead => Some(SMALL_WINDOW),
            _ => None,
        }
    }

    async fn ask(self, connection: &mut Http2, queue: usize) -> TestStream {
        let take = format!("/take/{queue}?wait=60&status={}", self.status().unwrap_or(200));
        let request = match self {
            Self::Head => Request::new(Method::HEAD, &take),
            Self::NoContent | Self::NotModified => Request::get(&take),
            _ => Request::get(&format!("/poll/{queue}?wait=60")),
        };
        let uploads = matches!(self, Self::Upload | Self::BrokenUpload);
        let mut stream = connection.ask_only(&request, !uploads).await;
        if uploads {
            stream.split().0.data(&vec![b'x'; UPLOAD], false).await;
        }
        stream
    }
}

/// A stream that is reset after its last byte is not told from one that was read, as the README says.
async fn reset_and_stay(connection: &mut Http2, mut stream: TestStream, ledger: &Mutex<ChaosLedger>) {
    if note_if_whole(connection, &mut stream, ledger).await {
        return;
    }
    stream.split().0.reset().await;
    // What the server wrote before it had read the reset comes before this.
    connection.is_read().await;
    match connection.received(&stream) {
        (data, true) => ledger.lock().unwrap().received(&data),
        (data, false) => ledger.lock().unwrap().received_without_end(&data),
    }
}

/// Notes an answer of which the library has read all, if it has.
async fn note_if_whole(connection: &Http2, stream: &mut TestStream, ledger: &Mutex<ChaosLedger>) -> bool {
    let (data, ended) = connection.received(stream);
    if ended {
        let reading = Reading::of(&stream.split().1.answer().await);
        ledger.lock().unwrap().read(&reading);
    } else {
        ledger.lock().unwrap().received_without_end(&data);
    }
    ended
}
