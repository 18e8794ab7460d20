//! `linger log`.

use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::admin::AdminServer;
use super::output::OutputArgs;
use crate::admin::client::RequestContent;

/// Show or change a server's log filter
#[derive(Debug, Args)]
#[command(after_help = examples!(
    "linger log",
    "linger log info,linger::access=debug       also log a line for each request",
    "linger log --follow                        print log records as they occur",
    "linger log --follow warn",
))]
pub(super) struct LogArgs {
    /// The new filter: a level (error, warn, info, debug or trace), or several such as `info,TARGET=LEVEL`
    #[arg(value_name = "LEVEL")]
    wanted: Option<String>,

    /// Print log records as they occur, one JSON object per line; LEVEL then filters only these, and not the server's log
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
