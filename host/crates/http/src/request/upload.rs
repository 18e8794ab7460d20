//! A request's body on its way in: read ahead of its guest, and read to its end, or not, when the answer is there first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Request, Version, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;

use linger_base::Reason;
use linger_exchange::{Exchange, UnreadCause};
use linger_telemetry::Reached;
use linger_wasm::BoundaryBody;

use crate::ShardContext;
use crate::buffers::BufferFull;
use crate::connection::ClientMonitor;
use crate::request::incoming::BodyReadError;
use crate::request::intake::{BodyIntake, KeepConnection};
use crate::request::pump::{self, BodyBreak, Pump};

/// A body of which nothing was read yet.
pub(crate) struct RequestUpload<B> {
    body: B,
    connection: KeepConnection,
    /// Its client waits for leave to send it.
    on_demand: bool,
}

impl<B> RequestUpload<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BodyReadError> + Send> + Send + Unpin + 'static,
{
    /// Takes the body out of a request, if it has one.
    pub(crate) fn take_from(request: Request<B>) -> (Request<()>, Option<Box<Self>>) {
        let (parts, body) = request.into_parts();
        let upload = (!body.is_end_stream()).then(|| {
            let connection = match parts.version {
                Version::HTTP_2 | Version::HTTP_3 => KeepConnection::Streams,
                Version::HTTP_11 if !says_close(&parts.headers) => KeepConnection::Yes,
                _ => KeepConnection::No,
            };
            let on_demand = parts.headers.contains_key(header::EXPECT);
            Box::new(Self { body, connection, on_demand })
        });
        (Request::from_parts(parts, ()), upload)
    }

    fn intake(&self) -> Arc<BodyIntake> {
        Arc::new(BodyIntake::new(self.connection, self.on_demand, self.body.size_hint().exact()))
    }

    /// Reads it ahead, where it is not there yet in a task that ends with the exchange, or when the next request can come.
    /// Gives the body for the guest, and what tells how far it was read if there is more to come.
    pub(crate) async fn read_ahead(
        self: Box<Self>,
        context: &ShardContext,
        exchange: &Arc<Exchange>,
        link: &Arc<ClientMonitor>,
    ) -> (BoundaryBody, Option<Arc<BodyIntake>>) {
        let (intake, on_demand) = (self.intake(), self.on_demand);
        let bounds = context.settings.load().read_ahead.clone();
        let (pump, body) = pump::split(self.body, exchange.clone(), intake.clone(), bounds, on_demand);
        let mut reading = Box::pin(read(pump, exchange.clone(), link.clone()));
        if on_demand || !ends_at_once(reading.as_mut()).await {
            context.shard.tasks.spawn(reading);
        }
        (body.boxed_unsync(), (!intake.has_ended()).then_some(intake))
    }

    /// The host answers by itself: reads on for the sake of the next request, or says in the head that there will be none.
    pub(crate) async fn refuse(self: Box<Self>, context: &ShardContext, headers: &mut HeaderMap) {
        let intake = self.intake();
        let bounds = context.settings.load().read_ahead.clone();
        let on_demand = self.on_demand;
        let reading = {
            let (intake, bounds) = (intake.clone(), bounds.clone());
            async move { pump::discard(self.body, &intake, bounds.patience()).await }
        };
        let mut reading = Box::pin(reading);
        if !on_demand && ends_at_once(reading.as_mut()).await {
            return;
        }
        intake.conclude(headers, bounds.bound()).await;
        if intake.drains() {
            context.shard.tasks.spawn(reading);
        }
    }
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Reads until the exchange has ended, and for a while after that.
async fn read<B>(mut pump: Pump<B>, exchange: Arc<Exchange>, link: Arc<ClientMonitor>)
where
    B: HttpBody<Data = Bytes, Error: Into<BodyReadError> + Send> + Send + Unpin,
{
    let broken = tokio::select! {
        read = pump.run() => match read {
            Ok(()) => return,
            Err(broken) => Some(broken),
        },
        () = exchange.wait_ended() => None,
    };
    let metrics = &exchange.generation.metrics;
    match broken {
        // In the middle.
        Some(BodyBreak::Left) => return exchange.cancel(link.ask_ending().unwrap_or(Reason::Reset)),
        Some(BodyBreak::Malformed) => return exchange.mark_unread(UnreadCause::Malformed),
        Some(BodyBreak::TooSlow) => {
            metrics.server_reached_by(Reached::BodyTimeout, exchange.info.client);
            exchange.mark_unread(UnreadCause::TooSlow);
            return exchange.cancel(Reason::Unresponsive);
        }
        Some(BodyBreak::NoRoom(full)) => {
            match full {
                BufferFull::Request => {}
                BufferFull::Client => {
                    metrics.server_reached_by(Reached::BodyBuffersPerClient, exchange.info.client);
                }
                BufferFull::App => metrics.record_reached(Reached::BodyBuffersPerApp),
                BufferFull::Total => metrics.server_reached_by(Reached::BodyBuffers, None),
            }
            exchange.mark_unread(UnreadCause::NoRoom);
            exchange.wait_ended().await;
        }
        None => {}
    }
    pump.drain().await;
}

/// Whether a reading of a body has come to its end when hyper had a turn: with what came along with the head.
async fn ends_at_once(mut reading: Pin<&mut (impl Future<Output = ()> + Send)>) -> bool {
    let mut turns = 0;
    std::future::poll_fn(|cx| {
        turns += 1;
        match reading.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if turns > 1 => Poll::Ready(false),
            Poll::Pending => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}
