//! Cancellation of a request's work, with a reason. The first reason wins. No IO.

use std::fmt;
use std::sync::Arc;

use tokio::sync::SetOnce;

/// The reason of a cancellation. The WIT enum `linger:host/types.reason` mirrors it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client closed the connection, or its stream, in order.
    Closed,
    /// The client reset the connection or the stream.
    Reset,
    /// The client stopped answering the network.
    Unresponsive,
    /// The request ran out of the time that its route allows.
    Deadline,
    /// The server is stopping.
    Shutdown,
    /// A newer generation of the app serves now.
    Replaced,
    /// The exchange ended in order.
    Completed,
}

impl Reason {
    /// Whether the client can no longer receive anything.
    #[must_use]
    pub fn client_is_gone(self) -> bool {
        matches!(self, Self::Closed | Self::Reset | Self::Unresponsive)
    }

    /// Its name for guests and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Unresponsive => "unresponsive",
            Self::Deadline => "deadline",
            Self::Shutdown => "shutdown",
            Self::Replaced => "replaced",
            Self::Completed => "completed",
        }
    }

    /// Whether a response is of no use any more: the client has disconnected, or has its response.
    #[must_use]
    pub fn ends_exchange(self) -> bool {
        self.client_is_gone() || self == Self::Completed
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Cancels all work for a request, once, with one [`Reason`].
///
/// Clones share one state. Dropping a clone cancels nothing.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<SetOnce<Reason>>);

impl Cancellation {
    /// A cancellation without a reason yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A cancellation that was `completed` from the start, for code that runs outside of any request.
    #[must_use]
    pub fn completed() -> Self {
        let cancellation = Self::new();
        cancellation.cancel(Reason::Completed);
        cancellation
    }

    /// Sets the reason and wakes all waiters. Returns false if there was a reason already, which then stays.
    pub fn cancel(&self, reason: Reason) -> bool {
        self.0.set(reason).is_ok()
    }

    /// The reason, if there is one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.0.get().copied()
    }

    /// Waits for the reason; at once if there is one. Cancel-safe.
    pub async fn wait_cancelled(&self) -> Reason {
        *self.0.wait().await
    }

    /// Like [`wait_cancelled`](Self::wait_cancelled), for a future that outlives the borrow.
    pub async fn wait_cancelled_owned(self) -> Reason {
        self.wait_cancelled().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn second_reason_changes_nothing() {
        let cancellation = Cancellation::new();
        assert_eq!(cancellation.reason(), None);
        assert!(cancellation.cancel(Reason::Closed));
        assert!(!cancellation.cancel(Reason::Shutdown));
        assert_eq!(cancellation.reason(), Some(Reason::Closed));
    }

    #[test]
    fn racing_threads_agree_on_one_reason() {
        for _ in 0..200 {
            let cancellation = Cancellation::new();
            let winners: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = [Reason::Closed, Reason::Shutdown, Reason::Deadline]
                    .map(|reason| {
                        let cancellation = &cancellation;
                        scope.spawn(move || usize::from(cancellation.cancel(reason)))
                    })
                    .into();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(winners, 1);
        }
    }

    #[tokio::test]
    async fn every_waiter_is_told() {
        let cancellation = Cancellation::new();
        let mut waiters: JoinSet<_> = (0..100).map(|_| cancellation.clone().wait_cancelled_owned()).collect();
        tokio::task::yield_now().await;
        cancellation.cancel(Reason::Reset);
        while let Some(reason) = waiters.join_next().await {
            assert_eq!(reason.unwrap(), Reason::Reset);
        }
        assert_eq!(cancellation.wait_cancelled().await, Reason::Reset);
    }
}
