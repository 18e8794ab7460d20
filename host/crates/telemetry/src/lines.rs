//! Writes the lines of the log, in batches and from its own thread, so that no request waits
//! for a write, and a reader that has stopped stops nobody.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines below [`Level::INFO`] wait for so long for others: who has one for each request has many.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the end of the process waits for who reads the log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that are written without waiting for more.
const FULL: usize = 256 * 1024;

/// Bytes that wait while the reader does not read. What comes then is dropped, and the log says how many lines.
const MOST: usize = 4 * 1024 * 1024;

/// Takes lines. Clones take them for the same reader.
#[derive(Clone)]
pub(super) struct LogSink(Arc<SinkState>);

#[derive(Default)]
struct SinkState {
    waiting: Mutex<PendingLines>,
    changed: Condvar,
}

/// What is yet to be written.
#[derive(Default)]
struct PendingLines {
    bytes: Vec<u8>,
    /// Whether they do not wait for others.
    urgent: bool,
    dropped: u64,
    /// Whether no more is written than what is here.
    ended: bool,
    /// Whether that was.
    written: bool,
}

/// What ends with the log. Dropped, it waits until all is written that came before.
pub struct SinkGuard(Arc<SinkState>);

impl LogSink {
    /// Begins to write to `out`, whose errors are of no interest: a log that nobody reads any more is no reason to fail.
    pub(super) fn to(out: impl io::Write + Send + 'static) -> io::Result<(Self, SinkGuard)> {
        let shared = Arc::<SinkState>::default();
        let writer = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write(out))?;
        Ok((Self(shared.clone()), SinkGuard(shared)))
    }

    /// Takes a line about such an event.
    pub(super) fn put(&self, line: &str, of: &Metadata<'_>) {
        self.0.push(line.as_bytes(), is_urgent(of));
    }
}

/// Whether a line does not wait for others. The rarer level is the smaller one.
fn is_urgent(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::INFO
}

impl SinkState {
    fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + line.len() > MOST {
            waiting.dropped += 1;
            return;
        }
        let (was_empty, was_full) = (waiting.bytes.is_empty(), waiting.is_due());
        waiting.bytes.extend_from_slice(line);
        waiting.urgent |= urgent;
        if was_empty || waiting.is_due() != was_full {
            self.changed.notify_one();
        }
    }

    /// Writes until the end.
    fn write(&self, mut out: impl io::Write) {
        let mut batch = Vec::with_capacity(FULL);
        loop {
            let (dropped, ended) = self.take(&mut batch);
            put(&mut out, &batch);
            batch.clear();
            if dropped > 0 {
                tracing::error!(
                    "{dropped} log lines before this one are dropped: the log was written faster than it was read"
                );
            } else if ended {
                self.lock().written = true;
                self.changed.notify_all();
                return;
            }
        }
    }

    /// Waits for a batch, and takes it. How many lines were dropped before, and whether none will follow.
    fn take(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut waiting = self.lock();
        self.changed.wait_while(&mut waiting, |waiting| waiting.bytes.is_empty() && !waiting.ended);
        self.changed.wait_while_for(&mut waiting, |waiting| !waiting.is_due(), PAUSE);
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.urgent = false;
        (std::mem::take(&mut waiting.dropped), waiting.ended)
    }

    fn lock(&self) -> MutexGuard<'_, PendingLines> {
        self.waiting.lock()
    }
}

/// Writes all, also to what does not block its writers. Other errors are of no interest: see [`LogSink::to`].
fn put(out: &mut impl io::Write, mut rest: &[u8]) {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return,
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

impl PendingLines {
    /// Whether it is not worth while to wait for more.
    fn is_due(&self) -> bool {
        self.urgent || self.ended || self.bytes.len() >= FULL
    }
}

impl Drop for SinkGuard {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
        let mut waiting = self.0.lock();
        // In vain, if the reader has stopped.
        self.0.changed.wait_while_for(&mut waiting, |waiting| !waiting.written, PATIENCE);
    }
}

/// What is written at once is one line.
pub(super) struct LineBuffer<'a> {
    lines: &'a SinkState,
    urgent: bool,
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = LineBuffer<'a>;

    fn make_writer(&'a self) -> LineBuffer<'a> {
        LineBuffer { lines: &self.0, urgent: true }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> LineBuffer<'a> {
        LineBuffer { lines: &self.0, urgent: is_urgent(of) }
    }
}

impl io::Write for LineBuffer<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;

    /// Passes on what is written at once, and has then read it when it is told so.
    struct LineReader {
        may: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl io::Write for LineReader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            self.may.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (LogSink, SinkGuard, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (read, may) = mpsc::channel();
        let (written, batches) = mpsc::channel();
        let (lines, writing) = LogSink::to(LineReader { may, written }).unwrap();
        (lines, writing, read, batches)
    }

    fn log(lines: &LogSink, line: &str, urgent: bool) {
        LineBuffer { lines: &lines.0, urgent }.write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn lines_go_together_and_none_is_left() {
        let (lines, writing, read, batches) = reader();
        log(&lines, "first\n", true);
        assert_eq!(batches.recv().unwrap(), "first\n");
        log(&lines, "second\n", false);
        log(&lines, "third\n", false);
        read.send(()).unwrap();
        read.send(()).unwrap();
        drop(writing);
        assert_eq!(batches.recv().unwrap(), "second\nthird\n");
    }

    #[test]
    fn reader_that_has_stopped_stops_nobody() {
        let (lines, writing, read, batches) = reader();
        let line = "x".repeat(FULL - 1) + "\n";
        for _ in 0..3 * MOST / FULL {
            log(&lines, &line, false);
        }
        // What was being written, and what waits.
        drop(read);
        drop(writing);
        let kept: usize = batches.iter().map(|batch| batch.len()).sum();
        assert!((MOST..=2 * MOST).contains(&kept), "{kept}");
    }
}
