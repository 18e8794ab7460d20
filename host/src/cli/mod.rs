//! The command line: one file for each subcommand.

mod admin;
mod canary;
mod check;
mod config;
mod conformance;
mod deploy;
mod offline;
mod publish;
mod push;
mod queues;
mod reload;
mod rollback;
mod serve;
mod store;
mod take;
mod wit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::Log;

/// An HTTP server for WebAssembly components that knows when the client has gone.
#[derive(Debug, Parser)]
#[command(name = "linger", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Deploy(deploy::Deploy),
    Promote(canary::Promote),
    Abort(canary::Abort),
    Rollback(rollback::Rollback),
    Reload(reload::Reload),
    Check(check::Check),
    Config(config::Config),
    Wit(wit::Wit),
    Conformance(conformance::Conformance),
    Push(push::Push),
    Take(take::Take),
    Publish(publish::Publish),
    Queues(queues::Queues),
    Store(store::Store),
}

impl Cli {
    /// Runs the command. An error is a mistake in the input, said in one line.
    pub fn run(self, log: Log) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => serve.run(log),
            Command::Deploy(deploy) => deploy.run(),
            Command::Promote(promote) => promote.run(),
            Command::Abort(abort) => abort.run(),
            Command::Rollback(rollback) => rollback.run(),
            Command::Reload(reload) => reload.run(),
            Command::Check(check) => check.run(),
            Command::Config(config) => config.run(),
            Command::Wit(_) => wit::Wit::run(),
            Command::Conformance(conformance) => conformance.run(),
            Command::Push(push) => push.run(),
            Command::Take(take) => take.run(),
            Command::Publish(publish) => publish.run(),
            Command::Queues(queues) => queues.run(),
            Command::Store(store) => store.run(),
        }
    }
}
