//! `linger conformance`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;

use linger_conformance::{CASES, CertificateTrust, TestCase, TestSuite};

use super::output::OutputArgs;
use super::progress::PartsProgress;

const EXAMPLES: &str = "\
Examples:
  linger conformance http://127.0.0.1:8080
  linger conformance https://127.0.0.1:8443 --insecure --case 7 --case 24 --rounds 20";

/// Test whether a long-poll server loses events when clients disconnect
///
/// Clients poll and disconnect in every possible way while an event is pushed; then another client polls for it.
/// Works against any server that answers `POST /push/{queue}` with 2xx and stores the body, and `GET
/// /poll/{queue}?wait=SECONDS` with 200 and one event, or with 204 after that time. Detects whether it
/// speaks HTTP/1.1, HTTP/2 or both. Uses queues whose names start with `c` and a random number.
///
/// Exits with 0 if all cases pass, with 1 if an event was lost or a case failed, and with 2 if the server cannot be
/// tested.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConformanceArgs {
    /// The server's URL: http://HOST:PORT or https://HOST:PORT, with the path in front of `/push` and `/poll` if
    /// there is one
    url: String,

    #[command(flatten)]
    output: OutputArgs,

    /// The number of rounds of each case
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Run only the cases with this number; may be given several times
    #[arg(long = "case", value_name = "N")]
    cases: Vec<u32>,

    /// Accept any certificate
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,

    /// Trust the certificates in this PEM file instead of the public authorities
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ConformanceArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let cases = self.cases()?;
        let trust = match self.ca {
            Some(file) => CertificateTrust::File(file),
            None if self.insecure => CertificateTrust::Anybody,
            None => CertificateTrust::Public,
        };
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let report = runtime.block_on(async {
            let suite = TestSuite::find(&self.url, &trust).await?;
            let parts = PartsProgress::new("rounds");
            let played = |count, of| parts.done(count, of);
            anyhow::Ok(suite.run(&cases, suite.protocols(), self.rounds, played).await)
        })?;
        let code = self.output.print(&report.to_json(), || report.to_string());
        Ok(if report.passed() { code } else { ExitCode::FAILURE })
    }

    fn cases(&self) -> anyhow::Result<Vec<TestCase>> {
        if let Some(unknown) =
            self.cases.iter().find(|&&number| CASES.iter().all(|case| case.number != number))
        {
            let mut known: Vec<_> = CASES.iter().map(|case| case.number.to_string()).collect();
            known.dedup();
            return Err(anyhow!("--case {unknown}: unknown case; the cases are {}", known.join(", ")));
        }
        let wanted = |case: &&TestCase| self.cases.is_empty() || self.cases.contains(&case.number);
        Ok(CASES.iter().filter(wanted).copied().collect())
    }
}
