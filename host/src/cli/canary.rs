//! `linger promote` and `linger abort`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::admin::Server;

/// Let an app's canary serve all requests
#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The app, as the server's configuration names it
    app: String,

    #[command(flatten)]
    server: Server,
}

/// End an app's canary: what serves the other requests serves all
#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The app, as the server's configuration names it
    app: String,

    #[command(flatten)]
    server: Server,
}

impl Promote {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "promote")?;
        // Who reads no further knows by the exit code.
        let _ = writeln!(std::io::stdout(), "{}: generation {} serves", self.app, record["generation"]);
        Ok(ExitCode::SUCCESS)
    }
}

impl Abort {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let record = self.server.tell(&self.app, "abort")?;
        // Who reads no further knows by the exit code.
        let _ =
            writeln!(std::io::stdout(), "{}: generation {} serves no more", self.app, record["generation"]);
        Ok(ExitCode::SUCCESS)
    }
}
