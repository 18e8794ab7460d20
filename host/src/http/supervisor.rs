//! Watches over the requests of a connection: cancels them when their time is over, when the server stops and when the
//! client leaves, and gives up those that go on after their grace.
//!
//! A request costs a place in a list. What waits is the connection, once for all of them, with one timer for whatever is
//! due first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::guard::ClientLink;
use crate::cancel::Reason;
use crate::exchange::Exchange;

#[derive(Default)]
pub(super) struct Supervisor {
    watched: Mutex<Watched>,
    /// Notified when something is due before what was due first.
    sooner: Notify,
}

#[derive(Default)]
struct Watched {
    requests: Vec<Request>,
    /// Nothing is due before.
    next: Option<Instant>,
    /// Whether the server stops.
    stopping: bool,
}

struct Request {
    exchange: Arc<Exchange>,
    /// Whether the connection serves it alone.
    alone: bool,
    /// When its time is over or, once it was cancelled, its grace.
    due: Option<Instant>,
    in_grace: bool,
}

impl Supervisor {
    /// Watches over a request, until it is [forgotten](Self::forget). `alone`: the connection has no other meanwhile.
    pub(super) fn watch(&self, exchange: Arc<Exchange>, alone: bool) {
        let mut request = Request { due: exchange.deadline(), exchange, alone, in_grace: false };
        let mut watched = self.watched();
        if watched.stopping {
            request.cancel(Reason::Shutdown);
        }
        let sooner = request.due.is_some_and(|due| watched.next.is_none_or(|next| due < next));
        if sooner {
            watched.next = request.due;
        }
        watched.requests.push(request);
        drop(watched);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Its response has ended, or is with hyper to its end.
    pub(super) fn forget(&self, exchange: &Exchange) {
        let mut watched = self.watched();
        // The latest is likely to be the first to end.
        let found = watched.requests.iter().rposition(|request| request.exchange.id == exchange.id);
        if let Some(index) = found {
            watched.requests.swap_remove(index);
        }
    }

    /// Does so for as long as it is polled.
    pub(super) async fn run(&self, link: &ClientLink, stopping: &CancellationToken) {
        let mut here = true;
        loop {
            let (next, serving) = {
                let watched = self.watched();
                (watched.next, !watched.stopping)
            };
            let due = async {
                match next {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = link.departed(), if here => {
                    here = false;
                    self.watched().requests.iter().for_each(|request| request.exchange.cancel(reason));
                }
                () = stopping.cancelled(), if serving => self.stop(),
                () = self.sooner.notified() => {}
                () = due => self.act(link),
            }
        }
    }

    fn stop(&self) {
        let mut watched = self.watched();
        watched.stopping = true;
        watched.requests.iter_mut().for_each(|request| request.cancel(Reason::Shutdown));
        watched.find_next();
    }

    /// Does what is due.
    fn act(&self, link: &ClientLink) {
        let mut over = Vec::new();
        let mut watched = self.watched();
        let now = Instant::now();
        watched.requests.retain_mut(|request| {
            if request.due.is_none_or(|due| due > now) {
                return true;
            }
            if !request.in_grace {
                request.cancel(Reason::Deadline);
                return true;
            }
            over.push((request.exchange.clone(), request.alone));
            false
        });
        watched.find_next();
        drop(watched);
        for (exchange, alone) in over {
            // Hyper does not poll a body while the client does not read.
            if exchange.give_up() && alone {
                link.abandon();
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn find_next(&mut self) {
        self.next = self.requests.iter().filter_map(|request| request.due).min();
    }
}

impl Request {
    /// Tells its guest to stop. If there was a reason before, that one stays.
    fn cancel(&mut self, reason: Reason) {
        self.exchange.cancellation.cancel(reason);
        if !self.in_grace {
            self.in_grace = true;
            self.due = Instant::now().checked_add(self.exchange.grace());
        }
    }
}
