//! `linger check`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use linger_config::CodeCache;
use linger_wasm::{ComponentReport, Engine, inspect};

use super::output::OutputArgs;
use super::serve::variable;

/// Print a component's world and imports, and which imports this host does not provide
///
/// Exits with 0 if this host can serve the component, and with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger check poll.wasm",
))]
pub(super) struct CheckArgs {
    /// The component's file
    component: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

impl CheckArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // Code that is compiled here is cached, and need not be compiled again to serve it.
        let cache = CodeCache::default().directory(variable);
        let engine = Engine::new(cache.as_deref(), 1, false)
            .map_err(anyhow::Error::from)
            .context("cannot start the engine")?;
        let report = match inspect(&engine, &self.component) {
            Ok(report) => report,
            Err(error) => {
                // There is nowhere to report a failure of this.
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return Ok(ExitCode::FAILURE);
            }
        };
        let code = self.output.print(&to_json(&report), || report.to_string());
        Ok(if report.problem.is_none() { code } else { ExitCode::FAILURE })
    }
}

fn to_json(report: &ComponentReport) -> Value {
    let import = |(name, provided): &(String, bool)| json!({ "name": name, "provided": provided });
    json!({
        "world": report.world,
        "runtime": report.runtime.map(|runtime| runtime.to_string()),
        "max_uses": report.uses,
        "imports": report.imports.iter().map(import).collect::<Vec<_>>(),
        "problem": report.problem.as_ref().map(ToString::to_string),
    })
}
