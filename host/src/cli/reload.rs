//! `linger reload`.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin::AdminServer;
use super::output::OutputArgs;
use crate::admin::client::RequestContent;

/// Have a server read its configuration again, without dropping a connection
///
/// Routes, limits and apps change; what else has changed is named, and counts at the next start. A configuration that is
/// wrong, or whose components cannot serve, changes nothing: then this says why, and exits with 2. SIGHUP does the same, and
/// says so in the log.
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
