//! Access control of the admin listener.

use http::uri::Authority;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

use linger_config::{AdminConfig, ListenAddress};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessRefusal {
    /// It does not bring the token.
    NoToken,
    /// A web page of another origin sent it.
    Browser,
    /// It asks for a hostname that is not this machine's, as in DNS rebinding.
    ForeignHost,
}

/// Whether a request may be answered.
pub(super) fn check(config: &AdminConfig, headers: &HeaderMap) -> Result<(), AccessRefusal> {
    if !is_of_own_page(headers) {
        return Err(AccessRefusal::Browser);
    }
    match &config.token {
        Some(token) if bearer(headers).is_some_and(|given| same(given, token.reveal())) => Ok(()),
        Some(_) => Err(AccessRefusal::NoToken),
        // Without a token it is of this machine alone.
        None if matches!(config.listen, ListenAddress::Unix(_)) || is_local(headers) => Ok(()),
        None => Err(AccessRefusal::ForeignHost),
    }
}

/// Whether it does not come from a page in a browser, or from one of this listener. A page cannot say that it is another's.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    host.is_some_and(|host| headers.get(header::HOST).is_some_and(|asked| asked.as_bytes() == host))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// In a time that tells nothing of the token: how far two digests agree is nobody's to choose.
fn same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> AdminConfig {
        toml::from_str(text).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn token_opens_and_nothing_else_does() {
        let config = config("listen = '0.0.0.0:1'\ntoken = '0123456789abcdef'");
        let check = |value| check(&config, &headers(&[("host", "example.org"), ("authorization", value)]));
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(check("bearer  0123456789abcdef"), Ok(()));
        for wrong in ["Bearer 0123456789abcdeg", "Bearer", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(check(wrong), Err(AccessRefusal::NoToken), "{wrong}");
        }
        assert_eq!(super::check(&config, &headers(&[("host", "localhost")])), Err(AccessRefusal::NoToken));
    }

    #[test]
    fn without_a_token_only_local_names_are_answered() {
        let config = config("listen = '127.0.0.1:1'");
        let check = |host| check(&config, &headers(&[("host", host)]));
        for local in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
            assert_eq!(check(local), Ok(()), "{local}");
        }
        assert_eq!(check("rebound.example:1"), Err(AccessRefusal::ForeignHost));
        assert_eq!(super::check(&config, &headers(&[])), Err(AccessRefusal::ForeignHost));
    }

    #[test]
    fn pages_are_not_answered() {
        let config = config("listen = '127.0.0.1:1'");
        for other in ["http://localhost:8080", "http://example.org", "null", ""] {
            let headers = headers(&[("host", "localhost"), ("origin", other)]);
            assert_eq!(check(&config, &headers), Err(AccessRefusal::Browser), "{other}");
        }
        // But for the one of this listener, under a name of this machine.
        let own = |host: &str| headers(&[("host", host), ("origin", &format!("http://{host}"))]);
        assert_eq!(check(&config, &own("localhost:1")), Ok(()));
        assert_eq!(check(&config, &own("rebound.example:1")), Err(AccessRefusal::ForeignHost));
    }
}
