//! The queue of spans, and the thread that empties it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metrics::{SpanFate, SpanMetrics};

/// Where spans wait to be sent.
#[derive(Debug)]
pub(super) struct SpanQueue {
    sender: mpsc::Sender<SpanData>,
    max_batch: usize,
    /// Notified when there are as many as are sent at a time.
    full: Arc<Notify>,
    spans: SpanMetrics,
}

/// Sends what is in the queue, once it is started.
pub struct SpanExport {
    receiver: mpsc::Receiver<SpanData>,
    full: Arc<Notify>,
    exporter: SpanExporter,
    spans: SpanMetrics,
    max_batch: usize,
    interval: Duration,
    timeout: Duration,
}

/// A thread that sends spans, until it is dropped.
pub struct ExportThread {
    stop: DropGuard,
    ended: oneshot::Receiver<()>,
}

/// A queue with its two ends.
pub(super) fn queue(
    config: &linger_config::TracesConfig,
    exporter: SpanExporter,
    spans: SpanMetrics,
) -> (SpanQueue, SpanExport) {
    let linger_config::TracesConfig { max_queued, max_batch, interval, timeout, .. } = *config;
    let (sender, receiver) = mpsc::channel(max_queued);
    let full = Arc::new(Notify::new());
    let queue = SpanQueue { sender, max_batch, full: full.clone(), spans: spans.clone() };
    (queue, SpanExport { receiver, full, exporter, spans, max_batch, interval, timeout })
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    /// Does not wait: a span that there is no room for is dropped.
    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.spans.count(SpanFate::Dropped, 1);
        }
        if self.sender.max_capacity() - self.sender.capacity() >= self.max_batch {
            self.full.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanExport {
    /// Starts the thread. It has a runtime of its own, so that encoding disturbs nobody who serves.
    pub fn start(self) -> io::Result<ExportThread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let (ending, ended) = oneshot::channel();
        let stopping = stop.clone();
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
            runtime.block_on(self.run(&stopping));
            runtime.shutdown_background();
            // Who waited may have gone.
            let _ = ending.send(());
        })?;
        Ok(ExportThread { stop: stop.drop_guard(), ended })
    }

    async fn run(mut self, stop: &CancellationToken) {
        let timeout = self.timeout;
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(timeout).await;
        };
        tokio::select! {
            () = self.send_all(stop) => {}
            () = overdue => tracing::warn!("spans are lost: the collector did not accept the last ones within `traces.timeout`"),
        }
    }

    /// Sends spans until it is told to stop, and then those that are there.
    async fn send_all(&mut self, stop: &CancellationToken) {
        loop {
            let (enough, stopped) = tokio::select! {
                biased;
                () = stop.cancelled() => (1, true),
                () = self.full.notified() => (self.max_batch, false),
                () = tokio::time::sleep(self.interval) => (1, false),
            };
            // Not those that come meanwhile: they wait for others.
            let mut left = self.receiver.len();
            while left >= enough {
                left -= self.send(left.min(self.max_batch)).await;
            }
            if stopped {
                return;
            }
        }
    }

    /// Sends so many, which are there, and returns how many there were.
    async fn send(&mut self, count: usize) -> usize {
        let mut batch = Vec::with_capacity(count);
        self.receiver.recv_many(&mut batch, count).await;
        let count = batch.len();
        let fate = match self.exporter.export(batch).await {
            Ok(()) => SpanFate::Exported,
            // The client has said why.
            Err(_) => SpanFate::Failed,
        };
        self.spans.count(fate, count);
        count
    }
}

impl ExportThread {
    /// Sends the spans that there are, within the configured time, and ends.
    pub async fn stop(self) {
        drop(self.stop);
        // An error: it has panicked, and so ended.
        let _ = self.ended.await;
    }
}
