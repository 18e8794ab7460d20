//! The command line: one file for each subcommand.

/// The end of a command's help: what one would type.
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
  0    all is well; a server has stopped in order
  1    the answer is no: `check`, `conformance`, `take` and `store check` say what that means
  2    a mistake in what was given, or a refusal: one line on standard error says what to do
  130  a second signal has ended a server at once

Environment:
  LINGER_LOG         what is logged to standard error: error, warn, info (the default), debug or trace
  LINGER_LOG_FORMAT  text or json; text on a terminal, and JSON elsewhere, unless it is set
  LINGER_ADMIN       the admin listener that `deploy`, `reload` and others use, unless `--admin` names one
  LINGER_TOKEN_FILE  the file with its token

Examples:
  linger new hello                 make a project for a handler
  linger serve hello.wasm          serve a component on 127.0.0.1:8080
  linger serve linger.toml         serve what a configuration says
  linger help serve                say more of a command";

/// An HTTP server for WebAssembly components that knows when the client has gone.
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
    /// Runs the command. An error is a mistake in the input, said in one line.
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

/// Prints what was asked for.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // Who reads no further (`head`, say) has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
