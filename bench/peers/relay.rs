//! Hyper and async-nats alone: the measure of how soon an event can come from a push at one HTTP server to a poll at another.

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::bare::accept;

/// What makes this program such a server. The address of NATS follows.
pub(crate) const ARGUMENT: &str = "serve-bare-relay";

const NAME: &str = "relay";

struct Relay {
    publisher: Context,
    consumer: Consumer<pull::Config>,
}

/// Serves until the process is ended: what is posted goes to NATS, and all else is answered with the next event there.
pub(crate) fn serve(nats: &str) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let relay = Arc::new(Relay::connect(nats).await?);
        accept(move |request| {
            let relay = relay.clone();
            async move { relay.answer(request).await }
        })
        .await
    })
}

impl Relay {
    async fn connect(nats: &str) -> anyhow::Result<Self> {
        let publisher = jetstream::new(async_nats::connect(nats).await?);
        let (name, retention) = (NAME.to_owned(), stream::RetentionPolicy::WorkQueue);
        let stream = stream::Config { name, retention, ..stream::Config::default() };
        let stream = publisher.get_or_create_stream(stream).await?;
        let consumer = pull::Config { durable_name: Some(NAME.to_owned()), ..pull::Config::default() };
        Ok(Self { consumer: stream.get_or_create_consumer(NAME, consumer).await?, publisher })
    }

    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        if request.method() == Method::POST {
            let event = request.into_body().collect().await?.to_bytes();
            self.publisher.publish(NAME, event).await?.await?;
            let mut stored = Response::new(Full::default());
            *stored.status_mut() = StatusCode::ACCEPTED;
            return Ok(stored);
        }
        let mut events = self.consumer.batch().max_messages(1).messages().await?;
        let event = events.next().await.context("no event")?.map_err(anyhow::Error::from_boxed)?;
        event.ack().await.map_err(anyhow::Error::from_boxed)?;
        Ok(Response::new(Full::new(event.message.payload)))
    }
}
