//! The beginning of a connection: its client, TLS, and the version of HTTP.

use std::net::SocketAddr;

use linger_base::ClientAddress;
use linger_config::Limits;
use linger_net::{Socket, Tls, Transport};

use crate::connection::origin::Peer;
use crate::connection::proxy::{self, Speaker};
use crate::connection::version::Version;
use crate::connection::{Connection, Entrance};
use crate::connection::{LAST_WORDS, astray};
use crate::context::Context;
use crate::request::guard::ClientLink;
use crate::request::progress::Unflushed;

type Opened = (Transport<Unflushed>, Version);

/// Waits until it is known what a client speaks; none if it does not say so in time, or while the server stops.
pub(crate) async fn open(
    from: Option<SocketAddr>,
    entrance: &Entrance,
    connection: &Connection,
    context: &Context,
    limits: &Limits,
) -> Option<Opened> {
    let opening = async {
        let mut socket = connection.link.socket();
        if !introduce(from.map(Into::into), entrance, connection, context, &mut socket).await {
            return None;
        }
        match &entrance.tls {
            Some(_) if astray::speaks_plainly(&connection.link).await => {
                astray::answer(&mut socket, connection, context).await;
                None
            }
            Some(tls) => negotiate(tls, socket).await,
            None => {
                let version = Version::sent(&connection.link).await;
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
        () = given_up(&connection.link, context) => None,
    }
}

/// Finds out whose connection it is. False if it is to end.
async fn introduce(
    from: Option<ClientAddress>,
    entrance: &Entrance,
    connection: &Connection,
    context: &Context,
    socket: &mut Socket<Unflushed>,
) -> bool {
    let peer = Peer::new(from, &entrance.proxies);
    let (peer, client, counts) = if entrance.proxy_protocol && peer.is_trusted() {
        match proxy::read_header(socket).await {
            Ok(Speaker::Itself) => (Peer::stranger(from), None, true),
            Ok(Speaker::Client(client)) => (Peer::behind_proxy(client, &entrance.proxies), client, true),
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
    connection.is_of(client, context, counts)
}

async fn negotiate(tls: &Tls, socket: Socket<Unflushed>) -> Option<Opened> {
    match tls.acceptor().accept(socket).await {
        Ok(stream) => {
            let version = Version::negotiated(stream.get_ref().1.alpn_protocol());
            Some((Transport::Tls(Box::new(stream)), version))
        }
        Err(error) => {
            tracing::debug!("TLS handshake failed: {error}");
            None
        }
    }
}

/// Resolves when the server stops: at once where nothing has come of a client, and otherwise when it had time to go on.
async fn given_up(link: &ClientLink, context: &Context) {
    context.stopping.cancelled().await;
    if link.has_come() {
        tokio::time::sleep(LAST_WORDS).await;
    }
}
