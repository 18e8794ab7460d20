//! The address of a client: that of its connection or, behind a trusted proxy, the one that the proxy names.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::FORWARDED;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue};

use linger_base::ClientAddress;
use linger_config::{ProxyHeaders, TrustedNetwork};

use crate::connection::forwarded::{ForwardedHop, forwarded, last_scheme, x_forwarded};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The proxies in front of a listener.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    /// From where they come.
    pub networks: Arc<[TrustedNetwork]>,
    /// In which headers they name their clients.
    pub headers: ProxyHeaders,
}

impl TrustedProxies {
    pub(crate) fn contain(&self, from: Option<IpAddr>) -> bool {
        self.networks.iter().any(|network| network.contains(from))
    }

    /// Who has asked each of them, the nearest to this server last, and the scheme where no address is named.
    fn told(&self, headers: &HeaderMap) -> (Vec<ForwardedHop>, Option<Scheme>) {
        let lines = |name| headers.get_all(name).iter();
        match self.headers {
            ProxyHeaders::Forwarded => (forwarded(lines(FORWARDED)), None),
            ProxyHeaders::XForwarded => (x_forwarded(lines(FOR), lines(PROTO)), last_scheme(lines(PROTO))),
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionPeer {
    /// Where it is. None: a Unix socket, or a proxy that does not say.
    address: Option<ClientAddress>,
    /// What guests are told of it, made once for all requests of the connection.
    header: Option<HeaderValue>,
    /// Whether it is a proxy that is believed.
    trusted: bool,
}

impl ConnectionPeer {
    pub(crate) fn new(address: Option<ClientAddress>, proxies: &TrustedProxies) -> Self {
        Self { trusted: proxies.contain(address.map(|address| address.ip)), ..Self::stranger(address) }
    }

    /// Who is not believed, wherever it is.
    pub(crate) fn stranger(address: Option<ClientAddress>) -> Self {
        Self { address, header: address.map(to_header), trusted: false }
    }

    /// Whom the header of the PROXY protocol names, for which nobody speaks any more.
    pub(crate) fn behind_proxy(address: Option<ClientAddress>, proxies: &TrustedProxies) -> Self {
        // Without an address it is the proxy itself that speaks, and of nobody.
        if address.is_some() { Self::new(address, proxies) } else { Self::stranger(None) }
    }

    /// Where it is, if that is known.
    pub(crate) fn address(&self) -> Option<ClientAddress> {
        self.address
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Finds out who has sent a request, and by which scheme if that is known, and has its headers say so: `x-forwarded-for`
    /// is the client's address, and nothing that a client has made up stays.
    pub(crate) fn identify(
        &self,
        headers: &mut HeaderMap,
        proxies: &TrustedProxies,
    ) -> (Option<ClientAddress>, Option<Scheme>) {
        let (mut client, mut scheme) = (self.address, None);
        // Nearly no request has one.
        if headers.keys().any(|name| HeaderSubject::of(name.as_str()).is_some()) {
            if self.trusted {
                (client, scheme) = first_stranger(self.address, proxies, headers);
            }
            self.clean(headers, proxies);
            if headers.contains_key(REAL_IP) {
                // Its proxy wants the guest to know, and may have passed on what its client has made up.
                headers.remove(REAL_IP);
                client.map(|client| headers.insert(REAL_IP, to_header(client)));
            }
        }
        let header = if client == self.address { self.header.clone() } else { client.map(to_header) };
        if let Some(header) = header {
            headers.insert(FOR, header);
        }
        (client, scheme)
    }

    /// Takes out what is not to be believed, or was.
    fn clean(&self, headers: &mut HeaderMap, proxies: &TrustedProxies) {
        let goes = |name: &&HeaderName| match HeaderSubject::of(name.as_str()) {
            None => false,
            Some(HeaderSubject::Host) => true,
            Some(HeaderSubject::Family) => !self.trusted || proxies.headers != ProxyHeaders::XForwarded,
            Some(HeaderSubject::Proxy) => !self.trusted,
        };
        let names: Vec<_> = headers.keys().filter(goes).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// Whose matter it is what a header says of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderSubject {
    /// The host's, which says it in its own way: the address and the scheme.
    Host,
    /// The proxy's, in the family of `x-forwarded-for`.
    Family,
    /// The proxy's, in a name of its own.
    Proxy,
}

impl HeaderSubject {
    /// None: it says nothing of who sent it, or nothing that proxies say for their clients.
    fn of(name: &str) -> Option<Self> {
        if name.contains('_') {
            // For many a guest it is the same with a dash. No proxy writes it so.
            return Self::of(&name.replace('_', "-")).map(|_| Self::Host);
        }
        Some(match name {
            "forwarded"
            | "forwarded-for"
            | "x-forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-protocol"
            | "x-forwarded-scheme"
            | "x-forwarded-ssl"
            | "x-url-scheme"
            | "x-scheme"
            | "front-end-https" => Self::Host,
            "x-real-ip"
            | "x-client-ip"
            | "client-ip"
            | "true-client-ip"
            | "x-cluster-client-ip"
            | "x-original-forwarded-for"
            | "x-envoy-external-address"
            | "cf-connecting-ip"
            | "cf-connecting-ipv6"
            | "cf-pseudo-ipv4"
            | "fastly-client-ip"
            | "fly-client-ip"
            | "x-azure-clientip"
            | "x-azure-socketip"
            | "x-appengine-user-ip"
            | "client-cert"
            | "client-cert-chain" => Self::Proxy,
            _ if name.starts_with("x-forwarded-") => Self::Family,
            _ => return None,
        })
    }
}

fn to_header(client: ClientAddress) -> HeaderValue {
    // What addresses are written with is allowed in headers.
    HeaderValue::from_str(&client.ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The nearest that is not a proxy to be believed: what it says of others is made up, for all that is known. And by which scheme
/// it came.
fn first_stranger(
    peer: Option<ClientAddress>,
    proxies: &TrustedProxies,
    headers: &HeaderMap,
) -> (Option<ClientAddress>, Option<Scheme>) {
    let (hops, scheme) = proxies.told(headers);
    let mut found = (peer, scheme);
    for hop in hops.into_iter().rev() {
        let goes_on = hop.client.is_some_and(|client| proxies.contain(Some(client.ip)));
        found = (hop.client, hop.scheme);
        if !goes_on {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn proxies(headers: ProxyHeaders) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "unix"].map(|text| TrustedNetwork::try_from(text.to_owned()).unwrap());
        TrustedProxies { networks: networks.into(), headers }
    }

    /// Who has sent a request with these headers, the scheme, and what the guest sees.
    fn identify_by(
        family: ProxyHeaders,
        peer: &str,
        pairs: &[(&str, &str)],
    ) -> (Option<String>, Option<Scheme>, HeaderMap) {
        let peer = peer.parse::<SocketAddr>().ok().map(ClientAddress::from);
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let proxies = proxies(family);
        let (client, scheme) = ConnectionPeer::new(peer, &proxies).identify(&mut headers, &proxies);
        (client.map(|client| client.to_string()), scheme, headers)
    }

    fn identify(peer: &str, pairs: &[(&str, &str)]) -> (Option<String>, Option<Scheme>, HeaderMap) {
        identify_by(ProxyHeaders::XForwarded, peer, pairs)
    }

    #[test]
    fn stranger_cannot_say_that_it_is_another() {
        let forged = [
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded-scheme", "https"),
            ("x-forwarded-user", "root"),
            ("x-forwarded-made-up", "x"),
            ("X_Forwarded_For", "1.1.1.1"),
            ("x_real-ip", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-client-ip", "1.1.1.1"),
            ("true-client-ip", "1.1.1.1"),
            ("cf-connecting-ip", "1.1.1.1"),
            ("front-end-https", "on"),
            ("client-cert", ":AA==:"),
            ("accept", "*/*"),
            ("x-request-id", "7"),
            ("x_own", "7"),
        ];
        for family in [ProxyHeaders::XForwarded, ProxyHeaders::Forwarded] {
            let (client, scheme, headers) = identify_by(family, "192.0.2.1:5", &forged);
            assert_eq!(client.as_deref(), Some("192.0.2.1:5"));
            assert_eq!(scheme, None);
            assert_eq!(headers.len(), 4, "{headers:?}");
            assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        }
    }

    #[test]
    fn proxy_names_its_client() {
        for (headers, expected) in [
            (&[("x-forwarded-for", "192.0.2.1")][..], Some("192.0.2.1")),
            (&[("x-forwarded-for", "192.0.2.1:77")], Some("192.0.2.1:77")),
            (&[("x-forwarded-for", "2001:db8::1")], Some("2001:db8::1")),
            // What the client has said itself comes first, and is not believed.
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "192.0.2.1,")], Some("192.0.2.1")),
            // Nor is the other family.
            (&[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "192.0.2.1")], Some("192.0.2.1")),
            (&[("forwarded", "for=1.1.1.1")], Some("10.0.0.1:5")),
            // A second proxy in front of the first.
            (&[("x-forwarded-for", "1.1.1.1, 192.0.2.1, 10.9.9.9")], Some("192.0.2.1")),
            // All the way within.
            (&[("x-forwarded-for", "10.0.0.2")], Some("10.0.0.2")),
            (&[("x-forwarded-for", "nonsense")], None),
            (&[], Some("10.0.0.1:5")),
        ] {
            assert_eq!(identify("10.0.0.1:5", headers).0.as_deref(), expected, "{headers:?}");
        }
        let socket = "a Unix socket";
        assert_eq!(identify(socket, &[("x-forwarded-for", "192.0.2.1")]).0.as_deref(), Some("192.0.2.1"));
        assert_eq!(identify(socket, &[]).0, None);
    }

    #[test]
    fn proxy_names_its_client_in_the_other_family() {
        for (headers, expected) in [
            (&[("forwarded", "for=\"[2001:db8::1]:4711\"")][..], Some("[2001:db8::1]:4711")),
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "1.1.1.1")], Some("192.0.2.1")),
            (&[("x-forwarded-for", "1.1.1.1")], Some("10.0.0.1:5")),
            (&[("forwarded", "for=1.1.1.1, for=192.0.2.1, for=10.9.9.9")], Some("192.0.2.1")),
            (&[("forwarded", "for=192.0.2.1;host=\"a,for=1.1.1.1\"")], Some("192.0.2.1")),
            (&[("forwarded", "for=_hidden")], None),
            (&[("forwarded", "for=unknown, for=10.0.0.3")], None),
        ] {
            let (client, _, left) = identify_by(ProxyHeaders::Forwarded, "10.0.0.1:5", headers);
            assert_eq!(client.as_deref(), expected, "{headers:?}");
            assert!(left.keys().all(|name| name == FOR), "{left:?}");
        }
    }

    #[test]
    fn scheme_is_that_of_the_hop_that_gave_the_address() {
        let of = |family, name, text: &str| {
            identify_by(family, "10.0.0.1:5", &[("x-forwarded-for", "192.0.2.1, 10.0.0.2"), (name, text)]).1
        };
        let elsewhere = |text| of(ProxyHeaders::Forwarded, "forwarded", text);
        assert_eq!(elsewhere("for=192.0.2.1;proto=https, for=10.0.0.2;proto=http"), Some(Scheme::HTTPS));
        assert_eq!(elsewhere("for=192.0.2.1;proto=http, for=10.0.0.2;proto=https"), Some(Scheme::HTTP));
        assert_eq!(elsewhere("for=1.1.1.1;proto=https, for=192.0.2.1, for=10.0.0.2;proto=https"), None);
        let usual = |text| of(ProxyHeaders::XForwarded, "x-forwarded-proto", text);
        assert_eq!(usual("https,http"), Some(Scheme::HTTPS));
        assert_eq!(usual("https, http, https"), Some(Scheme::HTTP));
        assert_eq!(usual("https"), Some(Scheme::HTTPS));
        assert_eq!(identify("10.0.0.1:5", &[("x-forwarded-proto", "http, https")]).1, Some(Scheme::HTTPS));
    }

    #[test]
    fn guest_sees_the_client_and_the_scheme() {
        let said = [
            ("x-forwarded-for", "1.1.1.1, 192.0.2.1:9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.org"),
            ("x-forwarded-ssl", "off"),
            ("cf-connecting-ip", "192.0.2.9"),
            ("x-real-ip", "1.1.1.1"),
        ];
        let (_, scheme, headers) = identify("10.0.0.1:5", &said);
        assert_eq!(scheme, Some(Scheme::HTTPS));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-real-ip"], "192.0.2.1");
        // What is the proxy's matter.
        assert_eq!(headers["x-forwarded-host"], "example.org");
        assert_eq!(headers["cf-connecting-ip"], "192.0.2.9");
        assert_eq!(headers.len(), 4, "{headers:?}");
        // Of whom nobody speaks, nothing is said.
        let said = [("x-forwarded-for", "unknown"), ("x-real-ip", "1.1.1.1"), ("x-forwarded-proto", "HTTPS")];
        let (_, scheme, headers) = identify("10.0.0.1:5", &said);
        assert_eq!(scheme, Some(Scheme::HTTPS));
        assert!(headers.is_empty(), "{headers:?}");
    }
}
