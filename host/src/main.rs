//! The `linger` command.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use linger::cli::Cli;
use linger_telemetry::{LogFilter, LogFormat, SinkGuard};

/// Parked requests need a tenth less memory with it, and answers less time (decision 29). What is free goes back to the system by
/// and by, also while nothing happens.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit code for mistakes in the input, as clap has it too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (log, writing) = match start_log() {
        Ok(started) => started,
        Err(message) => return refuse(&message),
    };
    let done = cli.run(log);
    // First what the log says.
    drop(writing);
    // The chain of causes, without a backtrace.
    done.unwrap_or_else(|error| refuse(&format!("{error:#}")))
}

fn start_log() -> Result<(LogFilter, SinkGuard), String> {
    let format = LogFormat::wanted(std::env::var("LINGER_LOG_FORMAT").ok().as_deref())?;
    let wanted = std::env::var("LINGER_LOG").unwrap_or_else(|_| "info".to_owned());
    LogFilter::start(&wanted, format).map_err(|error| format!("LINGER_LOG: {error}"))
}

/// Says what is wrong in one line.
fn refuse(message: &str) -> ExitCode {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "error: {}", message.replace('\n', " "));
    ExitCode::from(USAGE)
}
