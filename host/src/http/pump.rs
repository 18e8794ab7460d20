//! Reads a request's body ahead of its guest, into a bounded buffer.
//!
//! While a body lies unread in the socket, the end of the connection lies behind it: once the kernel's
//! window is full a client cannot even say that it leaves. So the host reads on, whether or not the guest
//! does, up to a bound; beyond it the client waits until the guest reads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::Limits;
use crate::guest::BodyError;

/// Bounds on what is read ahead.
#[derive(Clone, Debug)]
pub struct ReadAhead {
    /// Bytes for one request.
    per_request: u32,
    /// Bytes for all requests together.
    total: Arc<Semaphore>,
}

impl ReadAhead {
    /// Those of a configuration.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let (per_request, total) = (limits.max_body_buffer.as_u64(), limits.max_body_buffers.as_u64());
        let total = usize::try_from(total).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            // No request may want more than there is, or it would wait for ever.
            per_request: u32::try_from(per_request.min(total as u64)).unwrap_or(u32::MAX),
            total: Arc::new(Semaphore::new(total)),
        }
    }

    /// Whether two configurations bound them alike.
    pub(super) fn is_same(one: &Limits, other: &Limits) -> bool {
        let bounds = |limits: &Limits| (limits.max_body_buffer, limits.max_body_buffers);
        bounds(one) == bounds(other)
    }
}

/// What is on its way to the guest.
enum Item {
    /// A frame, with its share of the buffers.
    Frame(Frame<Bytes>, Option<Room>),
    Error(BodyError),
    /// Without it, a channel that closes means a body that broke off.
    End,
}

/// A frame's share: of the request's room, and of all requests'.
struct Room {
    _own: OwnedSemaphorePermit,
    _total: OwnedSemaphorePermit,
}

/// The reading end.
pub(super) struct Pump {
    body: Incoming,
    items: mpsc::UnboundedSender<Item>,
    per_request: u32,
    room: Arc<Semaphore>,
    total: Arc<Semaphore>,
    start: Arc<Notify>,
}

/// The guest's end.
pub(super) struct PumpedBody {
    items: mpsc::UnboundedReceiver<Item>,
    hint: SizeHint,
    start: Arc<Notify>,
    ended: bool,
}

/// Splits a body in two ends. If the client waits for leave to send it (`Expect: 100-continue`), reading
/// starts when the guest asks for it: hyper gives leave by then.
pub(super) fn split(body: Incoming, bounds: &ReadAhead, on_demand: bool) -> (Pump, PumpedBody) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let start = Arc::new(Notify::new());
    if !on_demand {
        start.notify_one();
    }
    let hint = body.size_hint();
    let pump = Pump {
        body,
        items: sender,
        per_request: bounds.per_request,
        room: Arc::new(Semaphore::new(bounds.per_request as usize)),
        total: bounds.total.clone(),
        start: start.clone(),
    };
    (pump, PumpedBody { items: receiver, hint, start, ended: false })
}

impl Pump {
    /// Reads to the end. An error means that the body broke off: the guest has been told, as far as it
    /// reads. A body that the guest has dropped is read on and thrown away, up to the bound.
    pub(super) async fn run(mut self) -> Result<(), ()> {
        self.start.notified().await;
        let mut wasted = 0;
        while let Some(frame) = self.body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.send(Item::Error(error.into()));
                    return Err(());
                }
            };
            let length = frame.data_ref().map_or(0, Bytes::len);
            if self.items.is_closed() {
                wasted += length;
                if wasted > self.per_request as usize {
                    return Ok(());
                }
            } else {
                let room = self.room_for(length).await;
                self.send(Item::Frame(frame, room));
            }
        }
        self.send(Item::End);
        Ok(())
    }

    fn send(&self, item: Item) {
        // A guest that has dropped the body wants no more of it.
        let _ = self.items.send(item);
    }

    async fn room_for(&self, length: usize) -> Option<Room> {
        // A frame that is larger than all the room takes all of it.
        let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(self.per_request);
        tokio::select! {
            // The semaphores are never closed.
            room = async {
                let own = self.room.clone().acquire_many_owned(bytes).await.ok()?;
                let total = self.total.clone().acquire_many_owned(bytes).await.ok()?;
                Some(Room { _own: own, _total: total })
            } => room,
            () = self.items.closed() => None,
        }
    }
}

impl http_body::Body for PumpedBody {
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
            Some(Item::Frame(frame, _room)) => {
                if let (Some(rest), Some(data)) = (self.hint.exact(), frame.data_ref()) {
                    self.hint.set_exact(rest.saturating_sub(data.len() as u64));
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Item::End) => self.ended = true,
            Some(Item::Error(error)) => {
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
