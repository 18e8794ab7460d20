//! Watches over the requests of a connection: cancels them when their time is over, when the server stops and when the
//! client leaves, gives up those that go on after their grace, and tells when the connection should end.
//!
//! A request costs a place in a list. What waits is the connection, once for all of them, with one timer for whatever is
//! due first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::guard::ClientLink;
use crate::cancel::Reason;
use crate::exchange::Exchange;

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
    /// Until when a first request has to come, while there was none.
    first: Option<Instant>,
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
    /// All of its response is with hyper: no guest is to be waited for any more.
    passed: bool,
}

impl Supervisor {
    /// For a new connection. Hyper bounds the time for a head of HTTP/1.1 only, and from when it begins to serve; so for
    /// the first it is bounded here.
    pub(super) fn new(head_timeout: Duration) -> Self {
        let first = Instant::now().checked_add(head_timeout);
        let watched = Watched { first, next: first, ..Watched::default() };
        Self { watched: Mutex::new(watched), sooner: Notify::new() }
    }

    /// A request has come.
    pub(super) fn request_came(&self) {
        self.watched().first = None;
    }

    /// Watches over a request, until it is [forgotten](Self::forget). `alone`: the connection has no other meanwhile.
    pub(super) fn watch(&self, exchange: Arc<Exchange>, alone: bool) {
        let mut request =
            Request { due: exchange.deadline(), exchange, alone, in_grace: false, passed: false };
        let mut watched = self.watched();
        if watched.stopping {
            request.cancel(Reason::Shutdown);
        }
        request.drain();
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

    /// Those that it watches over.
    pub(super) fn requests(&self) -> Vec<Arc<Exchange>> {
        self.watched().requests.iter().map(|request| request.exchange.clone()).collect()
    }

    /// All of its response is with hyper, and has to leave in time.
    pub(super) fn passed(&self, exchange: &Exchange) {
        let mut watched = self.watched();
        if let Some(index) = watched.find(exchange) {
            watched.requests[index].pass();
        }
    }

    /// Its response has ended.
    pub(super) fn forget(&self, exchange: &Exchange) {
        let mut watched = self.watched();
        if let Some(index) = watched.find(exchange) {
            watched.requests.swap_remove(index);
        }
    }

    /// Does so until the connection should end when its requests have: the server stops, or no request came in time.
    /// Called again, it goes on, and that does not come again.
    pub(super) async fn run(&self, link: &ClientLink, context: &Context) {
        let (mut here, mut replaced) = (true, context.replaced.clone());
        loop {
            let (next, serving) = {
                let watched = self.watched();
                (watched.next, !watched.stopping)
            };
            let due = async move {
                match next {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                reason = link.departed(), if here => {
                    here = false;
                    self.leave(reason);
                }
                () = context.stopping.cancelled(), if serving => return self.stop(),
                () = self.sooner.notified() => {}
                // Without a sender nothing is replaced any more.
                Ok(()) = replaced.changed() => self.drain(),
                () = due => if self.act(link) {
                    return;
                },
            }
        }
    }

    /// The client has left. Answers that are under way have their grace, should hyper not see it.
    fn leave(&self, reason: Reason) {
        let mut watched = self.watched();
        for request in &mut watched.requests {
            request.exchange.cancel(reason);
            request.begin_grace(request.exchange.grace());
        }
        watched.find_next();
    }

    fn stop(&self) {
        let mut watched = self.watched();
        watched.stopping = true;
        watched.requests.iter_mut().for_each(|request| request.cancel(Reason::Shutdown));
        watched.find_next();
    }

    /// A generation was replaced.
    fn drain(&self) {
        let mut watched = self.watched();
        watched.requests.iter_mut().for_each(Request::drain);
        watched.find_next();
    }

    /// Does what is due. Returns whether that is the end of the wait for a first request.
    fn act(&self, link: &ClientLink) -> bool {
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
        let in_vain = watched.first.take_if(|first| *first <= now).is_some();
        watched.find_next();
        drop(watched);
        for (exchange, alone) in over {
            // Hyper does not poll a body while the client does not read.
            if exchange.give_up() && alone {
                link.abandon();
            }
        }
        in_vain
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn find(&self, exchange: &Exchange) -> Option<usize> {
        // The latest is likely to be the first to end.
        self.requests.iter().rposition(|request| request.exchange.id == exchange.id)
    }

    fn find_next(&mut self) {
        let due = self.requests.iter().filter_map(|request| request.due);
        self.next = due.chain(self.first).min();
    }
}

impl Request {
    /// Tells its guest to stop. If there was a reason before, that one stays.
    fn cancel(&mut self, reason: Reason) {
        self.cancel_within(reason, self.exchange.grace());
    }

    /// It has until its deadline to leave. That its generation was replaced is nothing to it any more.
    fn pass(&mut self) {
        self.passed = true;
        if self.in_grace && self.exchange.cancellation.reason() == Some(Reason::Replaced) {
            self.in_grace = false;
            self.due = self.exchange.deadline();
        }
    }

    /// The same if its generation was replaced.
    fn drain(&mut self) {
        if let Some(drain) = self.exchange.generation.drain_timeout().filter(|_| !self.passed) {
            // Its deadline stays what it was.
            let left =
                self.exchange.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map_or(drain, |left| left.saturating_add(self.exchange.grace()));
            self.cancel_within(Reason::Replaced, drain.min(left));
        }
    }

    fn cancel_within(&mut self, reason: Reason, time: Duration) {
        self.exchange.tell(reason);
        self.begin_grace(time);
    }

    /// It is given up after this time, if not before.
    fn begin_grace(&mut self, time: Duration) {
        let due = Instant::now().checked_add(time);
        self.due = match self.due {
            // Another grace is under way.
            Some(before) if self.in_grace => Some(due.map_or(before, |due| due.min(before))),
            _ => due,
        };
        self.in_grace = true;
    }
}
