//! What the commands for operators have in common: where the admin listener is.

use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use crate::admin::client::{Sent, exchange, succeeded};
use crate::config::Address;
use crate::events::NewEvent;

/// Which server is meant.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The admin listener of the server: IP:PORT or unix:PATH
    #[arg(long = "admin", value_name = "ADDRESS", env = "LINGER_ADMIN", default_value = "127.0.0.1:9070")]
    address: Address,

    /// The file with the listener's token, if it wants one
    #[arg(long, value_name = "FILE", env = "LINGER_TOKEN_FILE")]
    token_file: Option<std::path::PathBuf>,
}

impl Server {
    /// Fails if the server has no app of this name.
    pub(super) fn find(&self, app: &str) -> anyhow::Result<()> {
        let found = self.ask(http::Method::GET, "/apps", Sent::default())?;
        let apps = found["apps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names = apps.iter().filter_map(|app| app["app"].as_str());
        if names.any(|name| name == app) {
            return Ok(());
        }
        let known: Vec<_> =
            apps.iter().map(|app| format!("`{}`", app["app"].as_str().unwrap_or("?"))).collect();
        anyhow::bail!("there is no app `{app}`; there is {}", known.join(", "))
    }

    /// Asks for something to be done with an app, and gives the record of the generation that it was done with.
    pub(super) fn tell(&self, app: &str, what: &str) -> anyhow::Result<Value> {
        self.find(app)?;
        self.ask(http::Method::POST, &format!("/apps/{app}/{what}"), Sent::default())
    }

    /// Has an event stored, and gives what the answer says under this key.
    pub(super) fn store(&self, path: &str, event: NewEvent, key: &str) -> anyhow::Result<String> {
        let NewEvent { data, content_type } = event;
        let sent = Sent { bytes: data, content_type, ..Sent::default() };
        let answer = self.ask(http::Method::POST, path, sent)?;
        Ok(answer[key].as_str().unwrap_or("?").to_owned())
    }

    /// Asks for something, and gives what an answer of JSON says. Fails if it is not one of success.
    pub(super) fn ask(&self, method: http::Method, path: &str, sent: Sent) -> anyhow::Result<Value> {
        let answer = succeeded(self.exchange(method, path, sent)?)?;
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    pub(super) fn exchange(
        &self,
        method: http::Method,
        path: &str,
        sent: Sent,
    ) -> anyhow::Result<http::Response<Bytes>> {
        let token = match &self.token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?,
            ),
            None => None,
        };
        let token = token.as_deref().map(str::trim);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(exchange(&self.address, token, method, path, sent))
    }
}
