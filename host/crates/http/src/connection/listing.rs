//! The list of a thread's connections, for operators.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use linger_config::ReaderBounds;
use linger_exchange::Exchange;

use crate::connection::Connection;

/// The connections of a thread. They are only looked at on request.
#[derive(Default)]
pub struct ConnectionList {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Weak<Connection>>>,
}

/// A request in progress.
pub struct InFlightRequest {
    /// The request.
    pub exchange: Arc<Exchange>,
    /// The time since it began.
    pub age: Duration,
}

/// A connection's place in the list, until it is dropped.
pub(crate) struct ListedConnection {
    connections: Arc<ConnectionList>,
    number: u64,
}

impl ConnectionList {
    pub(crate) fn add(self: &Arc<Self>, connection: &Arc<Connection>) -> ListedConnection {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(number, Arc::downgrade(connection));
        ListedConnection { connections: self.clone(), number }
    }

    /// The in-flight requests.
    #[must_use]
    pub fn requests(&self) -> Vec<InFlightRequest> {
        let open: Vec<_> = self.open().values().filter_map(Weak::upgrade).collect();
        open.iter().flat_map(|connection| show(connection)).collect()
    }

    /// Abandons the connections of clients that have stopped reading, for as long as it is polled.
    pub async fn check_readers(&self, bounds: ReaderBounds) {
        /// Connections that have their turn before others of the thread get theirs.
        const AT_ONCE: usize = 64;
        let Some(period) = bounds.period() else { return std::future::pending().await };
        loop {
            tokio::time::sleep(period).await;
            let open: Vec<_> = self.open().values().cloned().collect();
            for some in open.chunks(AT_ONCE) {
                let now = Instant::now();
                some.iter()
                    .filter_map(Weak::upgrade)
                    .for_each(|open| open.monitor.check_reader(&bounds, now));
                tokio::task::yield_now().await;
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Weak<Connection>>> {
        self.open.lock()
    }
}

fn show(connection: &Connection) -> Vec<InFlightRequest> {
    let requests = connection.supervisor.requests();
    if requests.is_empty() {
        return Vec::new();
    }
    let show = |exchange: Arc<Exchange>| InFlightRequest { age: exchange.began.elapsed(), exchange };
    requests.into_iter().map(show).collect()
}

impl Drop for ListedConnection {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}
