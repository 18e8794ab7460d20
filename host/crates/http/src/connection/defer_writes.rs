//! Keeps back what a connection has to say for itself, while it is about to show whether a response was read.
//!
//! A client that closes says so first, over TLS (`close_notify`) and HTTP/2 (GOAWAY), and a server answers in
//! kind. When that answer arrives before the client closes its socket, it lies there unread: the client's
//! kernel then resets the connection, as it would for a response that was not read. So while a receipt is
//! awaited and no request is in progress, the answer waits for the client to go.
//!
//! So do the words with which this side closes by itself, over TLS, after the last answer (`connection: close`, or a
//! server that stops): a client that goes by the length of an answer does not read them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::connection::Connection;

/// What follows the last word of a client follows at once. A client that stays waits this long for an answer
/// to a PING.
const LIMIT: Duration = Duration::from_millis(100);

/// How long the words wait with which this side closes by itself. A client that waits for them waits as long.
const CLOSING_LIMIT: Duration = Duration::from_secs(1);

/// Whether there is nothing to say but about the connection itself.
#[derive(Default)]
pub(crate) struct QuietState {
    on: AtomicBool,
    close_awaited: AtomicBool,
}

impl QuietState {
    /// A response has been written, and its receipt is awaited.
    pub(crate) fn begin(&self) {
        self.on.store(true, Ordering::Release);
    }

    /// There is a request, or the wait was long enough.
    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::Release);
    }

    /// The answer ends where the connection does, and nothing else says so.
    pub(crate) fn mark_close_awaited(&self) {
        self.close_awaited.store(true, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }
}

/// Holds a write back.
#[derive(Default)]
pub(crate) struct DeferWrites(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl DeferWrites {
    /// Ready when there is no reason to wait, or no longer.
    pub(crate) fn poll(&mut self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_for(LIMIT, connection, cx)
    }

    /// The same for what this side says when it closes by itself, for as long as the client has not said its last word.
    pub(crate) fn poll_closing(&mut self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        // Without TLS nothing is said: the end of a stream is nothing to be read.
        match connection.waits {
            Some(waits) if connection.secure && !connection.quiet.close_awaited.load(Ordering::Acquire) => {
                self.poll_for(waits.confirmation.min(CLOSING_LIMIT), connection, cx)
            }
            _ => Poll::Ready(()),
        }
    }

    fn poll_for(&mut self, limit: Duration, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        let holds = connection.quiet.is_on()
            && connection.requests.is_empty()
            && !connection.receipts.is_empty()
            && connection.monitor.departure().is_none();
        if !holds {
            self.0 = None;
            return Poll::Ready(());
        }
        let waiting = self.0.get_or_insert_with(|| {
            let link = connection.monitor.clone();
            Box::pin(async move {
                // Either way there is nothing left to wait for.
                let _ = tokio::time::timeout(limit, link.wait_departed()).await;
            })
        });
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.0 = None;
        connection.quiet.end();
        Poll::Ready(())
    }
}
