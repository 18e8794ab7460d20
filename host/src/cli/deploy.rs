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

/// Deploy a new version of an app with zero downtime (hot swap)
///
/// The server loads the component, starts an instance, and sends the app's probe request if one is configured. If
/// all succeed, the new version serves new requests, the old one finishes its in-flight requests, and this exits
/// with 0. Otherwise the old version continues to serve, and this exits with 2. A deploy lasts until the server
/// restarts: then the component in the configuration serves again.
///
/// With --canary, the new version serves only a share of the requests. Deploy the same component again with another
/// share to change it. To send it all requests, deploy it without --canary, or use `linger promote`. To discard it,
/// use `linger abort`; the server does so by itself if too many of its requests fail.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger deploy poll.wasm --app poll",
    "linger deploy poll.wasm --app poll --canary 10%",
    r#"linger deploy poll.wasm --app poll --canary "x-beta: 1" --admin unix:admin.sock"#,
))]
pub(super) struct DeployArgs {
    /// The component's file
    component: PathBuf,

    /// The app's name in the server's configuration
    #[arg(long, value_name = "NAME")]
    app: String,

    /// Deploy as a canary: for a share of the requests, such as `10%`, or for those with a header, such as `x-beta: 1`
    #[arg(long, value_name = "SHARE")]
    canary: Option<TrafficSplit>,

    /// Also wait until the old version has drained: its in-flight requests have ended, or `drain_timeout` is over
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

/// The interval at which `--wait` asks the server.
const LOOK: Duration = Duration::from_millis(200);

impl DeployArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let ComponentSource { name, bytes } = ComponentSource::read(&self.component)?;
        // Before the component is sent: a wrong token or app is reported at once.
        self.server.find(&self.app)?;
        let path = format!("/apps/{}", self.app);
        let sent = RequestContent {
            bytes,
            source: name.display().to_string(),
            canary: self.canary.clone(),
            ..RequestContent::default()
        };
        let deploys = progress::spinner("the server loads and tests the component");
        let record = self.server.ask(Method::PUT, &path, sent)?;
        deploys.finish_and_clear();
        let generation = &record["generation"];
        let sentence = if record["unchanged"] == true {
            format!("{}: generation {generation} already has this component\n", self.app)
        } else if let Some(share) = record["canary"].as_str() {
            format!("{}: generation {generation} serves {share}\n", self.app)
        } else {
            format!("{}: generation {generation} serves all requests\n", self.app)
        };
        let code = self.output.print(&record, || sentence);
        let drains = progress::spinner("the old version drains");
        while self.wait && self.drains()? {
            std::thread::sleep(LOOK);
        }
        drains.finish_and_clear();
        Ok(code)
    }

    /// Whether replaced generations still have in-flight requests.
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
