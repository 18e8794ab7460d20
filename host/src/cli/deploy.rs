//! `linger deploy`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use http::Method;

use super::admin::Server;

/// Put a component in the place of an app's current one, without a failed request
///
/// The server loads it, starts an instance, sends it the app's probe request if there is one, and only then lets it
/// serve; this waits for all that. Exits with 0 when it serves, and with 2 when it was refused: then the old one serves on.
#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The component's file
    component: PathBuf,

    /// The app that it is for, as the server's configuration names it
    #[arg(long, value_name = "NAME")]
    app: String,

    #[command(flatten)]
    server: Server,
}

impl Deploy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.component.display().to_string();
        let bytes = std::fs::read(&self.component).map_err(|error| anyhow!("{name}: {error}"))?;
        // Before all of it is sent: who may not deploy, or names no app, is told at once.
        self.server.find(&self.app)?;
        let path = format!("/apps/{}", self.app);
        let record = self.server.ask(Method::PUT, &path, (&name, bytes.into()))?;
        let generation = &record["generation"];
        let sentence = if record["unchanged"] == true {
            format!("{}: generation {generation} is this component already", self.app)
        } else {
            format!("{}: generation {generation} serves", self.app)
        };
        // Who reads no further knows by the exit code.
        let _ = writeln!(std::io::stdout(), "{sentence}");
        Ok(ExitCode::SUCCESS)
    }
}
