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
    /// Runs the command. An error is a mistake in the input, said in one line.
    pub fn run(self, log: LogFilter) -> anyhow::Result<ExitCode> {
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

/// Prints what was asked for.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        // Who reads no further (`head`, say) has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
