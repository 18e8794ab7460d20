//! `linger wit`.

use std::process::ExitCode;

use clap::Args;

use super::print;

/// Print the WIT package `linger:host`, with its dependencies
///
/// The document is complete: save it as `linger.wit`, and generate bindings for the world `linger:host/handler`
/// (WASI 0.3) or `linger:host/handler-p2` (WASI 0.2) from it.
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger wit > linger.wit",
))]
pub(super) struct WitArgs {}

impl WitArgs {
    pub(super) fn run() -> anyhow::Result<ExitCode> {
        print(linger_base::wit::document().as_bytes())
    }
}
