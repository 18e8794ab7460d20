//! `linger rollback`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::admin::Server;

/// Let the component serve again that an app had before its current one
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The app, as the server's configuration names it
    app: String,

    #[command(flatten)]
    server: Server,
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "rollback")?;
        let (generation, source) = (&record["generation"], record["source"].as_str().unwrap_or("?"));
        // Who reads no further knows by the exit code.
        let _ = writeln!(std::io::stdout(), "{}: generation {generation} serves, from {source}", self.app);
        Ok(ExitCode::SUCCESS)
    }
}
