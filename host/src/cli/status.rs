//! `linger status`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::admin::AdminServer;
use crate::admin::client::RequestContent;

/// Clears a terminal, and starts at its top: ECMA-48, ED and CUP.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Show a server's apps, generations, in-flight requests, queues and topics
#[derive(Debug, Args)]
#[command(after_help = examples!("linger status --watch", "linger status --json | jq .apps"))]
pub(super) struct StatusArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,

    /// Refresh every two seconds until interrupted
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    server: AdminServer,
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        loop {
            let status = self.ask()?;
            let text = if self.json { format!("{status}\n") } else { to_table(&status) };
            let clear = if self.watch && std::io::stdout().is_terminal() { CLEAR } else { "" };
            let written = write!(std::io::stdout(), "{clear}{text}");
            // The reader has closed the pipe: it has seen enough.
            if !self.watch || written.is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    fn ask(&self) -> anyhow::Result<Value> {
        let ask = |path: &str| self.server.ask(Method::GET, path, RequestContent::default());
        let (apps, requests) = (ask("/apps")?, ask("/requests")?);
        let (queues, topics) = (ask("/queues")?, ask("/topics")?);
        Ok(json!({
            "apps": apps["apps"],
            "requests": requests["total"],
            "queues": queues["queues"],
            "topics": topics["topics"],
        }))
    }
}

fn to_table(status: &Value) -> String {
    let mut text = String::new();
    for app in array(&status["apps"]) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {} requests in-flight, {} instances",
            word(&app["app"]),
            app["requests"],
            app["instances"]
        );
        for generation in array(&app["generations"]) {
            let state = match generation["canary"].as_str() {
                Some(share) if generation["state"] == "canary" => format!("canary, {share}"),
                _ => word(&generation["state"]).to_owned(),
            };
            let requests = &generation["requests"];
            let counts = match requests["ended"].as_u64() {
                Some(ended) => {
                    format!("{ended} ended, {} failed, {} in-flight", requests["failed"], requests["running"])
                }
                None => "-".to_owned(),
            };
            let _ = writeln!(
                text,
                "  {:>4}  {state:<14}  {counts:<40}  {}",
                generation["generation"].to_string(),
                word(&generation["source"])
            );
            if let Some(error) = generation["error"].as_str() {
                let _ = writeln!(text, "        {error}");
            }
        }
    }
    for (kind, name) in [("queues", "queue"), ("topics", "topic")] {
        let all = array(&status[kind]);
        let events = |one: &Value| {
            ["ready", "delayed", "leased", "events"].iter().filter_map(|key| one[key].as_u64()).sum::<u64>()
        };
        let waiting: u64 = all.iter().filter_map(|one| one["waiting"].as_u64()).sum();
        let _ = writeln!(
            text,
            "{} {name}{}: {} events, {waiting} waiting",
            all.len(),
            if all.len() == 1 { "" } else { "s" },
            all.iter().map(events).sum::<u64>()
        );
    }
    text
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_for_each_generation() {
        let status = json!({
            "apps": [{ "app": "a", "requests": 2, "instances": 1, "generations": [
                { "generation": 2, "state": "canary", "canary": "10%", "source": "b.wasm",
                  "requests": { "running": 1, "ended": 3, "failed": 0 } },
                { "generation": 1, "state": "refused", "source": "a.wasm", "error": "no instance starts" },
            ]}],
            "queues": [{ "queue": "q", "ready": 1, "delayed": 1, "leased": 0, "waiting": 4 }],
            "topics": [],
        });
        let expected = "a: 2 requests in-flight, 1 instances\n     2  canary, 10%     3 ended, 0 failed, 1 in-flight            b.wasm\n     1  refused         -                                         a.wasm\n        no instance starts\n1 queue: 2 events, 4 waiting\n0 topics: 0 events, 0 waiting\n";
        assert_eq!(to_table(&status), expected);
    }
}
