//! A client of HTTP/2 that leaves in every way there is.
//!
//! Its library reads whether or not the application does, and what the library has read of an answer counts as
//! read, as the README says. So it reads nothing where the client should not, and says what it has read where it may.

use std::net::SocketAddr;
use std::sync::Mutex;

use super::dice::{Dice, Moments, at};
use super::ledger::{Ledger, Reading};
use crate::harness::{Http2, Request, Stream};

/// What it does when its moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
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
    /// Reads its answer, and closes.
    Read,
    ReadReset,
    /// Reads its answer, and keeps the connection for the next round.
    Stay,
}

const ALL: [Manner; 10] = [
    Manner::Close,
    Manner::Reset,
    Manner::StreamResetClose,
    Manner::StreamReset,
    Manner::GoAway,
    Manner::Several,
    Manner::SeveralReset,
    Manner::Read,
    Manner::ReadReset,
    Manner::Stay,
];

pub(super) struct Client {
    address: SocketAddr,
    kept: Option<Http2>,
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
        let library_reads = dice.below(2) == 0 || manner == Manner::StreamReset || manner.waits();
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => Http2::recorded(self.address).await,
        };
        if !library_reads {
            connection.stop_reading();
        }
        at(moments.poll).await;
        let mut streams = Vec::new();
        let polls =
            if matches!(manner, Manner::Several | Manner::SeveralReset) { 2 + dice.below(3) } else { 1 };
        for _ in 0..polls {
            ledger.lock().unwrap().asked(1);
            streams.push(connection.ask_only(&Request::get(target)).await);
        }
        if manner.waits() {
            let answer = streams.remove(0).split().1.answer().await;
            ledger.lock().unwrap().read(&Reading::of(&answer));
        } else {
            at(moments.leave).await;
        }
        if manner == Manner::StreamReset {
            reset_and_stay(&mut connection, streams.remove(0), ledger).await;
        } else if manner != Manner::Stay {
            connection.stop_reading();
        }
        for stream in &mut streams {
            if !note_if_whole(&connection, stream, ledger).await && manner == Manner::StreamResetClose {
                stream.split().0.reset().await;
            }
        }
        match manner {
            Manner::Stay | Manner::StreamReset => self.kept = Some(connection),
            Manner::Reset | Manner::SeveralReset | Manner::ReadReset => connection.reset().await,
            Manner::GoAway => {
                connection.go_away().await;
                connection.close().await;
            }
            _ => connection.close().await,
        }
    }

    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.kept.take() {
            connection.close().await;
        }
    }
}

impl Manner {
    /// Whether it waits for its answer.
    fn waits(self) -> bool {
        matches!(self, Self::Read | Self::ReadReset | Self::Stay)
    }
}

/// A stream that is reset after its last byte is not told from one that was read, as the README says.
async fn reset_and_stay(connection: &mut Http2, mut stream: Stream, ledger: &Mutex<Ledger>) {
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
async fn note_if_whole(connection: &Http2, stream: &mut Stream, ledger: &Mutex<Ledger>) -> bool {
    let (data, ended) = connection.received(stream);
    if ended {
        let reading = Reading::of(&stream.split().1.answer().await);
        ledger.lock().unwrap().read(&reading);
    } else {
        ledger.lock().unwrap().received_without_end(&data);
    }
    ended
}
