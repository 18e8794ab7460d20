//! The admin listener, for operators.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{ListenAddress, unit};

/// The admin listener: deploys, rollbacks, metrics and the dashboard, separate from client traffic.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// The address: `IP:PORT` (port 0 takes a free one); `unix:PATH`, relative to the configuration's folder, for a
    /// socket that only its owner can use; or `systemd:NAME`.
    pub listen: ListenAddress,
    /// The token that requests must send as `authorization: Bearer TOKEN`. Required if other machines can reach the
    /// address.
    #[serde(default)]
    pub token: Option<AdminToken>,
    /// Size of an uploaded component. Beyond: 413.
    #[serde(default = "default_max_component_size", with = "unit::SizeSetting")]
    pub max_component_size: ByteSize,
}

/// A secret. Never printed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(example = "${LINGER_TOKEN}")]
pub struct AdminToken(String);

/// Shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

fn default_max_component_size() -> ByteSize {
    ByteSize::mib(256)
}

impl AdminConfig {
    /// An admin listener at this address, with defaults for everything else.
    #[must_use]
    pub fn at(listen: ListenAddress) -> Self {
        Self { listen, token: None, max_component_size: default_max_component_size() }
    }

    pub(super) fn complete(&mut self, folder: &Path) -> Result<(), String> {
        self.listen.complete(folder);
        self.check()
    }

    /// Whether it is safe to open.
    pub fn check(&self) -> Result<(), String> {
        match (&self.listen, &self.token) {
            (_, Some(AdminToken(token)))
                if token.len() < MIN_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Err(format!("`token` must have at least {MIN_TOKEN} printable ASCII characters"))
            }
            (ListenAddress::Tcp(address), None) if !address.ip().is_loopback() => {
                Err(format!("other machines can reach {address}; set a `token`, or listen on 127.0.0.1"))
            }
            (ListenAddress::Systemd(_), None) => {
                Err("other machines may reach a systemd socket; set a `token`, or listen on 127.0.0.1"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl AdminToken {
    /// The token itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Serialize for AdminToken {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str("***")
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(text: &str) -> Result<AdminConfig, String> {
        let mut admin: AdminConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        admin.complete(Path::new("/etc/linger"))?;
        Ok(admin)
    }

    #[test]
    fn what_others_can_reach_needs_a_token() {
        assert!(admin("listen = '127.0.0.1:0'").is_ok());
        assert!(admin("listen = '[::1]:9'").is_ok());
        assert!(admin("listen = '0.0.0.0:9'").unwrap_err().contains("set a `token`"));
        assert!(admin("listen = 'systemd:admin'").unwrap_err().contains("set a `token`"));
        assert!(admin("listen = '0.0.0.0:9'\ntoken = 'short'").unwrap_err().contains("at least 16"));
        assert!(admin("listen = '0.0.0.0:9'\ntoken = '0123456789abcdef'").is_ok());
    }

    #[test]
    fn socket_is_in_the_folder_of_the_configuration() {
        let AdminConfig { listen, .. } = admin("listen = 'unix:admin.sock'").unwrap();
        assert_eq!(listen, ListenAddress::Unix("/etc/linger/admin.sock".into()));
        assert!(admin("listen = 'localhost'").unwrap_err().contains("invalid address"));
    }

    #[test]
    fn token_is_not_printed() {
        let admin = admin("listen = '127.0.0.1:0'\ntoken = '0123456789abcdef'").unwrap();
        assert!(!format!("{admin:?}").contains("0123"));
        assert!(!toml::to_string(&admin).unwrap().contains("0123"));
    }
}
