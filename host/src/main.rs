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
    let filter = std::env::var("LINGER_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = match EnvFilter::try_new(&filter) {
        Ok(filter) => filter,
        Err(error) => {
            return refuse(&format!(
                "LINGER_LOG={filter}: {error}; set it to error, warn, info, debug or trace"
            ));
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log that nobody reads any more is no reason to fail.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    // The chain of causes, without a backtrace.
    cli.run().unwrap_or_else(|error| refuse(&format!("{error:#}")))
}

/// Says what is wrong in one line.
fn refuse(message: &str) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "error: {}", message.replace('\n', " "));
    ExitCode::from(USAGE)
}
