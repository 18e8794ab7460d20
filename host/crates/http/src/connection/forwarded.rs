//! The headers in which proxies name their clients. Pure.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use http::uri::Scheme;

use linger_base::ClientAddress;

/// Who has asked a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedHop {
    /// None: the proxy does not say, or not so that it can be read.
    pub(crate) client: Option<ClientAddress>,
    /// By which scheme, if it says that.
    pub(crate) scheme: Option<Scheme>,
}

/// What `forwarded` says (RFC 7239): the hop nearest to this server last.
///
/// Each line is read by itself: a client that leaves a string open cannot hide what a proxy adds in a line of its own.
pub(crate) fn forwarded<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Vec<ForwardedHop> {
    let mut hops = Vec::new();
    for line in lines {
        let mut reader = ForwardedParser { rest: line.as_bytes() };
        while !reader.rest.is_empty() {
            match reader.element() {
                Ok(None) => {}
                Ok(Some(hop)) => hops.push(hop),
                Err(MalformedForwarded) => {
                    hops.push(ForwardedHop::default());
                    reader.skip_element();
                }
            }
        }
    }
    hops
}

/// What `x-forwarded-for` and `x-forwarded-proto` say: the hop nearest to this server last.
///
/// Each proxy adds to both or sets them anew, so that they are read from the end side by side. Where there are fewer schemes than
/// addresses, the first one is that of all hops before it.
pub(crate) fn x_forwarded<'a>(
    addresses: impl Iterator<Item = &'a HeaderValue>,
    schemes: impl Iterator<Item = &'a HeaderValue>,
) -> Vec<ForwardedHop> {
    let schemes: Vec<_> = schemes.flat_map(members).map(scheme).collect();
    let mut hops: Vec<_> = addresses
        .flat_map(members)
        .map(|text| ForwardedHop { client: address(text), scheme: None })
        .collect();
    for (distance, hop) in hops.iter_mut().rev().enumerate() {
        hop.scheme = from_the_end(&schemes, distance);
    }
    hops
}

/// The scheme of the last hop, which is all that is said if no address is.
pub(crate) fn last_scheme<'a>(schemes: impl Iterator<Item = &'a HeaderValue>) -> Option<Scheme> {
    schemes.flat_map(members).last().and_then(scheme)
}

fn from_the_end(schemes: &[Option<Scheme>], distance: usize) -> Option<Scheme> {
    schemes.get(schemes.len().saturating_sub(distance + 1))?.clone()
}

/// The members of a list, of which empty ones mean nothing (RFC 9110, section 5.6.1).
fn members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// By which scheme a client came, where only these are told apart. Some proxies tell those that change to WebSocket from others.
fn scheme(text: &[u8]) -> Option<Scheme> {
    let is = |names: [&str; 2]| names.iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()));
    match () {
        () if is(["https", "wss"]) => Some(Scheme::HTTPS),
        () if is(["http", "ws"]) => Some(Scheme::HTTP),
        () => None,
    }
}

/// An address, with a port or without: of version 6 in brackets, as it has to be in `forwarded`, or bare, as `x-forwarded-for`
/// has it. A port may have a made-up name, which says nothing.
fn address(text: &[u8]) -> Option<ClientAddress> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let (ip, port) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']')?,
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => (ip, &text[text.len() - port.len() - 1..]),
            _ => (text, ""),
        },
    };
    let named = port.is_empty() || port.starts_with(":_");
    ip.parse::<IpAddr>().ok().filter(|_| named).map(Into::into)
}

/// The text is none of RFC 7239.
struct MalformedForwarded;

/// Reads a line of `forwarded`.
struct ForwardedParser<'a> {
    rest: &'a [u8],
}

impl<'a> ForwardedParser<'a> {
    /// The next element, and the comma behind it. None: it is empty.
    fn element(&mut self) -> Result<Option<ForwardedHop>, MalformedForwarded> {
        let (mut client, mut scheme_of) = (None, None);
        let mut is_empty = true;
        loop {
            self.skip_spaces();
            match self.rest.first() {
                None | Some(b',') => break,
                Some(b';') => self.rest = &self.rest[1..],
                Some(_) => {
                    let (name, value) = self.pair()?;
                    let place = match () {
                        () if name.eq_ignore_ascii_case(b"for") => &mut client,
                        () if name.eq_ignore_ascii_case(b"proto") => &mut scheme_of,
                        () => &mut None,
                    };
                    // Not twice: who is to say which one counts?
                    if place.replace(value).is_some() {
                        return Err(MalformedForwarded);
                    }
                }
            }
            is_empty = false;
        }
        self.rest = self.rest.get(1..).unwrap_or_default();
        let hop = ForwardedHop {
            client: client.and_then(|text| address(&text)),
            scheme: scheme_of.and_then(|text| scheme(&text)),
        };
        Ok((!is_empty).then_some(hop))
    }

    /// A name and its value, and nothing but spaces behind it in its part of the element.
    fn pair(&mut self) -> Result<(&'a [u8], Vec<u8>), MalformedForwarded> {
        let name = self.take_while(is_token);
        if name.is_empty() || self.rest.first() != Some(&b'=') {
            return Err(MalformedForwarded);
        }
        self.rest = &self.rest[1..];
        let value = match self.rest.first() {
            Some(b'"') => self.quoted()?,
            // Not only what a token has: many proxies write ports and IPv6 without quotes.
            _ => match self.take_while(|byte| is_token(byte) || b":[]".contains(&byte)) {
                b"" => return Err(MalformedForwarded),
                value => value.to_vec(),
            },
        };
        self.skip_spaces();
        match self.rest.first() {
            None | Some(b',' | b';') => Ok((name, value)),
            _ => Err(MalformedForwarded),
        }
    }

    /// A string in quotes, which has any character, `"` and `\` behind a `\`.
    fn quoted(&mut self) -> Result<Vec<u8>, MalformedForwarded> {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((at, &byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                b'\\' => text.push(*bytes.next().ok_or(MalformedForwarded)?.1),
                byte => text.push(byte),
            }
        }
        Err(MalformedForwarded)
    }

    /// To the end of an element that is malformed: the next comma that is in no string.
    fn skip_element(&mut self) {
        while let Some((&byte, rest)) = self.rest.split_first() {
            if byte == b'"' {
                if self.quoted().is_err() {
                    self.rest = &[];
                }
                continue;
            }
            self.rest = rest;
            if byte == b',' {
                break;
            }
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take_while(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !is(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

/// Whether it is of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(lines: &[&str]) -> Vec<HeaderValue> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    /// Each hop as `client scheme`.
    fn written(hops: &[ForwardedHop]) -> Vec<String> {
        let client = |hop: &ForwardedHop| hop.client.map_or("?".to_owned(), |client| client.to_string());
        let scheme = |hop: &ForwardedHop| hop.scheme.as_ref().map_or("?".to_owned(), ToString::to_string);
        hops.iter().map(|hop| format!("{} {}", client(hop), scheme(hop))).collect()
    }

    fn read(lines: &[&str]) -> Vec<String> {
        written(&forwarded(values(lines).iter()))
    }

    #[test]
    fn forwarded_is_read_as_it_is_defined() {
        for (line, expected) in [
            ("for=192.0.2.1", &["192.0.2.1 ?"][..]),
            ("For=\"[2001:db8::17]:4711\"", &["[2001:db8::17]:4711 ?"]),
            ("for=192.0.2.1;proto=http;by=203.0.113.43", &["192.0.2.1 http"]),
            ("for=192.0.2.43, for=198.51.100.17", &["192.0.2.43 ?", "198.51.100.17 ?"]),
            ("by=a;PROTO=HTTPS;for=192.0.2.1", &["192.0.2.1 https"]),
            ("for=_hidden;proto=https", &["? https"]),
            ("for=unknown, proto=http", &["? ?", "? http"]),
            // Strings hold commas, semicolons and quotes.
            ("for=192.0.2.1;host=\"a, for=6.6.6.6;proto=http, \\\"b\";proto=https", &["192.0.2.1 https"]),
            ("for=\"192.0.2.1\";ext=\"\\\\\", for=192.0.2.2", &["192.0.2.1 ?", "192.0.2.2 ?"]),
            ("for=\"\\1\\92.0.2.1\"", &["192.0.2.1 ?"]),
            ("for=\"192.0.2.1:_port\", for=\"[2001:db8::1]:_x\"", &["192.0.2.1 ?", "2001:db8::1 ?"]),
            // Members of a list, and pairs of an element, may be empty.
            ("for=192.0.2.1,", &["192.0.2.1 ?"]),
            (" , ,for=192.0.2.1 ,\t,", &["192.0.2.1 ?"]),
            ("for=192.0.2.1;;proto=http;", &["192.0.2.1 http"]),
            (";", &["? ?"]),
            ("for=\"\";proto=http", &["? http"]),
            ("", &[]),
            // What nobody should write, and some do.
            ("for=192.0.2.1:80;proto=https", &["192.0.2.1:80 https"]),
            ("for=[2001:db8::1] ; proto=https", &["2001:db8::1 https"]),
            ("for=\"2001:db8::1\"", &["2001:db8::1 ?"]),
        ] {
            assert_eq!(read(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn what_is_malformed_names_nobody() {
        for line in [
            "192.0.2.1",
            "for",
            "for=",
            "=192.0.2.1",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for=192.0.2.1 proto=http",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "for=\"192.0.2.1\"x",
            "for=\"192.0.2.1\"\"\"",
            "for=192.0.2.1\u{e4}",
            "for=192.0.2.256",
            "for=\"192.0.2.1:99999\"",
            "for=\"[192.0.2.1\"",
            "for=\"[2001:db8::1]x\"",
        ] {
            let hops = read(&[line]);
            assert!(hops.iter().all(|hop| hop.starts_with('?')) && hops.len() == 1, "{line}: {hops:?}");
        }
        // Nor does it hide what is behind it, unless a string is open.
        assert_eq!(read(&["nonsense, for=192.0.2.1"]), ["? ?", "192.0.2.1 ?"]);
        assert_eq!(read(&["x=\"a\"b\"c,d\"e, for=192.0.2.1"]), ["? ?", "192.0.2.1 ?"]);
        assert_eq!(read(&["for=6.6.6.6, for=\", for=192.0.2.1"]), ["6.6.6.6 ?", "? ?"]);
        assert_eq!(read(&["for=6.6.6.6;x=\", for=\"[2001:db8::1]\""]), ["? ?"]);
        assert_eq!(read(&["for=6.6.6.6;x=\"", "for=192.0.2.1"]), ["? ?", "192.0.2.1 ?"]);
    }

    #[test]
    fn scheme_is_that_of_the_same_hop() {
        for (addresses, schemes, expected) in [
            (&["192.0.2.1"][..], &["https"][..], &["192.0.2.1 https"][..]),
            (&["192.0.2.1, 10.0.0.2"], &["https,http"], &["192.0.2.1 https", "10.0.0.2 http"]),
            (&["192.0.2.1", "10.0.0.2"], &["https", "HTTP"], &["192.0.2.1 https", "10.0.0.2 http"]),
            // One that sets it anew.
            (&["6.6.6.6, 192.0.2.1"], &["https"], &["6.6.6.6 https", "192.0.2.1 https"]),
            // What the client has made up is first.
            (&["192.0.2.1"], &["https, http"], &["192.0.2.1 http"]),
            (&["192.0.2.1,", ""], &[" ,https, "], &["192.0.2.1 https"]),
            (&["192.0.2.1:7 ,\t[2001:db8::1]"], &["wss"], &["192.0.2.1:7 https", "2001:db8::1 https"]),
            (&["unknown"], &["gopher"], &["? ?"]),
            (&["192.0.2.1"], &[], &["192.0.2.1 ?"]),
            (&[], &["https"], &[]),
        ] {
            let (addresses, schemes) = (values(addresses), values(schemes));
            let hops = x_forwarded(addresses.iter(), schemes.iter());
            assert_eq!(written(&hops), expected, "{addresses:?} {schemes:?}");
        }
        assert_eq!(last_scheme(values(&["https, http,"]).iter()), Some(Scheme::HTTP));
        assert_eq!(last_scheme(values(&["https, nothing"]).iter()), None);
    }

    /// A line of a header that a client might send.
    fn line() -> impl Strategy<Value = String> {
        let part = prop_oneof!["[,;= \"\\\\]", "for=", "proto=https", "6\\.6\\.6\\.6", "[a-z\u{e4}]{1,3}"];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(address: SocketAddr, text in "[ -~]{0,20}", secure: bool) {
            let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("for=\"{address}\";host=\"{quoted}\";proto={scheme}");
            let client = ClientAddress::from(SocketAddr::new(address.ip(), address.port()));
            let hops = forwarded(values(&[&line, &line]).iter());
            prop_assert_eq!(hops, vec![ForwardedHop { client: Some(client), scheme: Some(scheme) }; 2]);
        }

        #[test]
        fn client_does_not_change_what_a_proxy_adds(line in line()) {
            let added = "192.0.2.7 http";
            let apart = read(&[&line, "for=192.0.2.7;proto=http"]);
            prop_assert_eq!(apart.last().map(String::as_str), Some(added));
            let behind = read(&[&format!("{line}, for=192.0.2.7;proto=http")]);
            let last = behind.last().map(String::as_str);
            prop_assert!(last == Some(added) || last == Some("? ?"), "{:?}", last);
            let (addresses, schemes) =
                (values(&[&format!("{line},192.0.2.7")]), values(&[&format!("{line}, http")]));
            let hops = written(&x_forwarded(addresses.iter(), schemes.iter()));
            prop_assert_eq!(hops.last().map(String::as_str), Some(added));
        }
    }
}
