//! The command line: one file for each subcommand.

/// The end of a command's help: example command lines.
macro_rules! examples {
    ($($line:literal),* $(,)?) => { concat!("Examples:", $("\n  ", $line),*) };
}

mod admin;
mod canary;
mod check;
mod completions;
mod config;
mod conformance;
mod deploy;
mod log;
mod man;
mod new;
mod offline;
mod output;
mod place;
mod progress;
mod publish;
mod push;
mod queues;
mod reload;
mod rollback;
mod serve;
mod status;
mod store;
mod take;
mod wit;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use linger_telemetry::Log;

const AFTER_HELP: &str = "\
Exit codes:
  0    success; for `serve`, a graceful shutdown
  1    a negative result of `check`, `conformance`, `take` or `store check`; see their help
  2    invalid input, or the server refused; one line on standard error says what to do
  130  a second signal stopped the server at once

Environment:
  LINGER_LOG         log level on standard error: error, warn, info (default), debug or trace
  LINGER_LOG_FORMAT  text or json; by default text on a terminal, and JSON elsewhere
  LINGER_ADMIN       admin listener for `deploy`, `reload` and others, unless `--admin` is given
  LINGER_TOKEN_FILE  file with the admin token

Examples:
  linger new hello                 create a project for a handler
  linger serve hello.wasm          serve one component on 127.0.0.1:8080
  linger serve linger.toml         serve the apps of a configuration
  linger help serve                show the help of a command";

/// An HTTP server for WebAssembly components that knows when the client has disconnected.
#[derive(Debug, Parser)]
#[command(name = "linger", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Serve(serve::Serve),
    Deploy(deploy::Deploy),
    Promote(canary::Promote),
    Abort(canary::Abort),
    Rollback(rollback::Rollback),
    Reload(reload::Reload),
    Status(status::Status),
    Log(log::Log),
    Check(check::Check),
    Config(config::Config),
    Wit(wit::Wit),
    Conformance(conformance::Conformance),
    Push(push::Push),
    Take(take::Take),
    Publish(publish::Publish),
    Queues(queues::Queues),
    Store(store::Store),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Runs the command. An error is invalid input, and is printed as one line.
    pub fn run(self, log: Log) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::New(new) => new.run(),
            Command::Serve(serve) => serve.run(log),
            Command::Deploy(deploy) => deploy.run(),
            Command::Promote(promote) => promote.run(),
            Command::Abort(abort) => abort.run(),
            Command::Rollback(rollback) => rollback.run(),
            Command::Reload(reload) => reload.run(),
            Command::Status(status) => status.run(),
            Command::Log(wanted) => wanted.run(),
            Command::Check(check) => check.run(),
            Command::Config(config) => config.run(),
            Command::Wit(_) => wit::Wit::run(),
            Command::Conformance(conformance) => conformance.run(),
            Command::Push(push) => push.run(),
            Command::Take(take) => take.run(),
            Command::Publish(publish) => publish.run(),
            Command::Queues(queues) => queues.run(),
            Command::Store(store) => store.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

/// Prints to standard output.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // The reader (`head`, for example) has closed the pipe: it has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
