//! The suite of `linger conformance`, against Linger and against others.

use std::collections::HashSet;
use std::process::Output;

use serde_json::Value;

use linger_conformance::{CASES, CertificateTrust, ConformanceReport, Protocol, TestCase, TestSuite};

use crate::harness::{Certificate, Fault, Naive, Peer, Server, assert_refused, both, linger, text};

const ROUNDS: u32 = 6;

/// One test for each group of cases and each component, in clear and over TLS.
macro_rules! groups {
    ($($group:ident: $numbers:expr),* $(,)?) => {
        /// The numbers of all groups.
        const GROUPS: &[&[u32]] = &[$(&$numbers),*];

        $(mod $group {
            #[tokio::test]
            async fn p3() {
                super::linger_passes("longpoll", &$numbers).await;
            }

            #[tokio::test]
            async fn p2() {
                super::linger_passes("longpoll-p2", &$numbers).await;
            }
        })*
    };
}

groups!(
    client_that_stays_gets_its_event: [0, 6, 22],
    client_that_leaves_while_parked_costs_nothing: [1, 2, 4],
    bytes_behind_the_request_hide_nothing: [7, 8, 9],
    request_body_hides_nothing: [10, 11, 12, 13, 14],
    tls_hides_nothing: [16, 17],
    http2_client_that_leaves_costs_nothing: [20, 21],
    leave_and_event_at_once_cost_nothing: [23],
    answer_that_was_not_read_comes_again: [24],
    answer_that_was_read_comes_not_again: [26, 27],
);

#[test]
fn each_case_is_in_one_group() {
    let grouped: Vec<_> = GROUPS.iter().copied().flatten().copied().collect();
    let numbers: HashSet<_> = CASES.iter().map(|case| case.number).collect();
    assert_eq!(grouped.len(), numbers.len());
    assert_eq!(grouped.into_iter().collect::<HashSet<_>>(), numbers);
}

async fn linger_passes(component: &str, numbers: &[u32]) {
    let server = Server::patient(component).await;
    passes(&format!("http://{}", server.address()), &CertificateTrust::Public, numbers).await;
    let certificate = Certificate::new();
    let server = Server::with_tls(component, &certificate).await;
    let trust = CertificateTrust::File(certificate.file());
    passes(&format!("https://{}", server.address()), &trust, numbers).await;
}

both!("longpoll", "longpoll-p2": tolerant_listener_loses_nothing_and_answers_who_reads_on);

/// A listener whose clients may close their direction and read on. All cases, so few rounds of each.
async fn tolerant_listener_loses_nothing_and_answers_who_reads_on(component: &str) {
    let certificate = Certificate::new();
    for (scheme, tls) in [("http", None), ("https", Some(&certificate))] {
        let server = Server::tolerant(component, tls).await;
        let trust =
            tls.map_or(CertificateTrust::Public, |certificate| CertificateTrust::File(certificate.file()));
        let suite = TestSuite::find(&format!("{scheme}://{}", server.address()), &trust).await.unwrap();
        let report = suite.run(CASES, suite.protocols(), 3, |_, _| {}).await;
        for row in &report.rows {
            let reads_on = matches!(row.case.name, "half-close" | "tls-close-notify");
            let answered = row.tally.delivered == row.tally.rounds();
            assert!(row.tally.passed() && (answered || !reads_on), "\n{report}");
        }
    }
}

/// These cases pass, over all protocols of the scheme.
async fn passes(url: &str, trust: &CertificateTrust, numbers: &[u32]) {
    let suite = TestSuite::find(url, trust).await.unwrap();
    assert_eq!(suite.protocols(), protocols_of(url));
    let report = suite.run(&with_numbers(numbers), suite.protocols(), ROUNDS, |_, _| {}).await;
    assert_complete(&report, suite.protocols(), numbers, ROUNDS);
    assert!(report.rows.iter().all(|row| row.tally.passed()), "\n{report}");
}

fn protocols_of(url: &str) -> &'static [Protocol] {
    if url.starts_with("https://") {
        &[Protocol::Http1Tls, Protocol::Http2Tls]
    } else {
        &[Protocol::Http1, Protocol::Http2]
    }
}

fn with_numbers(numbers: &[u32]) -> Vec<TestCase> {
    CASES.iter().filter(|case| numbers.contains(&case.number)).copied().collect()
}

/// There is a result for each round of each case that applies.
#[track_caller]
fn assert_complete(report: &ConformanceReport, protocols: &[Protocol], numbers: &[u32], rounds: u32) {
    let cases = with_numbers(numbers);
    let count = |protocol: &Protocol| cases.iter().filter(|case| case.applies_to(*protocol)).count();
    assert_eq!(report.rows.len(), protocols.iter().map(count).sum::<usize>(), "\n{report}");
    assert!(report.rows.iter().all(|row| row.tally.rounds() == rounds), "\n{report}");
}

/// The suite runs to its end on a server that may pass or not. Who behaves is served by any.
async fn suite_runs(url: &str, trust: &CertificateTrust, protocols: &[Protocol]) {
    let suite = TestSuite::find(url, trust).await.unwrap();
    assert_eq!(suite.protocols(), protocols);
    let report = suite.run(CASES, protocols, 1, |_, _| {}).await;
    let numbers: Vec<_> = CASES.iter().map(|case| case.number).collect();
    assert_complete(&report, protocols, &numbers, 1);
    for row in &report.rows {
        assert!(!matches!(row.case.number, 0 | 26 | 27) || row.tally.passed(), "\n{report}");
    }
}

#[tokio::test]
async fn suite_runs_on_go() {
    if let Some(peer) = Peer::go(None).await {
        suite_runs(peer.url(), &CertificateTrust::Public, &[Protocol::Http1]).await;
    }
}

#[tokio::test]
async fn suite_runs_on_go_over_tls() {
    let certificate = Certificate::new();
    if let Some(peer) = Peer::go(Some(&certificate)).await {
        let protocols = protocols_of(peer.url());
        suite_runs(peer.url(), &CertificateTrust::File(certificate.file()), protocols).await;
    }
}

#[tokio::test]
async fn suite_runs_on_node() {
    if let Some(peer) = Peer::node(None).await {
        suite_runs(peer.url(), &CertificateTrust::Public, &[Protocol::Http1]).await;
    }
}

#[tokio::test]
async fn suite_runs_on_node_over_tls() {
    let certificate = Certificate::new();
    if let Some(peer) = Peer::node(Some(&certificate)).await {
        let protocols = protocols_of(peer.url());
        suite_runs(peer.url(), &CertificateTrust::Anybody, protocols).await;
    }
}

/// Runs the command while servers in this process go on.
async fn conformance(arguments: &[&str]) -> Output {
    let arguments: Vec<_> = ["conformance"].iter().chain(arguments).map(|&word| word.to_owned()).collect();
    tokio::task::spawn_blocking(move || linger(&arguments)).await.unwrap()
}

#[tokio::test]
async fn server_that_loses_events_is_found_out() {
    let naive = Naive::start(Fault::Loses).await;
    let url = format!("http://{}", naive.address);
    let arguments = [&url, "--json", "--rounds", "2", "--case", "0", "--case", "1", "--case", "2"];
    let output = conformance(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["passed"], false);
    assert_eq!(report["lost"], 4, "{report}");
    let lost = |name: &str| {
        let results = report["results"].as_array().unwrap();
        results.iter().find(|row| row["name"] == name).unwrap()["lost"].clone()
    };
    assert_eq!((lost("control"), lost("close"), lost("reset")), (0.into(), 2.into(), 2.into()));
}

#[tokio::test]
async fn table_has_a_line_for_each_result_and_one_that_sums_up() {
    let naive = Naive::start(Fault::Loses).await;
    let url = format!("http://{}", naive.address);
    let output = conformance(&[&url, "--rounds", "1", "--case", "0", "--case", "1"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let line = |name: &str| {
        let words = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.into_iter().find(|words| words.get(1) == Some(&name)).expect(said)
    };
    assert_eq!(line("control"), ["0", "control", "HTTP/1.1", "0", "1", "0", "0", "0", "ok"]);
    assert_eq!(line("close"), ["1", "close", "HTTP/1.1", "0", "0", "1", "0", "0", "LOST"]);
    assert_eq!(line("goaway").last(), Some(&"-"));
    let summary = said.lines().last().unwrap();
    assert!(summary.contains(&url) && summary.contains("1 of 2 ok") && summary.contains("1 lost"), "{said}");
}

#[tokio::test]
async fn server_that_repeats_events_is_found_out() {
    let naive = Naive::start(Fault::Repeats).await;
    let suite =
        TestSuite::find(&format!("http://{}", naive.address), &CertificateTrust::Public).await.unwrap();
    let report = suite.run(&with_numbers(&[0, 26, 27]), suite.protocols(), 2, |_, _| {}).await;
    assert!(!report.passed());
    for row in &report.rows {
        assert_eq!(row.tally.again, 2, "\n{report}");
    }
}

#[tokio::test]
async fn well_behaved_part_of_the_contract_exits_with_0() {
    let naive = Naive::start(Fault::Loses).await;
    let url = format!("http://{}", naive.address);
    let output = conformance(&[&url, "--rounds", "1", "--case", "0"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[tokio::test]
async fn server_that_is_not_there_is_refused() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}");
    assert_refused(&conformance(&[&url]).await, &[&url, "refused", "start the server"]);
}

#[tokio::test]
async fn server_without_the_contract_is_refused() {
    let server = Server::start("hello").await;
    let url = format!("http://{}", server.address());
    assert_refused(&conformance(&[&url]).await, &[&url, "POST /push/{queue}", "--help"]);
}

#[tokio::test]
async fn certificate_that_is_not_trusted_is_refused() {
    let certificate = Certificate::new();
    if let Some(peer) = Peer::node(Some(&certificate)).await {
        assert_refused(&conformance(&[peer.url()]).await, &[peer.url(), "certificate", "--ca"]);
    }
}

#[tokio::test]
async fn bad_arguments_are_refused() {
    for url in ["nowhere", "ftp://127.0.0.1", "http://", "/push"] {
        assert_refused(&conformance(&[url]).await, &[url, "http://HOST:PORT"]);
    }
    let output = conformance(&["http://127.0.0.1:1", "--case", "5"]).await;
    assert_refused(&output, &["--case 5", "the cases are 0, 1, 2, 4, 6"]);
    let output = conformance(&["https://127.0.0.1:1", "--ca", "none.pem"]).await;
    assert_refused(&output, &["none.pem", "PEM file"]);
    assert_eq!(conformance(&["http://127.0.0.1:1", "--rounds", "0"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn help_has_an_example() {
    let output = conformance(&["--help"]).await;
    assert!(output.status.success());
    let said = text(&output.stdout);
    for part in ["linger conformance http://127.0.0.1:8080", "--json", "--rounds", "--insecure", "--ca"] {
        assert!(said.contains(part), "{said}");
    }
}
