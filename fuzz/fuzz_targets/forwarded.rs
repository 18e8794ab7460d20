//! Arbitrary fields of a request: whatever a client makes up, it is taken for no other, and guests see nothing of it.
//!
//! The first byte says who is at the other end, and which headers are believed. The rest are fields, one in a line.
#![no_main]

mod fields;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use http::uri::Scheme;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

use linger_config::{Config, ProxyHeaders};
use linger_http::TrustedProxies;
use linger_http::fuzzing::identify;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// For each family, the proxies that write it.
static PROXIES: LazyLock<[TrustedProxies; 2]> = LazyLock::new(|| {
    ["x-forwarded", "forwarded"].map(|family| {
        let text = format!(
            "[[listeners]]\naddress = \"unix:a\"\ntrusted_proxies = [\"unix\", \"10.0.0.0/8\"]\n\
            proxy_headers = \"{family}\"\n[apps.a]\ncomponent = \"a.wasm\"\n"
        );
        let config = Config::parse(&text, "linger.toml".as_ref(), |_| None).expect("a configuration");
        let listener = &config.listeners[0];
        TrustedProxies { networks: listener.trusted_proxies.clone().into(), headers: listener.proxy_headers }
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    let proxies = &PROXIES[usize::from(how & 1)];
    let sent = fields::fields(data);
    stranger(sent.clone(), proxies);
    let peer = (how & 2 == 0).then(|| SocketAddr::from(([10, 0, 0, 1], 80)));
    let mut headers = sent.clone();
    let (client, _) = identify(peer, &mut headers, proxies);
    check(&headers, client.map(|client| client.ip.to_string()).as_deref(), proxies);
    behind_proxy(peer, sent, proxies);
});

/// A client that speaks for itself.
fn stranger(mut headers: HeaderMap, proxies: &TrustedProxies) {
    let peer = SocketAddr::from((CLIENT, 5));
    let (client, scheme) = identify(Some(peer), &mut headers, proxies);
    assert_eq!(client, Some(peer.into()));
    assert_eq!(scheme, None);
    check(&headers, Some(&CLIENT.to_string()), proxies);
    for name in headers.keys() {
        let name = name.as_str().replace('_', "-");
        assert!(name == "x-forwarded-for" || !name.starts_with("x-forwarded-"), "{name}");
        assert!(name != "x-real-ip", "{name}");
    }
}

/// A proxy that says who it is, in fields of its own behind those of its client.
fn behind_proxy(peer: Option<SocketAddr>, mut headers: HeaderMap, proxies: &TrustedProxies) {
    match proxies.headers {
        ProxyHeaders::Forwarded => {
            headers.append("forwarded", HeaderValue::from_static("for=192.0.2.7;proto=http"));
        }
        ProxyHeaders::XForwarded => {
            headers.append("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
            headers.append("x-forwarded-proto", HeaderValue::from_static("http"));
        }
    }
    let (client, scheme) = identify(peer, &mut headers, proxies);
    assert_eq!(client.map(|client| client.ip), Some(CLIENT.into()));
    assert_eq!(scheme, Some(Scheme::HTTP));
    check(&headers, Some(&CLIENT.to_string()), proxies);
}

/// What guests see of it.
fn check(headers: &HeaderMap, client: Option<&str>, proxies: &TrustedProxies) {
    let seen: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let expected: Vec<_> = client.into_iter().collect();
    assert_eq!(seen, expected);
    for name in ["forwarded", "x-forwarded-proto", "x-forwarded-ssl", "x-forwarded-scheme"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    for real in headers.get_all("x-real-ip") {
        assert_eq!(Some(real.as_bytes()), client.map(str::as_bytes));
    }
    if proxies.headers == ProxyHeaders::Forwarded {
        assert!(
            !headers
                .keys()
                .any(|name| name.as_str().starts_with("x-forwarded-") && name != "x-forwarded-for")
        );
    }
}
