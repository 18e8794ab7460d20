//! The beginning of a connection: its client, TLS, and the version of HTTP.

use std::net::SocketAddr;

use linger_base::ClientAddress;
use linger_config::ServerLimits;
use linger_net::{MonitoredSocket, TlsTerminator, Transport};

use crate::connection::origin::ConnectionPeer;
use crate::connection::{ClientMonitor, Connection, ListenerPolicy, UnflushedResponse};
use crate::context::ShardContext;
use crate::serving::proxy::{self, ProxySpeaker};
use crate::serving::version::HttpVersion;
use crate::serving::{LAST_WORDS, astray};

type OpeningResult = (Transport<UnflushedResponse>, HttpVersion);

/// Waits until it is known what a client speaks; none if it does not say so in time, or while the server stops.
pub(crate) async fn open(
    from: Option<SocketAddr>,
    entrance: &ListenerPolicy,
    connection: &Connection,
    context: &ShardContext,
    limits: &ServerLimits,
) -> Option<OpeningResult> {
    let opening = async {
        let mut socket = connection.monitor.socket();
        if !introduce(from.map(Into::into), entrance, connection, context, &mut socket).await {
            return None;
        }
        match &entrance.tls {
            Some(_) if astray::speaks_plainly(&connection.monitor).await => {
                astray::answer(&mut socket, connection, context).await;
                None
            }
            Some(tls) => negotiate(tls, socket).await,
            None => {
                let version = HttpVersion::sent(&connection.monitor).await;
                Some((Transport::Plain(socket), version))
            }
        }
    };
    tokio::select! {
        biased;
        opened = tokio::time::timeout(limits.head_timeout, opening) => opened.unwrap_or_else(|_| {
            tracing::debug!("connection closed: no request arrived within {:?}", limits.head_timeout);
            None
        }),
        () = given_up(&connection.monitor, context) => None,
    }
}

/// Finds out whose connection it is. False if it is to end.
async fn introduce(
    from: Option<ClientAddress>,
    entrance: &ListenerPolicy,
    connection: &Connection,
    context: &ShardContext,
    socket: &mut MonitoredSocket<UnflushedResponse>,
) -> bool {
    let peer = ConnectionPeer::new(from, &entrance.proxies);
    let (peer, client, counts) = if entrance.proxy_protocol && peer.is_trusted() {
        match proxy::read_header(socket).await {
            Ok(ProxySpeaker::Itself) => (ConnectionPeer::stranger(from), None, true),
            Ok(ProxySpeaker::Client(client)) => {
                (ConnectionPeer::behind_proxy(client, &entrance.proxies), client, true)
            }
            Err(error) => {
                tracing::debug!("connection closed: {error}");
                return false;
            }
        }
    } else {
        (peer, from, false)
    };
    // Nobody else sets it.
    let _ = connection.peer.set(peer);
    connection.is_of(client, &context.clients, &context.metrics, counts)
}

async fn negotiate(tls: &TlsTerminator, socket: MonitoredSocket<UnflushedResponse>) -> Option<OpeningResult> {
    match tls.acceptor().accept(socket).await {
        Ok(stream) => {
            let version = HttpVersion::negotiated(stream.get_ref().1.alpn_protocol());
            Some((Transport::Tls(Box::new(stream)), version))
        }
        Err(error) => {
            tracing::debug!("TLS handshake failed: {error}");
            None
        }
    }
}

/// Resolves when the server stops: at once where nothing has come of a client, and otherwise when it had time to go on.
async fn given_up(link: &ClientMonitor, context: &ShardContext) {
    context.stopping.cancelled().await;
    if link.has_come() {
        tokio::time::sleep(LAST_WORDS).await;
    }
}
