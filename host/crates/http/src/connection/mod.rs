//! One connection: hyper over a socket, from the accept to the last receipt.

pub(crate) mod astray;
pub(crate) mod clients;
pub(crate) mod compact;
pub(crate) mod forwarded;
pub(crate) mod frames;
pub(crate) mod hold;
pub(crate) mod http2;
pub(crate) mod listing;
pub(crate) mod opening;
pub(crate) mod origin;
pub(crate) mod probe;
pub(crate) mod proxy;
pub(crate) mod serving;
pub(crate) mod spare;
pub(crate) mod stream;
pub(crate) mod supervisor;
pub(crate) mod version;
pub(crate) mod wait;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::service::service_fn;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use linger_base::ClientAddress;
use linger_config::{Eof, Limits, ReceiptWaits};
use linger_net::{Link, RELEASES, Stream, Tls, Transport};
use linger_telemetry::Reached;

use crate::connection::clients::{ClientPlace, ClientShare, Clients, Kind};
use crate::connection::hold::Quiet;
use crate::connection::opening::open;
use crate::connection::origin::{Peer, Proxies};
use crate::connection::probe::Probe;
use crate::connection::serving::{Serving, Terms};
use crate::connection::spare::Spare;
use crate::connection::stream::ClientStream;
use crate::connection::supervisor::{Ending, Supervisor};
use crate::connection::version::Version;
use crate::connection::wait::Timeouts;
use crate::context::Context;
use crate::request::guard::ClientLink;
use crate::request::handle;
use crate::request::progress::Unflushed;

/// How long a connection that should end is waited for when no request is in progress on it.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the connections of one listener are taken.
#[derive(Clone, Default)]
pub struct Entrance {
    /// What the end of a client's direction means.
    pub eof: Eof,
    /// Speaks TLS, if it does.
    pub tls: Option<Arc<Tls>>,
    /// The proxies that are believed.
    pub proxies: Proxies,
    /// Whether those say first whose connection it is.
    pub proxy_protocol: bool,
}

impl Entrance {
    /// Whether a connection from there is of a proxy that is believed. None is a Unix socket.
    #[must_use]
    pub fn is_proxy(&self, from: Option<IpAddr>) -> bool {
        self.proxies.contain(from)
    }
}

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) link: Arc<ClientLink>,
    pub(crate) secure: bool,
    /// Set before the first request.
    pub(crate) peer: OnceLock<Peer>,
    /// The client whose connection it is, if it is one's, and what it has of what that may have.
    client: OnceLock<(IpAddr, ClientPlace)>,
    of_client: OnceLock<ClientShare>,
    pub(crate) proxies: Proxies,
    eof: Eof,
    pub(crate) probe: Probe,
    pub(crate) quiet: Quiet,
    pub(crate) supervisor: Supervisor,
    /// Counts the requests in progress.
    pub(crate) requests: TaskTracker,
    /// Owns what waits for receipts.
    pub(crate) receipts: TaskTracker,
    pub(crate) waits: Option<ReceiptWaits>,
    /// Where it has pages to give back.
    pub(crate) spare: Option<Arc<Spare>>,
    /// How many times the client was seen to reset streams.
    resets: AtomicU64,
    /// Whether the socket takes nothing for now.
    blocked: AtomicBool,
}

impl Connection {
    pub(crate) fn new(
        link: Arc<ClientLink>,
        entrance: &Entrance,
        limits: &Limits,
        waits: Option<ReceiptWaits>,
    ) -> Arc<Self> {
        Arc::new(Self {
            link,
            secure: entrance.tls.is_some(),
            peer: OnceLock::new(),
            client: OnceLock::new(),
            of_client: OnceLock::new(),
            proxies: entrance.proxies.clone(),
            eof: entrance.eof,
            probe: Probe::default(),
            quiet: Quiet::default(),
            supervisor: Supervisor::new(Timeouts::new(limits)),
            requests: TaskTracker::new(),
            receipts: TaskTracker::new(),
            waits,
            spare: (RELEASES && entrance.eof == Eof::Gone).then(Arc::default),
            resets: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
        })
    }

    /// The other end.
    pub(crate) fn peer(&self) -> &Peer {
        self.peer.get_or_init(Peer::default)
    }

    /// A request has come, which is in progress until this is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> InProgress {
        self.supervisor.request_came();
        InProgress { _counted: self.requests.token(), connection: self.clone() }
    }

    /// It is this client's, as its kernel says, or a proxy that speaks for it alone. Proxies are no clients. `counts`: nobody
    /// has counted it yet. False if that client has too many.
    pub(crate) fn is_of(&self, client: Option<ClientAddress>, context: &Context, counts: bool) -> bool {
        let Some(client) = client.filter(|client| !self.proxies.contain(Some(client.ip))) else {
            return true;
        };
        let place = context.clients.find(client.ip);
        if counts {
            let Some(share) = place.try_take(Kind::Connection) else {
                context.metrics.reached_by(Reached::ConnectionsPerClient, Some(client));
                return false;
            };
            // Nobody else sets it, here and below.
            let _ = self.of_client.set(share);
        }
        let _ = self.client.set((client.ip, place));
        true
    }

    /// What is known of whoever has sent a request. None for proxies, which are no clients.
    pub(crate) fn place_of(&self, client: ClientAddress, clients: &Arc<Clients>) -> Option<ClientPlace> {
        match self.client.get() {
            Some((address, place)) if *address == client.ip => Some(place.clone()),
            _ if self.proxies.contain(Some(client.ip)) => None,
            _ => Some(clients.find(client.ip)),
        }
    }

    /// Whether the socket took nothing of what was written last.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(crate) fn note_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// How many times the client was seen to reset streams.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// The client has reset a stream, and h2 knows.
    pub(crate) fn stream_was_reset(&self) {
        // First the count: whoever begins to wait looks at it then.
        self.resets.fetch_add(1, Ordering::AcqRel);
        self.link.sift_unflushed(|Unflushed(progress)| progress.unless_its_end_may_be_lost().map(Unflushed));
    }
}

/// A request, until its response has left. After the last one its connection is idle.
pub(crate) struct InProgress {
    connection: Arc<Connection>,
    _counted: TaskTrackerToken,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.connection.supervisor.request_ended();
    }
}

/// Serves a connection to its end: until the client closes it, or the server shuts down and its requests end.
/// It then still waits for the receipts of the last responses.
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
    stream: Transport<Unflushed>,
    version: Version,
    connection: &Arc<Connection>,
    context: &Arc<Context>,
    limits: &Limits,
) {
    let handler =
        service_fn(|request| handle(context.clone(), connection.clone(), connection.request(), request));
    if version == Version::Http1 {
        connection.supervisor.heads_come_one_by_one();
    }
    let stream = ClientStream::new(stream, connection.clone()).answering(context.clone());
    let (detection, tasks) = (&context.detection, &context.lane.tasks);
    let terms = Terms { limits, detection, eof: connection.eof, tasks };
    let mut serving = Serving::new(version, stream, handler, &terms);
    let beside = |ending: bool| {
        // Boxed, for a set has room for one more than are in it.
        Box::pin(async move {
            tokio::select! {
                biased;
                () = watch(connection), if detection.watch => Beside::GiveUp,
                beside = supervise(connection, context) => beside,
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
        if error.is_parse_too_large() {
            context.metrics.reached_by(Reached::HeadSize, connection.peer().address());
        }
        // Clients come and go: this is news only to who looks for it.
        tracing::debug!("connection closed: {error}");
    }
}

/// What is noticed beside the requests and responses.
enum Beside {
    /// The connection should end when its requests have.
    End,
    /// It should end at once.
    GiveUp,
}

/// Watches over the requests until the connection should end.
async fn supervise(connection: &Connection, context: &Context) -> Beside {
    match connection.supervisor.run(&connection.link, context).await {
        Ending::AtOnce => Beside::GiveUp,
        Ending::InOrder => {
            if connection.requests.is_empty() {
                // What has come in by now may be a request, which nobody has to send again then.
                connection.link.read_dry(UNREAD).await;
            }
            Beside::End
        }
    }
}

/// How long what has come in may take to be read. It takes microseconds, but the machine may be busy elsewhere.
const UNREAD: Duration = Duration::from_millis(100);

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
    requests.close();
    loop {
        requests.wait().await;
        tokio::time::sleep(LAST_WORDS).await;
        if requests.is_empty() {
            return;
        }
    }
}
