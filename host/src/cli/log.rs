//! `linger log`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::admin::Server;
use crate::admin::client::Sent;

/// Print what of the log a server wants, or have it want something else from now on
#[derive(Debug, Args)]
#[command(after_help = examples!("linger log", "linger log debug", "linger log info,linger::access=debug    a line for each request"))]
pub(super) struct Log {
    /// A level (error, warn, info, debug or trace), or one for each target, as TARGET=LEVEL
    #[arg(value_name = "LEVEL")]
    wanted: Option<String>,

    #[command(flatten)]
    server: Server,
}

impl Log {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = match self.wanted {
            Some(wanted) => {
                self.server.ask(Method::PUT, "/log", Sent { bytes: wanted.into(), ..Sent::default() })
            }
            None => self.server.ask(Method::GET, "/log", Sent::default()),
        }?;
        // Who reads no further knows by the exit code.
        let _ = writeln!(std::io::stdout(), "{}", answer["log"].as_str().unwrap_or("?"));
        Ok(ExitCode::SUCCESS)
    }
}
