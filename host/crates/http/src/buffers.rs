//! What the bodies take that are read ahead of their guests: of each request, each client and each app, and in all.
//!
//! Nobody waits for room that others have: who comes too late is told so, and who has begun waits for its own guest.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use linger_config::ServerLimits;

/// Room for bodies that are read ahead, for all requests of the server.
#[derive(Debug)]
pub struct BodyBuffers {
    most: BufferLimits,
    taken: AtomicU64,
    clients: Arc<BufferTable<IpAddr>>,
    apps: Arc<BufferTable<Arc<str>>>,
}

/// What there may be. Can change.
#[derive(Debug, Default)]
struct BufferLimits {
    request: AtomicU64,
    client: AtomicU64,
    app: AtomicU64,
    total: AtomicU64,
}

/// What there is no more room in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferFull {
    /// What one request may have.
    Request,
    /// `limits.max_body_buffers_per_client`.
    Client,
    /// `limits.max_body_buffers_per_app`.
    App,
    /// `limits.max_body_buffers`.
    Total,
}

impl BodyBuffers {
    /// What hyper reads at a time fits, unless there is less room than this.
    const FRAME: u64 = 64 * 1024;

    /// Those of a configuration.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Arc<Self> {
        let buffers = Self {
            most: BufferLimits::default(),
            taken: AtomicU64::new(0),
            clients: Arc::default(),
            apps: Arc::default(),
        };
        buffers.set(limits);
        Arc::new(buffers)
    }

    /// Takes other bounds. What is there stays, also when it is more.
    pub fn set(&self, limits: &ServerLimits) {
        let BufferLimits { request, client, app, total } = &self.most;
        request.store(limits.max_body_buffer.as_u64(), Ordering::Relaxed);
        client.store(limits.body_buffers_per_client().as_u64(), Ordering::Relaxed);
        app.store(limits.body_buffers_per_app().as_u64(), Ordering::Relaxed);
        total.store(limits.max_body_buffers.as_u64(), Ordering::Relaxed);
    }

    /// Bytes that one request may have, and that are read of a body for nothing.
    pub(crate) fn per_request(&self) -> u64 {
        self.most.request.load(Ordering::Relaxed)
    }

    /// Whether a request with a body is likely to be refused, whoever sends it.
    #[must_use]
    pub fn are_full(&self) -> bool {
        let total = self.most.total.load(Ordering::Relaxed);
        self.taken.load(Ordering::Relaxed).saturating_add(Self::FRAME) > total
    }

    /// Where what one request has is counted. A client without an address has no share of its own.
    pub(crate) fn account(self: &Arc<Self>, client: Option<IpAddr>, app: Arc<str>) -> Arc<BufferAccount> {
        Arc::new(BufferAccount {
            client: client.map(|client| self.clients.pool(client)),
            app: self.apps.pool(app),
            buffers: self.clone(),
            own: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }
}

/// What those have who have something; nothing is kept of others.
#[derive(Debug)]
struct BufferTable<K: Eq + Hash + Clone>(Mutex<HashMap<K, Weak<BufferPool<K>>>>);

impl<K: Eq + Hash + Clone> Default for BufferTable<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> BufferTable<K> {
    fn pool(self: &Arc<Self>, key: K) -> Arc<BufferPool<K>> {
        let mut pools = self.0.lock();
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(BufferPool { key: key.clone(), taken: AtomicU64::new(0), table: self.clone() });
        pools.insert(key, Arc::downgrade(&pool));
        pool
    }
}

/// What one of them has. Its place in the table goes with it.
#[derive(Debug)]
struct BufferPool<K: Eq + Hash + Clone> {
    key: K,
    taken: AtomicU64,
    table: Arc<BufferTable<K>>,
}

impl<K: Eq + Hash + Clone> Drop for BufferPool<K> {
    fn drop(&mut self) {
        let mut pools = self.table.0.lock();
        // Another one may have come in its place.
        if pools.get(&self.key).is_some_and(|pool| pool.strong_count() == 0) {
            pools.remove(&self.key);
        }
        // A crowd that has gone leaves no room behind that it needed.
        if pools.len() * 4 < pools.capacity() {
            pools.shrink_to_fit();
        }
    }
}

/// What one request has.
#[derive(Debug)]
pub(crate) struct BufferAccount {
    buffers: Arc<BodyBuffers>,
    client: Option<Arc<BufferPool<IpAddr>>>,
    app: Arc<BufferPool<Arc<str>>>,
    own: AtomicU64,
    /// Notified when it has less.
    freed: Notify,
}

/// What a frame takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct BufferRoom {
    account: Arc<BufferAccount>,
    bytes: u64,
    /// Whether it counts for others than the request itself.
    shared: bool,
}

impl BufferAccount {
    /// Room for so many bytes, if there is. A request that has nothing may have a frame that is larger than its room.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: u64) -> Result<BufferRoom, BufferFull> {
        let most = &self.buffers.most;
        let held = self.own.load(Ordering::Acquire);
        if held > 0 && held + bytes > self.buffers.per_request() {
            return Err(BufferFull::Request);
        }
        take(&self.buffers.taken, bytes, &most.total).ok_or(BufferFull::Total)?;
        let room = take(&self.app.taken, bytes, &most.app).ok_or(BufferFull::App).and_then(|()| {
            let client = self.client.as_ref();
            client.map_or(Some(()), |client| take(&client.taken, bytes, &most.client)).ok_or_else(|| {
                self.app.taken.fetch_sub(bytes, Ordering::AcqRel);
                BufferFull::Client
            })
        });
        if let Err(full) = room {
            self.buffers.taken.fetch_sub(bytes, Ordering::AcqRel);
            return Err(full);
        }
        self.own.fetch_add(bytes, Ordering::AcqRel);
        Ok(BufferRoom { account: self.clone(), bytes, shared: true })
    }

    /// Room for a frame beyond all bounds but its own: for one who has begun, and has nothing but this.
    pub(crate) fn take_one(self: &Arc<Self>, bytes: u64) -> BufferRoom {
        self.own.fetch_add(bytes, Ordering::AcqRel);
        BufferRoom { account: self.clone(), bytes, shared: false }
    }

    /// Waits until its guest has read something of what it has. Returns at once if that is nothing.
    pub(crate) async fn guest_reads(&self, held_before: u64) {
        let freed = self.freed.notified();
        if self.held() >= held_before && held_before > 0 {
            freed.await;
        }
    }

    /// Bytes that it has.
    pub(crate) fn held(&self) -> u64 {
        self.own.load(Ordering::Acquire)
    }
}

impl Drop for BufferRoom {
    fn drop(&mut self) {
        let Self { account, bytes, shared } = self;
        if *shared {
            account.buffers.taken.fetch_sub(*bytes, Ordering::AcqRel);
            account.app.taken.fetch_sub(*bytes, Ordering::AcqRel);
            account.client.as_ref().inspect(|client| {
                client.taken.fetch_sub(*bytes, Ordering::AcqRel);
            });
        }
        account.own.fetch_sub(*bytes, Ordering::AcqRel);
        account.freed.notify_one();
    }
}

fn take(taken: &AtomicU64, bytes: u64, most: &AtomicU64) -> Option<()> {
    let most = most.load(Ordering::Relaxed);
    let next = |taken: u64| taken.checked_add(bytes).filter(|&sum| sum <= most);
    taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok().then_some(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytesize::ByteSize;
    use proptest::prelude::*;

    use super::*;

    fn buffers(request: u64, client: u64, app: u64, total: u64) -> Arc<BodyBuffers> {
        let size = |bytes| ByteSize::b(bytes);
        BodyBuffers::new(&ServerLimits {
            max_body_buffer: size(request),
            max_body_buffers: size(total),
            max_body_buffers_per_app: Some(size(app)),
            max_body_buffers_per_client: Some(size(client)),
            ..ServerLimits::default()
        })
    }

    fn account(buffers: &Arc<BodyBuffers>, client: u8, app: &str) -> Arc<BufferAccount> {
        buffers.account(Some(Ipv4Addr::new(192, 0, 2, client).into()), app.into())
    }

    #[test]
    fn each_share_ends_by_itself() {
        let buffers = buffers(10, 20, 30, 40);
        let full = |client, app| account(&buffers, client, app).try_take(10);
        let (_one, _two) = (full(1, "a").unwrap(), full(1, "a").unwrap());
        assert_eq!(full(1, "a").unwrap_err(), BufferFull::Client);
        assert_eq!(full(1, "b").unwrap_err(), BufferFull::Client);
        let _three = full(2, "a").unwrap();
        assert_eq!(full(3, "a").unwrap_err(), BufferFull::App);
        assert!(!buffers.clients.0.lock().contains_key(&IpAddr::from([192, 0, 2, 3])));
        let four = full(3, "b").unwrap();
        assert_eq!(full(4, "b").unwrap_err(), BufferFull::Total);
        assert!(buffers.are_full());
        drop(four);
        assert!(full(4, "b").is_ok());
    }

    #[test]
    fn request_has_its_own_bound_but_for_a_first_frame() {
        let buffers = buffers(10, 100, 100, 100);
        let account = account(&buffers, 1, "a");
        let large = account.try_take(15).unwrap();
        assert_eq!(account.try_take(1).unwrap_err(), BufferFull::Request);
        drop(large);
        let _fits = account.try_take(10).unwrap();
        assert_eq!(account.held(), 10);
    }

    #[test]
    fn who_has_nothing_leaves_nothing_behind() {
        let buffers = buffers(10, 10, 10, 10);
        for client in 0..u8::MAX {
            drop(account(&buffers, client, "a").try_take(10).unwrap());
        }
        assert!(buffers.clients.0.lock().is_empty() && buffers.apps.0.lock().is_empty());
        assert_eq!(buffers.taken.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_given_back(steps in proptest::collection::vec((0..4_u8, 0..3_usize, 1..20_u64, any::<bool>()), 0..100)) {
            let buffers = buffers(30, 40, 60, 80);
            let accounts: Vec<_> =
                (0..4).flat_map(|client| ["a", "b", "c"].map(|app| account(&buffers, client, app))).collect();
            let mut rooms = Vec::new();
            for (client, app, bytes, takes) in steps {
                let account = &accounts[usize::from(client) * 3 + app];
                if takes {
                    rooms.extend(account.try_take(bytes));
                } else if !rooms.is_empty() {
                    rooms.swap_remove(app % rooms.len());
                }
                let sum = rooms.iter().map(|room: &BufferRoom| room.bytes).sum::<u64>();
                prop_assert_eq!(buffers.taken.load(Ordering::Relaxed), sum);
                prop_assert!(sum <= 80);
            }
            drop(rooms);
            prop_assert!(accounts.iter().all(|account| account.held() == 0 && account.app.taken.load(Ordering::Relaxed) == 0));
        }
    }
}
