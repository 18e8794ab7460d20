//! The `linger` command.
#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use linger::cli::Cli;
use tracing_subscriber::EnvFilter;

/// The exit code for mistakes in the input, as clap has it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("LINGER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    cli.run().unwrap_or_else(|error| {
        // One line: the chain of causes, without a backtrace. Nobody is left to tell if this fails.
        let line = format!("{error:#}").replace('\n', " ");
        let _ = writeln!(std::io::stderr(), "error: {line}");
        ExitCode::from(USAGE)
    })
}
