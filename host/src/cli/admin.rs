//! What the commands for operators have in common: where the admin listener is.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::runtime::Runtime;

use linger_config::ListenAddress;
use linger_events::NewEvent;

use crate::admin::client::{RequestContent, exchange, follow, succeeded};

/// The server that a command talks to.
#[derive(Debug, Args)]
pub(super) struct AdminServer {
    /// The admin listener of the server: IP:PORT or unix:PATH
    #[arg(long = "admin", value_name = "ADDRESS", env = "LINGER_ADMIN", default_value = "127.0.0.1:9070")]
    address: ListenAddress,

    /// The file with the admin token, if the listener requires one
    #[arg(long, value_name = "FILE", env = "LINGER_TOKEN_FILE")]
    token_file: Option<std::path::PathBuf>,
}

impl AdminServer {
    /// Fails if the server has no app of this name.
    pub(super) fn find(&self, app: &str) -> anyhow::Result<()> {
        let found = self.ask(http::Method::GET, "/apps", RequestContent::default())?;
        let apps = found["apps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names = apps.iter().filter_map(|app| app["app"].as_str());
        if names.any(|name| name == app) {
            return Ok(());
        }
        let known: Vec<_> =
            apps.iter().map(|app| format!("`{}`", app["app"].as_str().unwrap_or("?"))).collect();
        anyhow::bail!("unknown app `{app}`; the apps are {}", known.join(", "))
    }

    /// Sends a command for an app, and returns the record of the generation that it changed.
    pub(super) fn tell(&self, app: &str, what: &str) -> anyhow::Result<Value> {
        self.find(app)?;
        self.ask(http::Method::POST, &format!("/apps/{app}/{what}"), RequestContent::default())
    }

    /// Stores an event, and returns the response's value for this key.
    pub(super) fn store(&self, path: &str, event: NewEvent, key: &str) -> anyhow::Result<String> {
        let NewEvent { data, content_type } = event;
        let sent = RequestContent { bytes: data, content_type, ..RequestContent::default() };
        let answer = self.ask(http::Method::POST, path, sent)?;
        Ok(answer[key].as_str().unwrap_or("?").to_owned())
    }

    /// Sends a request, and returns the JSON of the response. Fails if the status is not a success.
    pub(super) fn ask(
        &self,
        method: http::Method,
        path: &str,
        sent: RequestContent,
    ) -> anyhow::Result<Value> {
        let answer = succeeded(self.exchange(method, path, sent)?)?;
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    /// Prints log records as they occur, until interrupted.
    pub(super) fn follow(&self, wanted: Option<&str>) -> anyhow::Result<ExitCode> {
        let query = wanted.map(|wanted| format!("?log={}", utf8_percent_encode(wanted, NON_ALPHANUMERIC)));
        let path = format!("/stream{}", query.unwrap_or_default());
        let token = self.token()?;
        let mut lines = EventLines::default();
        let print = |bytes: &[u8]| match std::io::stdout().write_all(&lines.take(bytes)) {
            Ok(()) => ControlFlow::Continue(()),
            // The reader has closed the pipe: it has seen enough.
            Err(_) => ControlFlow::Break(()),
        };
        runtime()?.block_on(follow(&self.address, token.as_deref(), &path, print))?;
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn exchange(
        &self,
        method: http::Method,
        path: &str,
        sent: RequestContent,
    ) -> anyhow::Result<http::Response<Bytes>> {
        let token = self.token()?;
        runtime()?.block_on(exchange(&self.address, token.as_deref(), method, path, sent))
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        Ok(Some(text.trim().to_owned()))
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The data of server-sent events, one line each.
#[derive(Default)]
struct EventLines {
    /// The beginning of an incomplete line.
    rest: Vec<u8>,
}

impl EventLines {
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        lines.filter_map(|line| line.strip_prefix(b"data: ")).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        let sent = b": nothing\n\nevent: log\ndata: {\"a\":1}\n\nevent: missed\ndata: {\"missed\":2}\n\n";
        for size in 1..sent.len() {
            let mut lines = EventLines::default();
            let seen: Vec<u8> = sent.chunks(size).flat_map(|piece| lines.take(piece)).collect();
            assert_eq!(seen, b"{\"a\":1}\n{\"missed\":2}\n");
        }
    }
}
