//! What a connection of HTTP/2 is watched for beside its streams: whether its client still answers, and whether it is of use.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Terms;
use crate::http::connection::Connection;
use crate::pace::{self, Pace};

/// How long a client has to end a connection that it was asked to, when it has no stream.
const FAREWELL: Duration = Duration::from_secs(2);

/// Far enough.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// The streams of one connection.
pub(super) struct Streams {
    opened: Instant,
    open: AtomicUsize,
    /// When the last one ended, in milliseconds after the connection was opened.
    ended: AtomicU64,
}

/// One of them.
pub(super) struct Open(Arc<Streams>);

impl Streams {
    fn new() -> Arc<Self> {
        Arc::new(Self { opened: Instant::now(), open: AtomicUsize::new(0), ended: AtomicU64::new(0) })
    }

    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
    }

    /// Since when there is none, if there is none.
    fn idle_since(&self) -> Option<Instant> {
        let ended = Duration::from_millis(self.ended.load(Ordering::Acquire));
        (self.open.load(Ordering::Acquire) == 0).then(|| self.opened + ended)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(now, Ordering::Release);
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nobody has used the connection for long: its client is asked to end it.
    Idle,
    /// The client was asked to end it, and does not.
    Over,
    /// The client does not answer.
    Silent,
}

/// Tells when something is due. One timer for all.
pub(super) struct Watch {
    pub(super) streams: Arc<Streams>,
    pings: Option<Pings>,
    idle: Duration,
    /// Until when the client may end it.
    farewell: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    /// Of a connection that begins, which may have been asked to end already.
    pub(super) fn new(pings: Option<PingPong>, connection: &Connection, terms: &Terms) -> Self {
        let pings = pings.zip(terms.ping).map(|(frames, (interval, timeout))| Pings {
            frames,
            interval,
            timeout,
            pace: terms.pace,
            read: 0,
            sent: None,
        });
        let mut this = Self {
            streams: Streams::new(),
            pings,
            idle: terms.idle.min(NEVER),
            farewell: None,
            timer: Box::pin(sleep_until(Instant::now())),
        };
        let next = this.next(connection, Instant::now());
        this.timer.as_mut().reset(next);
        this
    }

    /// What is due. Wakes when something else is.
    pub(super) fn poll(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Option<Due> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = self.due(connection, now, cx);
            let next = self.next(connection, now);
            self.timer.as_mut().reset(next);
            if due.is_some() {
                return due;
            }
        }
        None
    }

    fn due(&mut self, connection: &Connection, now: Instant, cx: &mut Context<'_>) -> Option<Due> {
        if self.pings.as_mut().is_some_and(|pings| pings.look(connection, now, cx)) {
            return Some(Due::Silent);
        }
        let idle_since = self.streams.idle_since();
        match (self.farewell, idle_since) {
            (Some(until), Some(_)) if until <= now => Some(Due::Over),
            (None, Some(since)) if since + self.idle <= now => {
                self.farewell = Some(now + FAREWELL);
                Some(Due::Idle)
            }
            _ => None,
        }
    }

    /// When to look again.
    fn next(&self, connection: &Connection, now: Instant) -> Instant {
        let end = match (self.farewell, self.streams.idle_since()) {
            // It may have been used while it was asked to end.
            (Some(until), since) => {
                if since.is_some() {
                    until.max(now)
                } else {
                    now + FAREWELL
                }
            }
            (None, Some(since)) => since + self.idle,
            (None, None) => now + self.idle,
        };
        self.pings.as_ref().map_or(end, |pings| end.min(pings.next(connection)))
    }
}

/// PING frames, to a client from which nothing comes.
struct Pings {
    frames: PingPong,
    interval: Duration,
    timeout: Duration,
    /// How slow a client may be that has much to read before it.
    pace: Option<pace::Terms>,
    /// What had been written to the connection by the last PING that was answered.
    read: u64,
    sent: Option<Sent>,
}

/// A PING that awaits its answer, or any other sign.
struct Sent {
    heard: Instant,
    written: u64,
    acknowledged: u64,
    pace: Pace,
}

impl Pings {
    /// Sends one if it is time for that. Returns whether the client does not answer.
    fn look(&mut self, connection: &Connection, now: Instant, cx: &mut Context<'_>) -> bool {
        let link = &connection.link;
        let heard = link.last_read();
        if let Some(sent) = &mut self.sent {
            if sent.heard == heard {
                let before = std::mem::replace(&mut sent.acknowledged, link.acknowledged());
                sent.pace.advance(sent.acknowledged.saturating_sub(before), now);
                return sent.pace.is_over(now);
            }
            if self.frames.poll_pong(cx).is_ready() {
                self.read = sent.written;
            }
            self.sent = None;
        }
        if now < heard + self.interval {
            return false;
        }
        // It fails while one is unanswered that was taken for answered, since something else had come.
        let _ = self.frames.send_ping(Ping::opaque());
        let written = link.written();
        // What lies before it has to be read first.
        let rate = self.pace.map_or(0, |terms| terms.bytes_per_second);
        let mut pace = Pace::new(pace::Terms { bytes_per_second: rate, grace: self.timeout }, now);
        if rate > 0 {
            pace.advance(written.saturating_sub(self.read), now);
        }
        self.sent = Some(Sent { heard, written, acknowledged: link.acknowledged(), pace });
        false
    }

    fn next(&self, connection: &Connection) -> Instant {
        match &self.sent {
            Some(sent) => sent.pace.limit(),
            None => connection.link.last_read() + self.interval,
        }
    }
}
