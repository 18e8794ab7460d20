//! `linger deploy`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use linger_deploy::TrafficSplit;
use linger_wasm::ComponentSource;

use super::admin::AdminServer;
use super::output::OutputArgs;
use super::progress;
use crate::admin::client::RequestContent;

/// Put a component in the place of an app's current one, without a failed request
///
/// The server loads it, starts an instance, sends it the app's probe request if there is one, and only then lets it
/// serve; this waits for all that. Exits with 0 when it serves, and with 2 when it was refused: then the old one serves on.
/// It serves until the server stops: at its next start that takes the file that its configuration names.
///
/// With --canary it serves only some requests, beside the current one: deployed again with another share it serves that,
/// and without one, or by `linger promote`, all. `linger abort` takes it back, and so does the server when too many of its
/// requests fail.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger deploy poll.wasm --app poll",
    "linger deploy poll.wasm --app poll --canary 10%",
    r#"linger deploy poll.wasm --app poll --canary "x-beta: 1" --admin unix:admin.sock"#,
))]
pub(super) struct DeployArgs {
    /// The component's file
    component: PathBuf,

    /// The app that it is for, as the server's configuration names it
    #[arg(long, value_name = "NAME")]
    app: String,

    /// Let it serve only a share of the requests, as `10%`, or those with a header, as `x-beta: 1`
    #[arg(long, value_name = "SHARE")]
    canary: Option<TrafficSplit>,

    /// Wait also until the requests of generations that it has replaced have ended, at most for their `drain_timeout`
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

/// How often the server is asked whether they have.
const LOOK: Duration = Duration::from_millis(200);

impl DeployArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ComponentSource { name, bytes } = ComponentSource::read(&self.component)?;
        // Before all of it is sent: who may not deploy, or names no app, is told at once.
        self.server.find(&self.app)?;
        let path = format!("/apps/{}", self.app);
        let sent = RequestContent {
            bytes,
            source: name.display().to_string(),
            canary: self.canary.clone(),
            ..RequestContent::default()
        };
        let deploys = progress::spinner("the server loads it, and tries it");
        let record = self.server.ask(Method::PUT, &path, sent)?;
        deploys.finish_and_clear();
        let generation = &record["generation"];
        let sentence = if record["unchanged"] == true {
            format!("{}: generation {generation} is this component already\n", self.app)
        } else if let Some(share) = record["canary"].as_str() {
            format!("{}: generation {generation} serves {share}\n", self.app)
        } else {
            format!("{}: generation {generation} serves\n", self.app)
        };
        let code = self.output.print(&record, || sentence);
        let drains = progress::spinner("requests of the old generation end");
        while self.wait && self.drains()? {
            std::thread::sleep(LOOK);
        }
        drains.finish_and_clear();
        Ok(code)
    }

    /// Whether requests are left in generations that serve no more.
    fn drains(&self) -> anyhow::Result<bool> {
        let shown = self.server.ask(Method::GET, "/apps", RequestContent::default())?;
        let apps = shown["apps"].as_array().into_iter().flatten();
        let generations =
            apps.filter(|app| app["app"] == *self.app).filter_map(|app| app["generations"].as_array());
        let drains = |generation: &Value| {
            let serves = matches!(generation["state"].as_str(), Some("current" | "canary"));
            !serves && generation["requests"]["running"].as_u64().is_some_and(|running| running > 0)
        };
        Ok(generations.flatten().any(drains))
    }
}
