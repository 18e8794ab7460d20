//! `linger reload`.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin::AdminServer;
use super::output::OutputArgs;
use crate::admin::client::RequestContent;

/// Reload a server's configuration without dropping connections
///
/// Applies changes of routes, limits and apps. Lists other changes: they need a restart. If the configuration is
/// invalid or a component cannot be served, nothing changes: this prints the reason and exits with 2. SIGHUP does
/// the same, and logs the result.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger reload",
    "linger reload --admin unix:admin.sock",
))]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

impl ReloadArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let reloaded = self.server.ask(Method::POST, "/reload", RequestContent::default())?;
        let changes = reloaded["changes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok(self.output.print(&reloaded, || changes.flat_map(|change| [change, "\n"]).collect()))
    }
}
