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

use linger_telemetry::LogFilter;

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
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    New(new::NewArgs),
    Serve(serve::ServeArgs),
    Deploy(deploy::DeployArgs),
    Promote(canary::PromoteArgs),
    Abort(canary::AbortArgs),
    Rollback(rollback::RollbackArgs),
    Reload(reload::ReloadArgs),
    Status(status::StatusArgs),
    Log(log::LogArgs),
    Check(check::CheckArgs),
    Config(config::ConfigArgs),
    Wit(wit::WitArgs),
    Conformance(conformance::ConformanceArgs),
    Push(push::PushArgs),
    Take(take::TakeArgs),
    Publish(publish::PublishArgs),
    Queues(queues::QueuesArgs),
    Store(store::StoreArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

impl Cli {
    /// Runs the command. An error is invalid input, and is printed as one line.
    pub fn run(self, log: LogFilter) -> anyhow::Result<ExitCode> {
        match self.command {
            CliCommand::New(new) => new.run(),
            CliCommand::Serve(serve) => serve.run(log),
            CliCommand::Deploy(deploy) => deploy.run(),
            CliCommand::Promote(promote) => promote.run(),
            CliCommand::Abort(abort) => abort.run(),
            CliCommand::Rollback(rollback) => rollback.run(),
            CliCommand::Reload(reload) => reload.run(),
            CliCommand::Status(status) => status.run(),
            CliCommand::Log(wanted) => wanted.run(),
            CliCommand::Check(check) => check.run(),
            CliCommand::Config(config) => config.run(),
            CliCommand::Wit(_) => wit::WitArgs::run(),
            CliCommand::Conformance(conformance) => conformance.run(),
            CliCommand::Push(push) => push.run(),
            CliCommand::Take(take) => take.run(),
            CliCommand::Publish(publish) => publish.run(),
            CliCommand::Queues(queues) => queues.run(),
            CliCommand::Store(store) => store.run(),
            CliCommand::Completions(completions) => completions.run(),
            CliCommand::Man(man) => man.run(),
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
