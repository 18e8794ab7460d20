//! What came of a run, for people and for programs.

use std::fmt;

use serde_json::{Value, json};

use super::case::{Protocol, TestCase};
use super::round::EventFate;
use super::table::CASES;

/// How often each outcome was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeTally {
    /// The next poll got the event.
    pub kept: u32,
    /// The client that was there for the event got it.
    pub delivered: u32,
    /// Nobody got it.
    pub lost: u32,
    /// It came a second time.
    pub again: u32,
    /// Something else happened.
    pub failed: u32,
    /// What else happened first.
    pub problem: Option<String>,
}

impl OutcomeTally {
    pub(super) fn count(&mut self, outcome: EventFate) {
        match outcome {
            EventFate::Kept => self.kept += 1,
            EventFate::Delivered => self.delivered += 1,
            EventFate::Lost => self.lost += 1,
            EventFate::Again => self.again += 1,
            EventFate::Failed(problem) => {
                self.failed += 1;
                self.problem.get_or_insert(problem);
            }
        }
    }

    /// How many rounds there were.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.kept + self.delivered + self.lost + self.again + self.failed
    }

    /// Whether all that happened is what should.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.rounds() > 0 && self.lost + self.again + self.failed == 0
    }

    fn verdict(&self) -> &'static str {
        match self {
            _ if self.passed() => "ok",
            Self { lost: 1.., .. } => "LOST",
            Self { again: 1.., .. } => "AGAIN",
            _ => "FAILED",
        }
    }
}

/// A case over a protocol.
#[derive(Clone, Debug)]
pub struct ReportRow {
    /// The case.
    pub case: TestCase,
    /// The protocol.
    pub protocol: Protocol,
    /// What came of it.
    pub tally: OutcomeTally,
}

impl ReportRow {
    pub(super) fn new(case: TestCase, protocol: Protocol) -> Self {
        Self { case, protocol, tally: OutcomeTally::default() }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct ConformanceReport {
    /// The server.
    pub url: String,
    /// How often each case was played over each protocol.
    pub rounds: u32,
    /// Each case over each protocol.
    pub rows: Vec<ReportRow>,
}

impl ConformanceReport {
    /// Whether nothing was lost, nothing came twice, and nothing else went wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.tally.passed())
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rows: Vec<_> = self.rows.iter().map(row_to_json).collect();
        json!({
            "url": self.url,
            "rounds": self.rounds,
            "passed": self.passed(),
            "lost": self.sum(|tally| tally.lost),
            "again": self.sum(|tally| tally.again),
            "failed": self.sum(|tally| tally.failed),
            "results": rows,
            "not_applicable": self.not_applicable().map(|case| case.name).collect::<Vec<_>>(),
        })
    }

    fn sum(&self, count: impl Fn(&OutcomeTally) -> u32) -> u32 {
        self.rows.iter().map(|row| count(&row.tally)).sum()
    }

    /// Cases that apply to none of the protocols.
    fn not_applicable(&self) -> impl Iterator<Item = &'static TestCase> {
        CASES.iter().filter(|case| !self.rows.iter().any(|row| case.applies_to(row.protocol)))
    }

    fn summary(&self) -> String {
        let passed = self.rows.iter().filter(|row| row.tally.passed()).count();
        format!(
            "{}: {passed} of {} ok, {} rounds each: {} lost, {} again, {} failed",
            self.url,
            self.rows.len(),
            self.rounds,
            self.sum(|tally| tally.lost),
            self.sum(|tally| tally.again),
            self.sum(|tally| tally.failed),
        )
    }
}

fn row_to_json(row: &ReportRow) -> Value {
    let ReportRow { case, protocol, tally } = row;
    json!({
        "case": case.number,
        "name": case.name,
        "protocol": protocol.to_string(),
        "stimulus": case.stimulus,
        "expected": case.expected,
        "bound_ms": u64::try_from(case.bound.as_millis()).unwrap_or(u64::MAX),
        "kept": tally.kept,
        "delivered": tally.delivered,
        "lost": tally.lost,
        "again": tally.again,
        "failed": tally.failed,
        "problem": tally.problem,
        "passed": tally.passed(),
    })
}

/// A table, one line for each case and protocol, and a line that sums it up.
impl fmt::Display for ConformanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>4} {:<22} {:<13} {:>5} {:>5} {:>5} {:>5} {:>6}  result",
            "case", "name", "protocol", "kept", "deliv", "lost", "again", "failed"
        )?;
        for ReportRow { case, protocol, tally } in &self.rows {
            let OutcomeTally { kept, delivered, lost, again, failed, problem } = tally;
            let verdict = tally.verdict();
            write!(
                f,
                "{:>4} {:<22} {protocol:<13} {kept:>5} {delivered:>5} {lost:>5} {again:>5} {failed:>6}  {verdict}",
                case.number, case.name
            )?;
            match problem {
                Some(problem) => writeln!(f, ": {problem}")?,
                None => writeln!(f)?,
            }
        }
        for case in self.not_applicable() {
            writeln!(
                f,
                "{:>4} {:<22} {:<13} {:>5} {:>5} {:>5} {:>5} {:>6}  -",
                case.number, case.name, "-", "-", "-", "-", "-", "-"
            )?;
        }
        writeln!(f, "{}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[EventFate]) -> ConformanceReport {
        let mut row = ReportRow::new(CASES[1], Protocol::Http1);
        for outcome in outcomes {
            row.tally.count(outcome.clone());
        }
        ConformanceReport { url: "http://x".to_owned(), rounds: 2, rows: vec![row] }
    }

    #[test]
    fn one_bad_round_is_enough() {
        assert!(report(&[EventFate::Kept, EventFate::Delivered]).passed());
        for (bad, verdict) in [
            (EventFate::Lost, "LOST"),
            (EventFate::Again, "AGAIN"),
            (EventFate::Failed("why".to_owned()), "FAILED: why"),
        ] {
            let report = report(&[EventFate::Kept, bad]);
            assert!(!report.passed());
            assert_eq!(report.to_json()["passed"], false);
            assert!(report.to_string().contains(verdict), "{report}");
        }
    }

    #[test]
    fn nothing_played_is_nothing_passed() {
        assert!(!report(&[]).passed());
        assert!(!ConformanceReport { url: String::new(), rounds: 1, rows: Vec::new() }.passed());
    }

    #[test]
    fn cases_that_do_not_apply_are_listed() {
        let report = report(&[EventFate::Kept]);
        let list = report.to_json()["not_applicable"].to_string();
        assert!(list.contains("stream-reset") && list.contains("tls-fin"), "{list}");
        assert!(!list.contains("\"reset\""), "{list}");
    }
}
