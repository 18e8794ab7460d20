//! One connection, as its requests see it: its client, its socket, and the requests in flight on it.
//!
//! Nothing here names hyper, h2 or a request's room: `serving` drives the connection, `request` is what comes over it.

pub(crate) mod clients;
pub(crate) mod defer_writes;
pub(crate) mod forwarded;
pub(crate) mod idle_buffers;
pub(crate) mod listing;
pub(crate) mod origin;
pub(crate) mod probe;
pub(crate) mod supervisor;
pub(crate) mod wait;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use linger_base::ClientAddress;
use linger_config::{HalfClosePolicy, ReceiptWaits, ServerLimits};
use linger_net::{FlushObserver, RELEASES, SocketMonitor, TlsTerminator};
use linger_telemetry::{Metrics, Reached};

use clients::{ClientPermit, ClientQuota, ClientRef, ClientTable};
use defer_writes::QuietState;
use idle_buffers::IdleBuffer;
use origin::{ConnectionPeer, TrustedProxies};
use probe::PingProbe;
use supervisor::Supervisor;
use wait::RequestTimeouts;

/// The socket of a client, and what its kernel knows.
pub(crate) type ClientMonitor = SocketMonitor<UnflushedResponse>;

/// A response whose last bytes wait for the connection's next flush.
pub(crate) trait AwaitsFlush: Send + Sync {
    /// The connection was flushed. Whether there is nothing left to settle.
    fn settle_if_flushed(&self) -> bool;

    /// The client has reset a stream, perhaps this one. Whether its unwritten end was given up.
    fn lose_unwritten_end(&self) -> bool;
}

/// Tells a response of each flush.
pub(crate) struct UnflushedResponse(pub(crate) Arc<dyn AwaitsFlush>);

impl FlushObserver for UnflushedResponse {
    fn on_flush(self) -> Option<Self> {
        if self.0.settle_if_flushed() { None } else { Some(self) }
    }
}

/// How the connections of one listener are taken.
#[derive(Clone, Default)]
pub struct ListenerPolicy {
    /// What the end of a client's direction means.
    pub eof: HalfClosePolicy,
    /// Speaks TLS, if it does.
    pub tls: Option<Arc<TlsTerminator>>,
    /// The proxies that are believed.
    pub proxies: TrustedProxies,
    /// Whether those say first whose connection it is.
    pub proxy_protocol: bool,
}

impl ListenerPolicy {
    /// Whether a connection from there is of a proxy that is believed. None is a Unix socket.
    #[must_use]
    pub fn is_proxy(&self, from: Option<IpAddr>) -> bool {
        self.proxies.contain(from)
    }
}

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) monitor: Arc<ClientMonitor>,
    pub(crate) secure: bool,
    /// Set before the first request.
    pub(crate) peer: OnceLock<ConnectionPeer>,
    /// The client whose connection it is, if it is one's, and what it has of what that may have.
    client: OnceLock<(IpAddr, ClientRef)>,
    of_client: OnceLock<ClientPermit>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) eof: HalfClosePolicy,
    pub(crate) probe: PingProbe,
    pub(crate) quiet: QuietState,
    pub(crate) supervisor: Supervisor,
    /// Counts the requests in progress.
    pub(crate) requests: TaskTracker,
    /// Owns what waits for receipts.
    pub(crate) receipts: TaskTracker,
    pub(crate) waits: Option<ReceiptWaits>,
    /// Where it has pages to give back.
    pub(crate) idle_buffer: Option<Arc<IdleBuffer>>,
    /// How many times the client was seen to reset streams.
    resets: AtomicU64,
    /// Whether the socket takes nothing for now.
    blocked: AtomicBool,
}

impl Connection {
    pub(crate) fn new(
        link: Arc<ClientMonitor>,
        entrance: &ListenerPolicy,
        limits: &ServerLimits,
        waits: Option<ReceiptWaits>,
    ) -> Arc<Self> {
        Arc::new(Self {
            monitor: link,
            secure: entrance.tls.is_some(),
            peer: OnceLock::new(),
            client: OnceLock::new(),
            of_client: OnceLock::new(),
            proxies: entrance.proxies.clone(),
            eof: entrance.eof,
            probe: PingProbe::default(),
            quiet: QuietState::default(),
            supervisor: Supervisor::new(RequestTimeouts::new(limits)),
            requests: TaskTracker::new(),
            receipts: TaskTracker::new(),
            waits,
            idle_buffer: (RELEASES && entrance.eof == HalfClosePolicy::Gone).then(Arc::default),
            resets: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
        })
    }

    /// The other end.
    pub(crate) fn peer(&self) -> &ConnectionPeer {
        self.peer.get_or_init(ConnectionPeer::default)
    }

    /// A request has come, which is in progress until this is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> InProgress {
        self.supervisor.request_came();
        InProgress { _counted: self.requests.token(), connection: self.clone() }
    }

    /// It is this client's, as its kernel says, or a proxy that speaks for it alone. Proxies are no clients. `counts`: nobody
    /// has counted it yet. False if that client has too many.
    pub(crate) fn is_of(
        &self,
        client: Option<ClientAddress>,
        clients: &Arc<ClientTable>,
        metrics: &Metrics,
        counts: bool,
    ) -> bool {
        let Some(client) = client.filter(|client| !self.proxies.contain(Some(client.ip))) else {
            return true;
        };
        let place = clients.find(client.ip);
        if counts {
            let Some(share) = place.try_take(ClientQuota::Connection) else {
                metrics.reached_by(Reached::ConnectionsPerClient, Some(client));
                return false;
            };
            // Nobody else sets it, here and below.
            let _ = self.of_client.set(share);
        }
        let _ = self.client.set((client.ip, place));
        true
    }

    /// What is known of whoever has sent a request. None for proxies, which are no clients.
    pub(crate) fn place_of(&self, client: ClientAddress, clients: &Arc<ClientTable>) -> Option<ClientRef> {
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

    pub(crate) fn mark_blocked(&self, blocked: bool) {
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
        self.monitor
            .sift_unflushed(|response| if response.0.lose_unwritten_end() { None } else { Some(response) });
    }
}

/// A request, until its response has left. After the last one its connection is idle.
pub(crate) struct InProgress {
    connection: Arc<Connection>,
    _counted: TaskTrackerToken,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.connection.supervisor.record_request_end();
    }
}
