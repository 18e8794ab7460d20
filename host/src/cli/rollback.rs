//! `linger rollback`.

use std::process::ExitCode;

use clap::Args;

use super::admin::Server;
use super::output::Output;

/// Roll an app back to its previous version
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    server: Server,
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "rollback")?;
        let (generation, source) = (&record["generation"], record["source"].as_str().unwrap_or("?"));
        let app = &self.app;
        let text = || format!("{app}: generation {generation} serves all requests, from {source}\n");
        Ok(self.output.print(&record, text))
    }
}
