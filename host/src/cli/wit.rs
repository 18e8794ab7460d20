//! `linger wit`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

/// Print the WIT package `linger:host`, with all that it builds on
///
/// The document is complete: save it as `linger.wit`, and make bindings for the world
/// `linger:host/handler` (WASI 0.3) or `linger:host/handler-p2` (WASI 0.2) from it.
#[derive(Debug, Args)]
pub(super) struct Wit {}

impl Wit {
    pub(super) fn run() -> anyhow::Result<ExitCode> {
        match std::io::stdout().write_all(crate::wit::document().as_bytes()) {
            // Who reads no further (`head`, say) has seen enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}
