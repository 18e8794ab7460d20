//! The whole suite against one server.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::timeout;

use super::case::{Protocol, TestCase};
use super::healthy::HealthyClient;
use super::report::{ConformanceReport, ReportRow};
use super::round::TestRound;
use super::target::{CertificateTrust, TargetError, TestTarget};

/// Rounds that are played at a time.
const CONCURRENCY: usize = 8;

/// When the event comes after the client has left, one after the other over the rounds.
const OFFSETS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(50)];

/// How long a server may take to show that it speaks a protocol.
const PROBE: Duration = Duration::from_secs(5);

/// A server that keeps the contract, as far as a client that behaves can tell.
pub struct TestSuite {
    target: TestTarget,
    protocols: Vec<Protocol>,
    /// Sets this run's queues apart from those of others.
    run: u64,
    queues: AtomicU64,
}

impl TestSuite {
    /// Finds the server of a URL, and which protocols it speaks.
    pub async fn find(url: &str, trust: &CertificateTrust) -> Result<Self, TargetError> {
        let target = TestTarget::find(url, trust).await?;
        let of_scheme = if target.is_tls() {
            [Protocol::Http1Tls, Protocol::Http2Tls]
        } else {
            [Protocol::Http1, Protocol::Http2]
        };
        let run = RandomState::new().hash_one(std::process::id());
        let mut suite = Self { target, protocols: Vec::new(), run, queues: AtomicU64::new(0) };
        let mut problems = Vec::new();
        for protocol in of_scheme {
            match suite.probe(protocol).await {
                Ok(()) => suite.protocols.push(protocol),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.into_iter().next() {
            Some(problem) if suite.protocols.is_empty() => Err(problem),
            _ => Ok(suite),
        }
    }

    /// The protocols that the server speaks.
    pub fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    /// Plays these cases over these protocols, where they apply. `played` is told how many rounds have been, of how many.
    pub async fn run(
        &self,
        cases: &[TestCase],
        protocols: &[Protocol],
        rounds: u32,
        played: impl Fn(u64, u64),
    ) -> ConformanceReport {
        let mut rows: Vec<ReportRow> = Vec::new();
        for &protocol in protocols {
            let applying = cases.iter().filter(|case| case.applies_to(protocol));
            rows.extend(applying.map(|&case| ReportRow::new(case, protocol)));
        }
        let jobs = rows
            .iter()
            .enumerate()
            .flat_map(|(index, row)| (0..rounds).map(move |round| (index, row.case, row.protocol, round)));
        let jobs: Vec<_> = jobs.collect();
        let (mut count, all) = (0, jobs.len() as u64);
        let mut outcomes = futures::stream::iter(jobs)
            .map(|(index, case, protocol, round)| async move {
                let offset = OFFSETS[round as usize % OFFSETS.len()];
                let round =
                    TestRound { target: &self.target, case: &case, protocol, queue: self.queue(), offset };
                (index, round.play().await)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((index, outcome)) = outcomes.next().await {
            rows[index].tally.count(outcome);
            count += 1;
            played(count, all);
        }
        ConformanceReport { url: self.target.url.clone(), rounds, rows }
    }

    /// A queue's name that was not used before.
    fn queue(&self) -> String {
        format!("c{:016x}-{}", self.run, self.queues.fetch_add(1, Ordering::Relaxed))
    }

    /// Tries the contract.
    async fn probe(&self, protocol: Protocol) -> Result<(), TargetError> {
        let url = || self.target.url.clone();
        let unreachable =
            |error: io::Error| TargetError::Unreachable { url: url(), problem: error.to_string() };
        let contract = |problem: String| TargetError::Contract { url: url(), problem };
        let mut client = match timeout(PROBE, HealthyClient::connect(&self.target, protocol)).await {
            Ok(client) => client.map_err(unreachable)?,
            Err(_) => return Err(contract(format!("no {protocol} for {} s", PROBE.as_secs()))),
        };
        match timeout(PROBE, exchange(&mut client, &self.queue())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(contract(error.to_string())),
            Err(_) => Err(contract(format!("no answer over {protocol} for {} s", PROBE.as_secs()))),
        }
    }
}

/// What a client that behaves sees of the contract.
async fn exchange(client: &mut HealthyClient, queue: &str) -> io::Result<()> {
    let event = Bytes::from_static(b"an event\n");
    let first = client.poll(queue, Duration::ZERO).await?;
    if first.is_some() {
        return Err(io::Error::other("a poll of an unused queue was answered with an event"));
    }
    client.push(queue, &event).await?;
    match client.poll(queue, Duration::from_secs(1)).await? {
        Some(answer) if answer == event => Ok(()),
        Some(_) => Err(io::Error::other("a poll was answered with other bytes than were pushed")),
        None => Err(io::Error::other("a poll was not answered with the event that was pushed before")),
    }
}
