//! Reads a request's body ahead of its guest, into a bounded buffer.
//!
//! While a body lies unread in the socket, the end of the connection lies behind it: once the kernel's
//! window is full a client cannot even say that it leaves. So the host reads on, whether or not the guest
//! does, up to a bound; beyond it the client waits until the guest reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use linger_base::rate::RateTracker;
use linger_exchange::Exchange;
use linger_wasm::BodyError;

use crate::buffers::{BufferAccount, BufferFull, BufferRoom};
use crate::read_ahead::ReadAhead;
use crate::request::incoming::BodyReadError;
use crate::request::intake::BodyIntake;

/// Why a body is not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyBreak {
    /// Nothing more comes of it: its client has left.
    Left,
    /// It is malformed, and nothing more can be read.
    Malformed,
    /// Its client has stopped, or is too slow.
    TooSlow,
    /// Its first bytes have no room.
    NoRoom(BufferFull),
}

/// What is on its way to the guest.
enum PumpItem {
    /// A frame, with its share of the buffers.
    Frame(Frame<Bytes>, Option<BufferRoom>),
    Error(BodyError),
    /// Without it, a channel that closes means a body that broke off.
    End,
}

/// The reading end.
pub(crate) struct Pump<B> {
    body: B,
    items: mpsc::UnboundedSender<PumpItem>,
    exchange: Arc<Exchange>,
    intake: Arc<BodyIntake>,
    bounds: ReadAhead,
    /// From its first bytes on.
    account: Option<Arc<BufferAccount>>,
    start: Arc<Notify>,
}

/// The guest's end.
pub(crate) struct PumpedBody {
    items: mpsc::UnboundedReceiver<PumpItem>,
    hint: SizeHint,
    start: Arc<Notify>,
    ended: bool,
}

/// Splits a body in two ends. If the client waits for leave to send it (`Expect: 100-continue`), reading
/// starts when the guest asks for it: hyper gives leave by then.
pub(crate) fn split<B>(
    body: B,
    exchange: Arc<Exchange>,
    intake: Arc<BodyIntake>,
    bounds: ReadAhead,
    on_demand: bool,
) -> (Pump<B>, PumpedBody)
where
    B: Body<Data = Bytes, Error: Into<BodyReadError> + Send> + Unpin,
{
    let (items, receiver) = mpsc::unbounded_channel();
    let start = Arc::new(Notify::new());
    if !on_demand {
        start.notify_one();
    }
    let hint = body.size_hint();
    let pump = Pump { body, items, exchange, intake, bounds, account: None, start: start.clone() };
    (pump, PumpedBody { items: receiver, hint, start, ended: false })
}

impl<B: Body<Data = Bytes, Error: Into<BodyReadError> + Send> + Unpin> Pump<B> {
    /// Reads to the end. An error says why it stopped before: the guest has been told, as far as it
    /// reads. A body that the guest has dropped is read on and thrown away, up to the bound. Cancel-safe, but that the guest
    /// may miss something.
    pub(crate) async fn run(&mut self) -> Result<(), BodyBreak> {
        let read = self.read().await;
        match read {
            Ok(true) => self.intake.mark_ended(),
            // What has no room is not read for its guest, but may be for the next request.
            Err(BodyBreak::NoRoom(_)) => {}
            Ok(false) | Err(BodyBreak::Left | BodyBreak::Malformed | BodyBreak::TooSlow) => {
                self.intake.mark_stopped();
            }
        }
        read.map(drop)
    }

    /// Returns whether it was read to the end.
    async fn read(&mut self) -> Result<bool, BodyBreak> {
        self.start.notified().await;
        self.intake.begin();
        let (mut wasted, mut pace) = (0, RateTracker::new(self.bounds.rate, Instant::now()));
        loop {
            let Ok(frame) = timeout_at(pace.limit(), self.body.frame()).await else {
                self.send(PumpItem::Error(BodyError::ConnectionReadTimeout));
                return Err(BodyBreak::TooSlow);
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let BodyReadError { error, malformed } = error.into();
                    self.send(PumpItem::Error(error));
                    return Err(if malformed { BodyBreak::Malformed } else { BodyBreak::Left });
                }
                None => {
                    self.send(PumpItem::End);
                    return Ok(true);
                }
            };
            let (length, now) = (frame.data_ref().map_or(0, Bytes::len), Instant::now());
            self.intake.record_bytes(length);
            pace.advance(length as u64, now);
            if self.items.is_closed() {
                wasted += length as u64;
                if wasted > self.bounds.bound() && !self.intake.drains() {
                    return Ok(false);
                }
            } else {
                let room = self.room_for(length as u64).await?;
                // While the host did not read on, the client had nothing to do.
                pace.pause(now.elapsed());
                self.send(PumpItem::Frame(frame, room));
            }
        }
    }

    fn send(&self, item: PumpItem) {
        // A guest that has dropped the body wants no more of it.
        let _ = self.items.send(item);
    }

    /// Room for a frame; none if the guest has dropped the body. One that has begun waits for its guest, and has room for one
    /// frame when that has read all: so none waits for others.
    async fn room_for(&mut self, length: u64) -> Result<Option<BufferRoom>, BodyBreak> {
        if length == 0 {
            return Ok(None);
        }
        let begun = self.account.is_some() || self.exchange.is_answered();
        let exchange = &self.exchange;
        let account = self.account.get_or_insert_with(|| {
            let client = exchange.info.client.map(|client| client.network());
            self.bounds.buffers.account(client, exchange.generation.metrics.app.clone())
        });
        // A frame that is larger than all the room takes all of it.
        let bytes = length.min(self.bounds.bound());
        loop {
            let held = account.held();
            match account.try_take(bytes) {
                Ok(room) => return Ok(Some(room)),
                Err(_) if held > 0 => tokio::select! {
                    () = account.guest_reads(held) => {}
                    () = self.items.closed() => return Ok(None),
                },
                Err(_) if begun => return Ok(Some(account.take_one(bytes))),
                Err(full) => {
                    self.send(PumpItem::Error(BodyError::InternalError(None)));
                    return Err(BodyBreak::NoRoom(full));
                }
            }
        }
    }

    /// The exchange has ended. Reads on for the sake of the next request, if that was settled.
    pub(crate) async fn drain(self) {
        let Self { body, items, account, intake, bounds, .. } = self;
        drop((items, account));
        if intake.drains() {
            discard(body, &intake, bounds.patience()).await;
        }
    }
}

/// Reads a body to its end for nothing, but not for longer than this.
pub(crate) async fn discard<B>(mut body: B, intake: &BodyIntake, limit: Duration)
where
    B: Body<Data = Bytes> + Unpin,
{
    let read = async {
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => intake.record_bytes(frame.data_ref().map_or(0, Bytes::len)),
                Err(_) => return intake.mark_stopped(),
            }
        }
        intake.mark_ended();
    };
    // After that the connection goes with it.
    let _ = timeout(limit, read).await;
}

impl Body for PumpedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.start.notify_one();
        match ready!(self.items.poll_recv(cx)) {
            Some(PumpItem::Frame(frame, _room)) => {
                if let (Some(rest), Some(data)) = (self.hint.exact(), frame.data_ref()) {
                    self.hint.set_exact(rest.saturating_sub(data.len() as u64));
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(PumpItem::End) => self.ended = true,
            Some(PumpItem::Error(error)) => {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.ended = true;
                return Poll::Ready(Some(Err(BodyError::ConnectionTerminated)));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}
