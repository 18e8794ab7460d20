//! The address of a listener.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(example = "127.0.0.1:8080", example = "unix:linger.sock", example = "systemd:web")]
pub enum ListenAddress {
    /// TCP: `IP:PORT`; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket: `unix:PATH`.
    Unix(PathBuf),
    /// Sockets opened by systemd under this name: `systemd:NAME`.
    Systemd(String),
}

impl ListenAddress {
    /// Relative paths start from `folder`.
    pub(super) fn complete(&mut self, folder: &Path) {
        if let Self::Unix(path) = self {
            *path = folder.join(&*path);
        }
    }
}

impl std::str::FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((kind @ ("unix" | "systemd"), "")) => {
                Err(format!("`{kind}:` needs a {} after it", if kind == "unix" { "path" } else { "name" }))
            }
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("systemd", name)) => Ok(Self::Systemd(name.to_owned())),
            // Not the text itself: a part of it may be a variable's value.
            _ => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "invalid address; write `IP:PORT`, `unix:PATH` or `systemd:NAME`".to_owned()),
        }
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:a/b:c.sock", "systemd:web"] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "localhost:80", "80", "unix:", "systemd:", "tcp:1.2.3.4:5"] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.contains("invalid address") || error.contains("after it"), "{text}: {error}");
        }
    }
}
