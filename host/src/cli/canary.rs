//! `linger promote` and `linger abort`.

use std::process::ExitCode;

use clap::Args;

use super::admin::Server;
use super::output::Output;

/// Promote the canary: send all of an app's requests to it
#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    server: Server,
}

/// Discard the canary: send all of an app's requests to the current version
#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The app's name in the server's configuration
    app: String,

    #[command(flatten)]
    output: Output,

    #[command(flatten)]
    server: Server,
}

impl Promote {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "promote")?;
        let text = || format!("{}: generation {} serves all requests\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}

impl Abort {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "abort")?;
        let text = || format!("{}: generation {} is discarded\n", self.app, record["generation"]);
        Ok(self.output.print(&record, text))
    }
}
