//! Serves a connection, from the accept to the last receipt: finds out who and what speaks, lets hyper or h2 speak, and hands
//! each request to `request`.

pub(crate) mod astray;
pub(crate) mod frames;
pub(crate) mod http2;
pub(crate) mod opening;
pub(crate) mod protocol;
pub(crate) mod proxy;
pub(crate) mod stream;
pub(crate) mod version;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::service::service_fn;
use tokio_util::task::TaskTracker;

use linger_config::ServerLimits;
use linger_net::{SocketMonitor, SocketStream, Transport};
use linger_telemetry::Reached;

use crate::connection::supervisor::ConnectionClose;
use crate::connection::{Connection, ListenerPolicy, UnflushedResponse};
use crate::context::ShardContext;
use crate::request::handle;
use opening::open;
use protocol::{HyperSettings, ServedConnection};
use stream::ClientStream;
use version::HttpVersion;

/// How long a connection that should end is waited for when no request is in progress on it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves a connection to its end: until the client closes it, or the server shuts down and its requests end.
/// It then still waits for the receipts of the last responses.
pub async fn serve_connection(
    stream: SocketStream,
    from: Option<SocketAddr>,
    entrance: &ListenerPolicy,
    context: Arc<ShardContext>,
) {
    let detection = &context.detection;
    // It keeps to what is set now. Not all of it: that knows apps, which may be no more before it ends.
    let limits = &context.settings.load().limits.clone();
    let link = SocketMonitor::new(stream, detection.patience(), entrance.eof);
    let connection = Connection::new(link, entrance, limits, detection.receipt_waits());
    let _listed = context.connections.add(&connection);
    // Boxed, so that its room is free again: many connections stay open for long.
    if let Some((stream, version)) = Box::pin(open(from, entrance, &connection, &context, limits)).await {
        serve(stream, version, &connection, &context, limits).await;
    }
    connection.receipts.close();
    connection.receipts.wait().await;
}

async fn serve(
    stream: Transport<UnflushedResponse>,
    version: HttpVersion,
    connection: &Arc<Connection>,
    context: &Arc<ShardContext>,
    limits: &ServerLimits,
) {
    let handler =
        service_fn(|request| handle(context.clone(), connection.clone(), connection.request(), request));
    if version == HttpVersion::Http1 {
        connection.supervisor.heads_come_one_by_one();
    }
    let stream = ClientStream::new(stream, connection.clone()).answering(context.clone());
    let (detection, tasks) = (&context.detection, &context.shard.tasks);
    let terms = HyperSettings { limits, detection, eof: connection.eof, tasks };
    let mut serving = ServedConnection::new(version, stream, handler, &terms);
    let beside = |ending: bool| {
        // Boxed, for a set has room for one more than are in it.
        Box::pin(async move {
            tokio::select! {
                biased;
                () = watch(connection), if detection.watch => SideEvent::GiveUp,
                beside = supervise(connection, context) => beside,
                () = connection.monitor.wait_abandoned() => SideEvent::GiveUp,
                // Boxed, for few connections come to that.
                () = async { Box::pin(overdue(&connection.requests)).await }, if ending => SideEvent::GiveUp,
            }
        })
    };
    // Polled only when it was woken, which is rare, while hyper is at every turn.
    let mut aside = FuturesUnordered::new();
    aside.push(beside(false));
    let ended = loop {
        tokio::select! {
            biased;
            // First: what is known of the client counts in what hyper is polled for.
            Some(news) = aside.next() => match news {
                SideEvent::End => {
                    serving.shut_down();
                    aside.push(beside(true));
                }
                SideEvent::GiveUp => return,
            },
            ended = &mut serving => break ended,
        }
    };
    if let Err(error) = ended {
        if error.is_parse_too_large() {
            context.metrics.reached_by(Reached::HeadSize, connection.peer().address());
        }
        // Clients come and go: this is news only to who looks for it.
        tracing::debug!("connection closed: {error}");
    }
}

/// What is noticed beside the requests and responses.
enum SideEvent {
    /// The connection should end when its requests have.
    End,
    /// It should end at once.
    GiveUp,
}

/// Watches over the requests until the connection should end.
async fn supervise(connection: &Connection, context: &ShardContext) -> SideEvent {
    match connection.supervisor.run(&connection.monitor, &context.stopping, context.replaced.clone()).await {
        ConnectionClose::AtOnce => SideEvent::GiveUp,
        ConnectionClose::InOrder => {
            if connection.requests.is_empty() {
                // What has come in by now may be a request, which nobody has to send again then.
                connection.monitor.read_dry(UNREAD).await;
            }
            SideEvent::End
        }
    }
}

/// How long what has come in may take to be read. It takes microseconds, but the machine may be busy elsewhere.
const UNREAD: Duration = Duration::from_millis(100);

/// Notices how the client leaves, for as long as it is polled.
async fn watch(connection: &Connection) {
    loop {
        connection.monitor.watch().await;
        match connection.monitor.departure() {
            Some(_) => std::future::pending().await,
            None => connection.probe.request(),
        }
    }
}

/// Resolves when a connection that was asked to end has no request left, and does not end: hyper waits
/// without limit for an HTTP/2 client that does not answer.
async fn overdue(requests: &TaskTracker) {
    requests.close();
    loop {
        requests.wait().await;
        tokio::time::sleep(LAST_WORDS).await;
        if requests.is_empty() {
            return;
        }
    }
}
