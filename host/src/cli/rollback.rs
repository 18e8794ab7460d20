//! `linger rollback`.

use std::process::ExitCode;

use clap::Args;

use super::admin::AdminServer;
use super::output::OutputArgs;

/// Roll an app back to its previous version
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

impl RollbackArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "rollback")?;
        let (generation, source) = (&record["generation"], record["source"].as_str().unwrap_or("?"));
        let app = &self.app;
        let text = || format!("{app}: generation {generation} serves all requests, from {source}\n");
        Ok(self.output.print(&record, text))
    }
}
