//! Watches over the requests of a connection: cancels them when their time is over, when the server stops and when the
//! client leaves, gives up those that go on after their grace, and tells when the connection should end.
//!
//! A request costs a place in a list. What waits is the connection, once for all of them, with one timer for whatever is
//! due first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use linger_base::Reason;
use linger_exchange::Exchange;

use crate::connection::ClientMonitor;
use crate::connection::wait::{RequestTimeouts, RequestWait, WaitEnd};

pub(crate) struct Supervisor {
    watched: Mutex<WatchedRequests>,
    /// Notified when something is due before what was due first.
    sooner: Notify,
    timeouts: RequestTimeouts,
    /// Whether what comes next is the first byte of a head.
    at_head: AtomicBool,
    /// Whether a head comes only after the request before.
    one_by_one: AtomicBool,
}

#[derive(Default)]
struct WatchedRequests {
    requests: Vec<SupervisedRequest>,
    /// Nothing is due before.
    next: Option<Instant>,
    /// Requests in progress, also those of which nobody has to be told.
    in_progress: usize,
    /// For a request, while there is none. None: it was given up.
    wait: Option<RequestWait>,
    /// Whether the server stops.
    stopping: bool,
}

/// How a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionClose {
    /// When its requests have.
    InOrder,
    /// At once.
    AtOnce,
}

struct SupervisedRequest {
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
    /// For a new connection, which has no request yet.
    pub(crate) fn new(timeouts: RequestTimeouts) -> Self {
        let now = Instant::now();
        let wait = timeouts.first(now);
        let next = Some(timeouts.look(wait, now));
        let watched = WatchedRequests { wait: Some(wait), next, ..WatchedRequests::default() };
        let (at_head, one_by_one) = Default::default();
        Self { watched: Mutex::new(watched), sooner: Notify::new(), timeouts, at_head, one_by_one }
    }

    /// From now on HTTP/1.1 is read.
    pub(crate) fn heads_come_one_by_one(&self) {
        self.one_by_one.store(true, Ordering::Release);
        self.at_head.store(true, Ordering::Release);
    }

    /// Something was read. It costs nothing but for the first byte of a head.
    pub(crate) fn bytes_came(&self) {
        if self.at_head.load(Ordering::Acquire)
            && self.at_head.swap(false, Ordering::AcqRel)
            && let Some(wait) = &mut self.watched().wait
        {
            // Whoever waits looks at it before that can be over.
            wait.begins(self.timeouts, Instant::now());
        }
    }

    /// A request has come.
    pub(crate) fn request_came(&self) {
        self.at_head.store(false, Ordering::Release);
        let mut watched = self.watched();
        watched.in_progress += 1;
        watched.wait = None;
    }

    /// A request that had come has ended, and all of its response has left. After the last one a next one is waited for.
    pub(crate) fn record_request_end(&self) {
        let mut watched = self.watched();
        watched.in_progress = watched.in_progress.saturating_sub(1);
        if watched.in_progress > 0 {
            return;
        }
        let now = Instant::now();
        let wait = self.timeouts.next(now);
        watched.wait = Some(wait);
        let look = self.timeouts.look(wait, now);
        let sooner = watched.next.is_none_or(|next| look < next);
        if sooner {
            watched.next = Some(look);
        }
        drop(watched);
        self.at_head.store(self.one_by_one.load(Ordering::Acquire), Ordering::Release);
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Watches over a request, until it is [forgotten](Self::forget). `alone`: the connection has no other meanwhile.
    pub(crate) fn watch(&self, exchange: Arc<Exchange>, alone: bool) {
        let mut request =
            SupervisedRequest { due: exchange.deadline(), exchange, alone, in_grace: false, passed: false };
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
    pub(crate) fn requests(&self) -> Vec<Arc<Exchange>> {
        self.watched().requests.iter().map(|request| request.exchange.clone()).collect()
    }

    /// All of its response is with hyper, and has to leave in time.
    pub(crate) fn mark_passed_on(&self, exchange: &Exchange) {
        let mut watched = self.watched();
        if let Some(index) = watched.find(exchange) {
            watched.requests[index].pass();
        }
    }

    /// Its response has ended.
    pub(crate) fn forget(&self, exchange: &Exchange) {
        let mut watched = self.watched();
        if let Some(index) = watched.find(exchange) {
            watched.requests.swap_remove(index);
        }
    }

    /// Does so until the connection should end when its requests have, or at once: the server stops, or no request came in
    /// time. Called again, it goes on, and that does not come again.
    pub(crate) async fn run(
        &self,
        link: &ClientMonitor,
        stopping: &CancellationToken,
        mut replaced: watch::Receiver<()>,
    ) -> ConnectionClose {
        let mut here = true;
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
                reason = link.wait_departed(), if here => {
                    here = false;
                    self.leave(reason);
                }
                () = stopping.cancelled(), if serving => {
                    self.stop();
                    return ConnectionClose::InOrder;
                }
                () = self.sooner.notified() => {}
                // Without a sender nothing is replaced any more.
                Ok(()) = replaced.changed() => self.drain(),
                () = due => if let Some(over) = self.act(link) {
                    return self.end(over);
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
        watched.find_next(self.timeouts);
    }

    fn stop(&self) {
        let mut watched = self.watched();
        watched.stopping = true;
        watched.requests.iter_mut().for_each(|request| request.cancel(Reason::Shutdown));
        watched.find_next(self.timeouts);
    }

    /// A generation was replaced.
    fn drain(&self) {
        let mut watched = self.watched();
        watched.requests.iter_mut().for_each(SupervisedRequest::drain);
        watched.find_next(self.timeouts);
    }

    /// How a connection ends for which nobody waits any more. For half a head there is no answer: as elsewhere, so that nobody
    /// takes it for one to the next request.
    fn end(&self, over: WaitEnd) -> ConnectionClose {
        let RequestTimeouts { head, idle } = self.timeouts;
        match over {
            WaitEnd::Nothing => tracing::debug!("connection closed: no request arrived within {head:?}"),
            WaitEnd::Idle => tracing::debug!("connection closed: it was idle for {idle:?}"),
            WaitEnd::Head => {
                tracing::debug!("connection closed: a request head took longer than {head:?}");
                return ConnectionClose::AtOnce;
            }
        }
        ConnectionClose::InOrder
    }

    /// Does what is due. Returns why nobody waits for the connection any more, if so.
    fn act(&self, link: &ClientMonitor) -> Option<WaitEnd> {
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
        let ended = watched.wait.as_mut().and_then(|wait| wait.over(now, || link.has_unused_input()));
        if ended.is_some() {
            watched.wait = None;
        }
        watched.find_next(self.timeouts);
        drop(watched);
        for (exchange, alone) in over {
            // Hyper does not poll a body while the client does not read.
            if exchange.give_up() && alone {
                link.abandon();
            }
        }
        ended
    }

    fn watched(&self) -> MutexGuard<'_, WatchedRequests> {
        self.watched.lock()
    }
}

impl WatchedRequests {
    fn find(&self, exchange: &Exchange) -> Option<usize> {
        // The latest is likely to be the first to end.
        self.requests.iter().rposition(|request| request.exchange.id == exchange.id)
    }

    fn find_next(&mut self, timeouts: RequestTimeouts) {
        let due = self.requests.iter().filter_map(|request| request.due);
        let look = self.wait.map(|wait| timeouts.look(wait, Instant::now()));
        self.next = due.chain(look).min();
    }
}

impl SupervisedRequest {
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
        self.exchange.cancel_guest(reason);
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

#[cfg(test)]
mod tests;
