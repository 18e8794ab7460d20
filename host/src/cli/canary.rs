//! `linger promote` and `linger abort`.

use std::process::ExitCode;

use clap::Args;

use super::admin::AdminServer;
use super::output::OutputArgs;

/// Promote the canary: send all of an app's requests to it
#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

/// Discard the canary: send all of an app's requests to the current version
#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

impl PromoteArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "promote")?;
        let text = || format!("{}: generation {} serves all requests\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}

impl AbortArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "abort")?;
        let text = || format!("{}: generation {} is discarded\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}
