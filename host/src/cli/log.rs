//! `linger log`.

use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::admin::AdminServer;
use super::output::OutputArgs;
use crate::admin::client::RequestContent;

/// Print what of the log a server wants, or have it want something else from now on
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger log",
    "linger log info,linger::access=debug       from now on a line for each request",
    "linger log --follow                        what happens, as it happens",
    "linger log --follow warn",
))]
pub(super) struct LogArgs {
    /// A level (error, warn, info, debug or trace), or one for each target, as TARGET=LEVEL
    #[arg(value_name = "LEVEL")]
    wanted: Option<String>,

    /// Print what happens from now on, as it happens, a JSON object a line; LEVEL says what of it, and changes nothing
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: AdminServer,
}

impl LogArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.follow {
            return self.server.follow(self.wanted.as_deref());
        }
        let answer = match self.wanted {
            Some(wanted) => self.server.ask(
                Method::PUT,
                "/log",
                RequestContent { bytes: wanted.into(), ..RequestContent::default() },
            ),
            None => self.server.ask(Method::GET, "/log", RequestContent::default()),
        }?;
        Ok(self.output.print(&answer, || format!("{}\n", answer["log"].as_str().unwrap_or("?"))))
    }
}
