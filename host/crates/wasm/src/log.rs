//! Guest output to the log: each line of a guest's stdout and stderr becomes a log line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use linger_telemetry::{AppMetrics, Reached};

use super::state::WritingRequest;

/// The longest line in the log, in bytes. A longer one is split.
const MAX_LINE: usize = 8 * 1024;

/// Which of the standard streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum StandardStream {
    Stdout,
    Stderr,
}

/// A standard stream of one instance.
#[derive(Clone)]
pub(super) struct GuestOutput {
    pub(super) app: Arc<str>,
    pub(super) stream: StandardStream,
    pub(super) writing: WritingRequest,
    pub(super) flood: Arc<FloodGate>,
}

/// Bounds what the guests of an app write to the log.
pub(super) struct FloodGate {
    /// Lines a second.
    max: u32,
    second: Mutex<LogSecond>,
    metrics: Arc<AppMetrics>,
}

struct LogSecond {
    began: Instant,
    lines: u32,
}

impl FloodGate {
    pub(super) fn new(max: u32, metrics: Arc<AppMetrics>) -> Self {
        Self { max, second: Mutex::new(LogSecond { began: Instant::now(), lines: 0 }), metrics }
    }

    /// Whether another line may be logged. Says so when the first may not, and how many there were when that is over.
    fn admits(&self, app: &str) -> bool {
        let mut second = self.second.lock();
        if second.began.elapsed() >= Duration::from_secs(1) {
            let dropped = second.lines.saturating_sub(self.max);
            if dropped > 0 {
                tracing::warn!(app, "{dropped} log lines of guests are dropped");
            }
            *second = LogSecond { began: Instant::now(), lines: 0 };
        }
        second.lines = second.lines.saturating_add(1);
        if second.lines == self.max.saturating_add(1) {
            let max = self.max;
            tracing::warn!(
                app,
                "guests write more than max_log_lines = {max} lines per second; further lines are dropped"
            );
        }
        let admitted = second.lines <= self.max;
        if !admitted {
            self.metrics.record_reached(Reached::LogLines);
        }
        admitted
    }
}

impl GuestOutput {
    fn writer(&self) -> LineWriter {
        LineWriter { output: self.clone(), line: Vec::new() }
    }

    fn log(&self, line: &[u8]) {
        // The text of a panic starts with an empty line.
        if line.trim_ascii().is_empty() {
            return;
        }
        if !self.flood.admits(&self.app) {
            return;
        }
        let text = String::from_utf8_lossy(line);
        let app = &*self.app;
        let request = self.writing.get().map(tracing::field::display);
        match self.stream {
            StandardStream::Stdout => tracing::info!(target: "guest", app, request, "{text}"),
            StandardStream::Stderr => tracing::warn!(target: "guest", app, request, "{text}"),
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

/// Gathers bytes to lines. What has no end of line yet is logged when the stream goes.
struct LineWriter {
    output: GuestOutput,
    line: Vec<u8>,
}

impl LineWriter {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(MAX_LINE - self.line.len())];
            let end = room.iter().position(|&byte| byte == b'\n');
            self.line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
            bytes = &bytes[end.map_or(room.len(), |end| end + 1)..];
            if end.is_some() || self.line.len() == MAX_LINE {
                self.output.log(&self.line);
                self.line.clear();
            }
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.output.log(&self.line);
        }
    }
}

#[async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 * 1024)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
