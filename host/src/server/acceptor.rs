//! An acceptor: a listener whose connections each go to the shard with the fewest.

use std::time::Duration;

use linger_base::ClientAddress;
use linger_base::permits::Permit;
use linger_http::{ClientPermit, ClientQuota, ConnectionPermits, ListenerPolicy};
use linger_net::{AcceptedSocket, BoundListener};
use linger_telemetry::{Metrics, Reached};

use super::shard::{AcceptedConnection, Shard};

/// A pause after the kernel refused to accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Acceptor {
    listener: BoundListener,
    entrance: ListenerPolicy,
    places: ConnectionPermits,
    metrics: Metrics,
}

impl Acceptor {
    pub(super) fn open(
        listener: BoundListener,
        entrance: ListenerPolicy,
        places: ConnectionPermits,
        metrics: Metrics,
    ) -> Self {
        Self { listener, entrance, places, metrics }
    }

    /// Does what is to be done beside, for as long as it is polled.
    pub(super) async fn tend(&self) {
        match self.entrance.tls.clone() {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Accepts for ever. At the limit of connections one waits here, and the others in the kernel's backlog.
    pub(super) async fn accept(&self, shards: &[Shard]) {
        let mut failing = false;
        loop {
            let accepted = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Once, until it works again: it fails several times a second.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("cannot accept connections: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            failing = false;
            self.metrics.connections.inc();
            let Ok(of_client) = self.admit(&accepted) else { continue };
            let share = self.place().await;
            // Requests park for long: who has the fewest connections now is the best choice for one more.
            if let Some(shard) = shards.iter().min_by_key(|shard| shard.load()) {
                shard.take(AcceptedConnection {
                    accepted,
                    entrance: self.entrance.clone(),
                    share,
                    of_client,
                });
            }
        }
    }

    /// Whether a client may have one more, and its share. Proxies and Unix sockets are no clients: whose connections they
    /// bring is not known here. Nothing was read yet, so there is nothing to be answered: it is closed.
    fn admit(&self, accepted: &AcceptedSocket) -> Result<Option<ClientPermit>, ClientFull> {
        let Some(from) = accepted.from.map(ClientAddress::from) else { return Ok(None) };
        if self.entrance.is_proxy(Some(from.ip)) {
            return Ok(None);
        }
        let share = self.places.clients.find(from.ip).try_take(ClientQuota::Connection);
        if share.is_none() {
            self.metrics.reached_by(Reached::ConnectionsPerClient, Some(from));
        }
        share.map(Some).ok_or(ClientFull)
    }

    /// A place among all, when there is one.
    async fn place(&self) -> Permit {
        if let Some(share) = self.places.all.try_take() {
            return share;
        }
        self.metrics.record_reached(Reached::Connections);
        self.places.all.take().await
    }
}

/// A client has as many connections as it may.
struct ClientFull;
