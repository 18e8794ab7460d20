//! Who a client is: the other end of its connection or, where that is a proxy to be believed, whom the proxy names.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::ClientAddress;
use crate::config::Network;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What only proxies say. From others it is made up.
const OTHERS: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Where it is. None: a Unix socket, or a proxy that does not say.
    address: Option<ClientAddress>,
    /// What guests are told of it, made once for all requests of the connection.
    header: Option<HeaderValue>,
    /// Whether it is a proxy that is believed.
    trusted: bool,
}

impl Peer {
    pub(super) fn new(address: Option<ClientAddress>, proxies: &[Network]) -> Self {
        let trusted = is_proxy(proxies, address.map(|address| address.ip));
        Self { address, header: address.map(to_header), trusted }
    }

    /// Whom the header of the PROXY protocol names, for which nobody speaks any more.
    pub(super) fn behind_proxy(address: Option<ClientAddress>, proxies: &[Network]) -> Self {
        // Without an address it is the proxy itself that speaks, and of nobody.
        Self { trusted: address.is_some() && Self::new(address, proxies).trusted, ..Self::new(address, &[]) }
    }

    /// Where it is, if that is known.
    pub(super) fn address(&self) -> Option<ClientAddress> {
        self.address
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Finds out who has sent a request, and by which scheme if that is known, and has its headers say so: `x-forwarded-for`
    /// is the client's address, and nothing that a client has made up stays.
    pub(super) fn identify(
        &self,
        headers: &mut HeaderMap,
        proxies: &[Network],
    ) -> (Option<ClientAddress>, Option<Scheme>) {
        let named = if self.trusted && speaks_of_others(headers) {
            let told = told(headers);
            let proto = told.proto.or_else(|| scheme(headers.get(&PROTO)?.to_str().ok()?));
            Some((first_stranger(self.address, &told.hops, proxies), proto))
        } else {
            None
        };
        if named.is_some() || speaks_of_others(headers) {
            headers.remove(FORWARDED);
            headers.remove(PROTO);
            headers.remove(FOR);
            if !self.trusted {
                for name in &OTHERS {
                    headers.remove(name);
                }
            }
        }
        let (client, scheme) = named.unwrap_or((self.address, None));
        let header = if client == self.address { self.header.clone() } else { client.map(to_header) };
        if let Some(header) = header {
            headers.insert(FOR, header);
        }
        (client, scheme)
    }
}

fn to_header(client: ClientAddress) -> HeaderValue {
    // What addresses are written with is allowed in headers.
    HeaderValue::from_str(&client.ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn is_proxy(proxies: &[Network], from: Option<IpAddr>) -> bool {
    proxies.iter().any(|network| network.contains(from))
}

/// Whether any of the headers is there that speak of who has sent a request. Nearly none has one.
fn speaks_of_others(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        text.starts_with("x-forwarded-") || text == "x-real-ip" || text == "forwarded"
    })
}

/// What proxies say: who has asked each of them, the nearest to this server last. None is one that they do not name.
struct Told {
    hops: Vec<Option<ClientAddress>>,
    proto: Option<Scheme>,
}

/// What `forwarded` says (RFC 7239) or, without it, `x-forwarded-for`.
fn told(headers: &HeaderMap) -> Told {
    let texts = |name: &HeaderName| -> Vec<&str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect()
    };
    let mut proto = None;
    let hops = match texts(&FORWARDED) {
        forwarded if !forwarded.is_empty() => {
            let mut hop = |element: Result<rfc7239::Forwarded<'_>, _>| {
                let element = element.ok()?;
                proto = element.protocol.and_then(|proto| scheme(proto.trim_matches('"')));
                let node = element.forwarded_for?;
                let ip = node.ip()?.to_canonical();
                Some(ClientAddress { ip, port: node.port })
            };
            forwarded.into_iter().flat_map(rfc7239::parse).map(&mut hop).collect()
        }
        _ => texts(&FOR).into_iter().flat_map(|value| value.split(',')).map(address).collect(),
    };
    Told { hops, proto }
}

/// An address as `x-forwarded-for` has it, which some write with a port.
fn address(text: &str) -> Option<ClientAddress> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse::<SocketAddr>().map(Into::into).ok().or_else(|| bare.parse::<IpAddr>().map(Into::into).ok())
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.trim() {
        proto if proto.eq_ignore_ascii_case("https") => Some(Scheme::HTTPS),
        proto if proto.eq_ignore_ascii_case("http") => Some(Scheme::HTTP),
        _ => None,
    }
}

/// The nearest that is not a proxy to be believed: what it says of others is made up, for all that is known.
fn first_stranger(
    peer: Option<ClientAddress>,
    hops: &[Option<ClientAddress>],
    proxies: &[Network],
) -> Option<ClientAddress> {
    let mut client = peer;
    for hop in hops.iter().rev() {
        client = *hop;
        if !hop.is_some_and(|hop| is_proxy(proxies, Some(hop.ip))) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<Network> {
        ["10.0.0.0/8", "unix"].map(|text| Network::try_from(text.to_owned()).unwrap()).into()
    }

    /// Who has sent a request with these headers, the scheme, and what the guest sees.
    fn identify(peer: &str, pairs: &[(&str, &str)]) -> (Option<String>, Option<Scheme>, HeaderMap) {
        let peer = peer.parse::<SocketAddr>().ok().map(ClientAddress::from);
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let (client, scheme) = Peer::new(peer, &proxies()).identify(&mut headers, &proxies());
        (client.map(|client| client.to_string()), scheme, headers)
    }

    fn client(peer: &str, pairs: &[(&str, &str)]) -> Option<String> {
        identify(peer, pairs).0
    }

    #[test]
    fn stranger_cannot_say_that_it_is_another() {
        let forged = [
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-real-ip", "1.1.1.1"),
            ("accept", "*/*"),
        ];
        let (client, scheme, headers) = identify("192.0.2.1:5", &forged);
        assert_eq!(client.as_deref(), Some("192.0.2.1:5"));
        assert_eq!(scheme, None);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    }

    #[test]
    fn proxy_names_its_client() {
        for (headers, expected) in [
            (&[("x-forwarded-for", "192.0.2.1")][..], Some("192.0.2.1")),
            (&[("x-forwarded-for", "192.0.2.1:77")], Some("192.0.2.1:77")),
            (&[("x-forwarded-for", "2001:db8::1")], Some("2001:db8::1")),
            (&[("forwarded", "for=\"[2001:db8::1]:4711\"")], Some("[2001:db8::1]:4711")),
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "1.1.1.1")], Some("192.0.2.1")),
            // What the client has said itself comes first, and is not believed.
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            // A second proxy in front of the first.
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.9.9.9")], Some("192.0.2.1")),
            (&[("forwarded", "for=1.1.1.1, for=192.0.2.1, for=10.9.9.9")], Some("192.0.2.1")),
            // All the way within.
            (&[("x-forwarded-for", "10.0.0.2")], Some("10.0.0.2")),
            (&[("forwarded", "for=_hidden")], None),
            (&[("forwarded", "for=unknown, for=10.0.0.3")], None),
            (&[("x-forwarded-for", "nonsense")], None),
            (&[], Some("10.0.0.1:5")),
        ] {
            assert_eq!(client("10.0.0.1:5", headers).as_deref(), expected, "{headers:?}");
        }
        assert_eq!(
            client("a Unix socket", &[("x-forwarded-for", "192.0.2.1")]).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(client("a Unix socket", &[]), None);
    }

    #[test]
    fn guest_sees_the_client_and_the_scheme() {
        let (_, scheme, headers) = identify(
            "10.0.0.1:5",
            &[
                ("x-forwarded-for", "1.1.1.1, 192.0.2.1:9"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "x"),
            ],
        );
        assert_eq!(scheme, Some(Scheme::HTTPS));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-real-ip"], "x");
        assert!(!headers.contains_key(PROTO));
        let (_, scheme, headers) = identify("10.0.0.1:5", &[("forwarded", "for=_x;proto=HTTPS")]);
        assert_eq!(scheme, Some(Scheme::HTTPS));
        assert!(headers.is_empty(), "{headers:?}");
    }
}
