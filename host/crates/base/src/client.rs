//! The address of a client, as far as it is known. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Reason;

/// Whoever is at the other end of a connection.
pub trait ClientProbe: fmt::Debug + Send + Sync {
    /// How the client has left, if it has, as far as the kernel knows. Does not block.
    fn ask_departure(&self) -> Option<Reason>;
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Its port, if that is known.
    pub port: Option<u16>,
}

impl ClientAddress {
    /// What counts as one client: an address, or a /64 network of IPv6, of which a client has all.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        match self.ip {
            IpAddr::V4(_) => self.ip,
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        }
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip().to_canonical(), port: Some(address.port()) }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(ip: IpAddr) -> Self {
        Self { ip: ip.to_canonical(), port: None }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => match self.ip {
                IpAddr::V4(ip) => put_v4(f, ip, port),
                IpAddr::V6(_) => SocketAddr::new(self.ip, port).fmt(f),
            },
            None => self.ip.fmt(f),
        }
    }
}

/// In one piece: the log of requests has one of these in each line, and the standard library writes it in nine.
fn put_v4(f: &mut fmt::Formatter<'_>, ip: Ipv4Addr, port: u16) -> fmt::Result {
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for octet in ip.octets() {
        text.push_str(itoa::Buffer::new().format(octet));
        text.push('.');
    }
    text.pop();
    text.push(':');
    text.push_str(itoa::Buffer::new().format(port));
    f.write_str(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn client_has_a_whole_network_of_ipv6() {
        let network = |ip: &str| ClientAddress::from(ip.parse::<IpAddr>().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn address_is_written_as_ever(address in any::<SocketAddr>()) {
            let client = ClientAddress { ip: address.ip(), port: Some(address.port()) };
            prop_assert_eq!(client.to_string(), SocketAddr::new(address.ip(), address.port()).to_string());
        }
    }
}
