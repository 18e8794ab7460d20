//! What the fuzz targets ask of the parsers of what strangers send. For nobody else.

use std::net::SocketAddr;

use futures::FutureExt as _;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue};

use linger_base::ClientAddress;
use linger_events::AckTokens;

use crate::TrustedProxies;
use crate::connection::origin::ConnectionPeer;
use crate::request::ack;
use crate::serving::proxy::{ProxySpeaker, read_header};

/// Finds out who has sent a request with these headers over a connection from `peer`, and cleans them.
pub fn identify(
    peer: Option<SocketAddr>,
    headers: &mut HeaderMap,
    proxies: &TrustedProxies,
) -> (Option<ClientAddress>, Option<Scheme>) {
    ConnectionPeer::new(peer.map(Into::into), proxies).identify(headers, proxies)
}

/// What a header of the PROXY protocol says, and how many bytes are behind it: whose the connection is, or none if that is the
/// proxy. None: it is no header, or not all of it.
pub fn proxy_header(mut sent: &[u8]) -> Option<(Option<ClientAddress>, usize)> {
    let client = match read_header(&mut sent).now_or_never()?.ok()? {
        ProxySpeaker::Itself => None,
        ProxySpeaker::Client(client) => client,
    };
    Some((client, sent.len()))
}

/// Commits what the client says that it got, and what is answered to that.
pub fn acknowledge(ack_tokens: &AckTokens, headers: &mut HeaderMap) -> Option<HeaderValue> {
    ack::acknowledge(ack_tokens, headers)
}
