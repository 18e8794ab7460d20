//! A real browser, driven by the protocol of its developer tools.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::soon;

/// The browser reads commands from descriptor 3, and answers on descriptor 4.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

const OPTIONS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];

/// A page in a browser. Dropped, the browser is killed.
pub(crate) struct Browser {
    process: Child,
    commands: Sender,
    answers: BufReader<Receiver>,
    session: Value,
    count: u64,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, if there is a browser on this machine.
    pub(crate) async fn open(url: &str) -> Option<Self> {
        let binary = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(in_path)?;
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("sh")
            .args(["-c", START])
            .arg(binary)
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = OwnedFd::from(process.stdin.take().unwrap());
        let answers = OwnedFd::from(process.stdout.take().unwrap());
        let mut browser = Self {
            process,
            commands: Sender::from_owned_fd(commands).unwrap(),
            answers: BufReader::new(Receiver::from_owned_fd(answers).unwrap()),
            session: Value::Null,
            count: 0,
            _profile: profile,
        };
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.command("Target.attachToTarget", attach).await["sessionId"].clone();
        // Answered when the page is there, if not all that belongs to it.
        let navigated = browser.command("Page.navigate", json!({ "url": url })).await;
        assert!(navigated.get("errorText").is_none(), "{url}: {navigated}");
        Some(browser)
    }

    /// The value of an expression in the page.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let evaluate = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.command("Runtime.evaluate", evaluate).await;
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let watch = format!(
            "new Promise(done => {{ const look = () => ({expression}) ? done(true) : setTimeout(look, 10); look(); }})"
        );
        assert_eq!(self.evaluate(&watch).await, true);
    }

    /// Presses a key, for what has the focus.
    pub(crate) async fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { "" };
            let press =
                json!({ "type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": 13 });
            self.command("Input.dispatchKeyEvent", press).await;
        }
    }

    /// What the browser would give a screen reader of buttons and inputs without a name.
    pub(crate) async fn nameless_controls(&mut self) -> Vec<String> {
        let tree = self.command("Accessibility.getFullAXTree", json!({})).await;
        let is_control = |node: &&Value| matches!(node["role"]["value"].as_str(), Some("button" | "textbox"));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(is_control);
        nodes
            .filter(|node| node["name"]["value"].as_str().is_none_or(str::is_empty))
            .map(Value::to_string)
            .collect()
    }

    /// Keeps a picture of the page as `target/NAME.png`.
    pub(crate) async fn screenshot(&mut self, name: &str) {
        let size = json!({ "width": 1100, "height": 1000, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let picture = self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": false })).await;
        let file =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target").join(name).with_extension("png");
        let bytes = base64::prelude::BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.count += 1;
        let mut command = json!({ "id": self.count, "method": method, "params": parameters });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        soon("a command", self.commands.write_all(&text)).await.unwrap();
        soon(method, async {
            loop {
                let mut text = Vec::new();
                self.answers.read_until(0, &mut text).await.unwrap();
                assert_eq!(text.pop(), Some(0), "the browser has gone");
                let answer: Value = serde_json::from_slice(&text).unwrap();
                // Others are events.
                if answer["id"] == self.count {
                    assert!(answer.get("error").is_none(), "{method}: {answer}");
                    return answer["result"].clone();
                }
            }
        })
        .await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended. Its other processes end with it.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
