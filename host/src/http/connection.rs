//! One connection: hyper over a socket, from the accept to the last receipt.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::service::service_fn;
use tokio_util::task::TaskTracker;

use super::guard::ClientLink;
use super::hold::Quiet;
use super::origin::Peer;
use super::probe::Probe;
use super::progress::Progress;
use super::proxy;
use super::serving::{Serving, Terms};
use super::spare::Spare;
use super::stream::ClientStream;
use super::supervisor::Supervisor;
use super::version::Version;
use super::{Context, handle};
use crate::config::{Limits, Network};
use crate::net::{Eof, Link, RELEASES, ReceiptWaits, Stream, Tls, Transport};

/// How the connections of one listener are taken.
#[derive(Clone, Default)]
pub struct Entrance {
    /// What the end of a client's direction means.
    pub eof: Eof,
    /// Speaks TLS, if it does.
    pub tls: Option<Arc<Tls>>,
    /// The proxies that are believed.
    pub proxies: Arc<[Network]>,
    /// Whether those say first whose connection it is.
    pub proxy_protocol: bool,
}

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) link: Arc<ClientLink>,
    pub(super) secure: bool,
    /// Set before the first request.
    peer: OnceLock<Peer>,
    pub(super) proxies: Arc<[Network]>,
    eof: Eof,
    pub(super) probe: Probe,
    pub(super) quiet: Quiet,
    pub(super) supervisor: Supervisor,
    /// Counts the requests in progress.
    pub(super) requests: TaskTracker,
    /// Owns what waits for receipts.
    pub(super) receipts: TaskTracker,
    pub(super) waits: Option<ReceiptWaits>,
    /// Where it has pages to give back.
    pub(super) spare: Option<Arc<Spare>>,
    /// How many times the client was seen to reset streams.
    resets: AtomicU64,
}

impl Connection {
    pub(super) fn new(
        link: Arc<ClientLink>,
        entrance: &Entrance,
        head_timeout: Duration,
        waits: Option<ReceiptWaits>,
    ) -> Arc<Self> {
        Arc::new(Self {
            link,
            secure: entrance.tls.is_some(),
            peer: OnceLock::new(),
            proxies: entrance.proxies.clone(),
            eof: entrance.eof,
            probe: Probe::default(),
            quiet: Quiet::default(),
            supervisor: Supervisor::new(head_timeout),
            requests: TaskTracker::new(),
            receipts: TaskTracker::new(),
            waits,
            spare: (RELEASES && entrance.eof == Eof::Gone).then(Arc::default),
            resets: AtomicU64::new(0),
        })
    }

    /// The other end.
    pub(super) fn peer(&self) -> &Peer {
        self.peer.get_or_init(Peer::default)
    }

    /// How many times the client was seen to reset streams.
    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// The client has reset a stream, and h2 knows.
    pub(super) fn stream_was_reset(&self) {
        // First the count: whoever begins to wait looks at it then.
        self.resets.fetch_add(1, Ordering::AcqRel);
        self.link.sift_unflushed(Progress::unless_its_end_may_be_lost);
    }
}

/// Serves a connection to its end: until the client closes it, or the server stops and its requests end.
/// What became of the last responses is then still waited for.
pub async fn serve_connection(
    stream: Stream,
    from: Option<SocketAddr>,
    entrance: &Entrance,
    context: Arc<Context>,
) {
    let detection = &context.detection;
    // It keeps to what is set now. Not all of it: that knows apps, which may be no more before it ends.
    let limits = &context.settings.load().limits.clone();
    let link = Link::new(stream, detection.patience(), entrance.eof);
    let connection = Connection::new(link, entrance, limits.head_timeout, detection.receipt_waits());
    let _listed = context.connections.add(&connection);
    // Boxed, so that its room is free again: many connections stay open for long.
    if let Some((stream, version)) =
        Box::pin(open(from, entrance, &connection, &context, limits.head_timeout)).await
    {
        serve(stream, version, &connection, &context, limits).await;
    }
    connection.receipts.close();
    connection.receipts.wait().await;
}

/// Waits until it is known what a client speaks; none if it does not say so in time.
async fn open(
    from: Option<SocketAddr>,
    entrance: &Entrance,
    connection: &Connection,
    context: &Context,
    head_timeout: Duration,
) -> Option<(Transport<Arc<Progress>>, Version)> {
    let mut socket = connection.link.socket();
    let peer = Peer::new(from.map(Into::into), &entrance.proxies);
    let peer = if entrance.proxy_protocol && peer.is_trusted() {
        match tokio::time::timeout(head_timeout, proxy::read_header(&mut socket)).await {
            Ok(Ok(client)) => Peer::behind_proxy(client, &entrance.proxies),
            Ok(Err(error)) => {
                tracing::debug!("connection ended: {error}");
                return None;
            }
            Err(_) => return None,
        }
    } else {
        peer
    };
    // Nobody else sets it.
    let _ = connection.peer.set(peer);
    let Some(tls) = &entrance.tls else {
        let version = tokio::select! {
            version = tokio::time::timeout(head_timeout, Version::sent(&connection.link)) => version,
            // Nothing of it was read.
            () = context.stopping.cancelled() => return None,
        };
        if let Ok(version) = version {
            return Some((Transport::Plain(socket), version));
        }
        tracing::debug!("connection ended: nothing came");
        return None;
    };
    match tokio::time::timeout(head_timeout, tls.acceptor().accept(socket)).await {
        Ok(Ok(stream)) => {
            let version = Version::negotiated(stream.get_ref().1.alpn_protocol());
            return Some((Transport::Tls(Box::new(stream)), version));
        }
        Ok(Err(error)) => tracing::debug!("no TLS with a client: {error}"),
        Err(_) => tracing::debug!("no TLS with a client: it took too long"),
    }
    None
}

async fn serve(
    stream: Transport<Arc<Progress>>,
    version: Version,
    connection: &Arc<Connection>,
    context: &Arc<Context>,
    limits: &Limits,
) {
    let handler = service_fn(|request| {
        connection.supervisor.request_came();
        handle(context.clone(), connection.clone(), connection.requests.token(), request)
    });
    let stream = ClientStream::new(stream, connection.clone());
    let (detection, tasks) = (&context.detection, &context.lane.tasks);
    let terms = Terms { limits, detection, eof: connection.eof, tasks };
    let mut serving = Serving::new(version, stream, handler, &terms);
    let beside = |ending: bool| {
        // Boxed, for a set has room for one more than are in it.
        Box::pin(async move {
            tokio::select! {
                biased;
                () = watch(connection), if detection.watch => Beside::GiveUp,
                () = connection.supervisor.run(&connection.link, context) => Beside::End,
                () = connection.link.abandoned() => Beside::GiveUp,
                // Boxed, for few connections come to that.
                () = async { Box::pin(overdue(&connection.requests)).await }, if ending => Beside::GiveUp,
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
                Beside::End => {
                    serving.shut_down();
                    aside.push(beside(true));
                }
                Beside::GiveUp => return,
            },
            ended = &mut serving => break ended,
        }
    };
    if let Err(error) = ended {
        // Clients come and go: this is news only to who looks for it.
        tracing::debug!("connection ended: {error}");
    }
}

/// What is noticed beside the requests and responses.
enum Beside {
    /// The connection should end when its requests have.
    End,
    /// It should end at once.
    GiveUp,
}

/// Notices how the client leaves, for as long as it is polled.
async fn watch(connection: &Connection) {
    loop {
        connection.link.watch().await;
        match connection.link.departure() {
            Some(_) => std::future::pending().await,
            None => connection.probe.wanted(),
        }
    }
}

/// Resolves when a connection that was asked to end has no request left, and does not end: hyper waits
/// without limit for an HTTP/2 client that does not answer.
async fn overdue(requests: &TaskTracker) {
    const LIMIT: Duration = Duration::from_secs(2);
    requests.close();
    loop {
        requests.wait().await;
        tokio::time::sleep(LIMIT).await;
        if requests.is_empty() {
            return;
        }
    }
}
