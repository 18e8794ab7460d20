//! `linger check`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::guest::{Engine, inspect};

/// Print which world a component fits, what it imports, and what of that this host lacks
///
/// Exits with 0 if this host can serve it, and with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger check poll.wasm",
))]
pub(super) struct Check {
    /// The component's file
    component: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let engine = Engine::new(None).map_err(anyhow::Error::from).context("the engine does not start")?;
        let report = match inspect(&engine, &self.component) {
            Ok(report) => report,
            Err(error) => {
                // Nobody is left to tell if this fails.
                let _ = writeln!(std::io::stderr(), "error: {error}");
                return Ok(ExitCode::FAILURE);
            }
        };
        // Who reads no further has seen enough; the exit code says the rest.
        let _ = write!(std::io::stdout(), "{report}");
        Ok(if report.problem.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
