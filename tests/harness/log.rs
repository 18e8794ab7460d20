//! The lines that a process writes, as they come.

use std::io::{BufRead as _, BufReader, Read};

use tokio::sync::watch;

use super::soon;

/// All lines so far, with a way to wait for one.
pub(crate) struct ServerLog {
    lines: watch::Receiver<Vec<String>>,
}

impl ServerLog {
    /// Reads from a thread of its own, until the process has closed its end.
    pub(super) fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        // It ends with the process, which its owner kills.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        Self { lines }
    }

    /// The first line with all of these parts, once it is there.
    pub(crate) async fn line(&self, parts: &[&str]) -> String {
        let fits = |line: &&String| parts.iter().all(|part| line.contains(part));
        let mut lines = self.lines.clone();
        let found =
            soon("waiting for a line", lines.wait_for(|lines| lines.iter().any(|line| fits(&line)))).await;
        let Ok(lines) = found else {
            panic!("no line with {parts:?} in:\n{}", self.text());
        };
        lines.iter().find(fits).cloned().unwrap()
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        self.lines.borrow().join("\n")
    }
}
