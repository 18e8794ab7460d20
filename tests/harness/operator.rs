//! What operators do: the commands of the binary that speak to the admin listener.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use linger::admin::client::{RequestContent, ask};
use linger_config::ListenAddress;

use super::{Answer, Http1, Request, Server, component, linger, text};

/// An admin listener, as a configuration has it.
pub(crate) const ADMIN: &str = "[admin]\nlisten = 'unix:admin.sock'\n";

/// The same on TCP, for clients of HTTP.
pub(crate) const ADMIN_TCP: &str = "[admin]\nlisten = '127.0.0.1:0'\n";

/// Puts a component's file in the place of another, as `install` and `mv` do.
pub(crate) fn put(file: &Path, name: &str) {
    let new = file.with_extension("new");
    std::fs::copy(component(name), &new).unwrap();
    std::fs::rename(new, file).unwrap();
}

impl Server {
    /// Where its admin listener is, if that is on TCP.
    pub(crate) async fn admin_address(&self) -> SocketAddr {
        let said = self.output.line(&["admin on"]).await;
        said.rsplit(' ').next().unwrap().parse().expect(&said)
    }

    /// What its admin listener answers, if that is on TCP.
    pub(crate) async fn ask_admin(&self, path: &str) -> Answer {
        let mut client = Http1::connect(self.admin_address().await).await;
        client.ask(&Request::get(path).host("localhost")).await
    }

    /// Serves one app, called `app`, with an admin listener.
    pub(crate) async fn operated(app: &str) -> Self {
        Self::with_config(&format!("{ADMIN}[apps.app]\n{app}")).await
    }

    /// Runs a command for operators, while the server goes on.
    pub(crate) async fn operate(&self, arguments: &[&str]) -> Output {
        let admin = format!("unix:{}", self.folder().join("admin.sock").display());
        let mut arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        arguments.extend(["--admin".to_owned(), admin]);
        tokio::task::spawn_blocking(move || linger(&arguments)).await.unwrap()
    }

    pub(crate) async fn deploy_file(&self, file: &Path) -> Output {
        self.operate(&["deploy", file.to_str().unwrap(), "--app", "app"]).await
    }

    pub(crate) async fn deploy(&self, name: &str) -> Output {
        self.deploy_file(&component(name)).await
    }

    pub(crate) async fn deploy_canary(&self, name: &str, share: &str) -> Output {
        let file = component(name);
        self.operate(&["deploy", file.to_str().unwrap(), "--app", "app", "--canary", share]).await
    }

    pub(crate) async fn roll_back(&self) -> Output {
        self.operate(&["rollback", "app"]).await
    }

    /// The generations of the first app, the latest first, as the admin listener shows them.
    pub(crate) async fn generations(&self) -> Vec<Value> {
        self.first_app().await["generations"].as_array().unwrap().clone()
    }

    /// How many instances the first app has.
    pub(crate) async fn instances(&self) -> u64 {
        self.first_app().await["instances"].as_u64().unwrap()
    }

    async fn first_app(&self) -> Value {
        self.shown("/apps").await["apps"][0].take()
    }

    /// What the admin listener shows.
    pub(crate) async fn shown(&self, path: &str) -> Value {
        let admin = ListenAddress::Unix(self.folder().join("admin.sock"));
        ask(&admin, None, http::Method::GET, path, RequestContent::default()).await.unwrap()
    }
}

#[track_caller]
pub(crate) fn assert_serves(output: &Output, generation: u64) {
    let sentence = format!("app: generation {generation} serves");
    assert!(text(&output.stdout).starts_with(&sentence), "{output:?}");
    assert!(output.status.success(), "{output:?}");
}
