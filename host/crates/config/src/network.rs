//! Networks of trusted proxies.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The network of a trusted proxy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", example = "10.0.0.0/8", example = "192.0.2.7", example = &"unix")]
pub enum TrustedNetwork {
    /// An address, or a range of addresses: `10.0.0.0/8`.
    Ip(IpNet),
    /// Every peer of the Unix socket: `unix`.
    Unix,
}

impl TrustedNetwork {
    /// Whether a connection from this address belongs to the network. `None` is a Unix socket.
    #[must_use]
    pub fn contains(&self, from: Option<IpAddr>) -> bool {
        match (self, from) {
            (Self::Ip(network), Some(address)) => network.contains(&address.to_canonical()),
            (Self::Unix, None) => true,
            _ => false,
        }
    }
}

impl TryFrom<String> for TrustedNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "unix" => Ok(Self::Unix),
            _ => {
                text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map(Self::Ip).map_err(
                    |_| format!("`{text}` is not a network; write `10.0.0.0/8`, `192.0.2.7` or `unix`"),
                )
            }
        }
    }
}

impl fmt::Display for TrustedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for TrustedNetwork {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_has_its_addresses_and_no_others() {
        let has = |network: &str, address: &str| {
            TrustedNetwork::try_from(network.to_owned()).unwrap().contains(address.parse().ok())
        };
        assert!(has("10.0.0.0/8", "10.200.0.1"));
        assert!(has("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(!has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("192.0.2.7", "192.0.2.7"));
        assert!(!has("192.0.2.7", "192.0.2.8"));
        assert!(has("2001:db8::/32", "2001:db8::1"));
        assert!(has("unix", ""));
        assert!(!has("unix", "127.0.0.1"));
        assert!(!has("0.0.0.0/0", ""));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(
                TrustedNetwork::try_from(text.to_owned()).unwrap_err().contains("not a network"),
                "{text}"
            );
        }
    }
}
