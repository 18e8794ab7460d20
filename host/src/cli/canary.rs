//! `linger promote` and `linger abort`.

use std::process::ExitCode;

use clap::Args;

use super::admin::AdminServer;
use super::output::OutputArgs;

/// Let an app's canary serve all requests
#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    /// The app, as the server's configuration names it
    app: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

/// End an app's canary: what serves the other requests serves all
#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// The app, as the server's configuration names it
    app: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

impl PromoteArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "promote")?;
        let text = || format!("{}: generation {} serves\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}

impl AbortArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "abort")?;
        let text = || format!("{}: generation {} serves no more\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}
