//! Keeps back what a connection has to say for itself, while it is about to show whether a response was read.
//!
//! A client that closes says so first, over TLS (`close_notify`) and HTTP/2 (GOAWAY), and a server answers in
//! kind. When that answer arrives before the client closes its socket, it lies there unread: the client's
//! kernel then resets the connection, as it would for a response that was not read. So while a receipt is
//! awaited and no request is in progress, the answer waits for the client to go.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::connection::Connection;

/// What follows the last word of a client follows at once. A client that stays waits this long for an answer
/// to a PING.
const LIMIT: Duration = Duration::from_millis(100);

/// Whether there is nothing to say but about the connection itself.
#[derive(Default)]
pub(super) struct Quiet(AtomicBool);

impl Quiet {
    /// A response has been written, and its receipt is awaited.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// There is a request, or the wait was long enough.
    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Holds a write back.
#[derive(Default)]
pub(super) struct Hold(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Hold {
    /// Ready when there is no reason to wait, or no longer.
    pub(super) fn poll(&mut self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        let holds = connection.quiet.is_on()
            && connection.requests.is_empty()
            && !connection.receipts.is_empty()
            && connection.link.departure().is_none();
        if !holds {
            self.0 = None;
            return Poll::Ready(());
        }
        let waiting = self.0.get_or_insert_with(|| {
            let link = connection.link.clone();
            Box::pin(async move {
                // Either way there is nothing left to wait for.
                let _ = tokio::time::timeout(LIMIT, link.departed()).await;
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
