//! A guest's wait for an event, noted for the spans of its request.

use std::sync::Arc;
use std::task::Poll;

use linger_base::Name;
use linger_exchange::Exchange;
use linger_telemetry::{RequestTrace, WaitPoint};

/// A wait that may turn out to be none: what is there already is not waited for.
pub(super) struct ParkedWait {
    exchange: Arc<Exchange>,
    place: WaitPoint,
    name: Name,
    /// Its number, while it goes on.
    number: Option<usize>,
}

impl ParkedWait {
    /// None if no spans are made of the request.
    pub(super) fn of(exchange: &Arc<Exchange>, place: WaitPoint, name: &Name) -> Option<Self> {
        let recorded = exchange.trace().is_some_and(RequestTrace::is_recorded);
        recorded.then(|| Self { exchange: exchange.clone(), place, name: name.clone(), number: None })
    }

    /// Notes what came of polling it.
    pub(super) fn note<T, E>(&mut self, polled: &Poll<Result<T, E>>) {
        match polled {
            Poll::Pending if self.number.is_none() => {
                let trace = self.exchange.trace();
                self.number = trace.map(|trace| trace.begin_wait(self.place, self.name.as_str()));
            }
            Poll::Pending => {}
            Poll::Ready(result) => self.end(result.is_ok()),
        }
    }

    fn end(&mut self, arrived: bool) {
        if let (Some(number), Some(trace)) = (self.number.take(), self.exchange.trace()) {
            trace.end_wait(number, arrived);
        }
    }
}

impl Drop for ParkedWait {
    fn drop(&mut self) {
        self.end(false);
    }
}
