//! The connections and requests of each client, by address, with a limit for each. No IO.
//!
//! A client is in the table while it has something, so there are never more than connections and requests in progress. Whoever
//! has found its client keeps it, and needs no look into the table for what it takes next.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use linger_base::ClientAddress;
use linger_base::permits::Permits;
use linger_config::ServerLimits;

/// Parts of the table with a lock each, so that threads seldom meet.
const PARTS: usize = 64;

/// All clients that have something.
pub struct ClientTable {
    most: [AtomicUsize; 2],
    parts: [Mutex<HashMap<IpAddr, Arc<ClientEntry>>>; PARTS],
    hasher: RandomState,
}

/// The connections that there may be.
#[derive(Clone)]
pub struct ConnectionPermits {
    /// Of all clients together.
    pub all: Arc<Permits>,
    /// Of each.
    pub clients: Arc<ClientTable>,
}

impl ConnectionPermits {
    /// All are free.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Self {
        Self { all: Permits::new(limits.max_connections), clients: ClientTable::new(limits) }
    }

    /// Changes how many there may be. Those that there are stay, also when they are more.
    pub fn set(&self, limits: &ServerLimits) {
        self.all.set(limits.max_connections);
        self.clients.set(limits);
    }
}

/// A resource that is limited for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientQuota {
    /// An open connection.
    Connection,
    /// An in-flight request.
    Request,
}

struct ClientEntry {
    /// Those that it is among. It leaves them in time, so that this is no circle that stays.
    clients: Arc<ClientTable>,
    /// The client, or its network.
    key: IpAddr,
    taken: [AtomicUsize; 2],
    /// Who has found it. With none it leaves the table.
    holders: AtomicUsize,
}

/// A client that was found. While one is there, so is what is known of it.
pub struct ClientRef(Arc<ClientEntry>);

/// One of those that a client may have. Dropping it makes room.
pub struct ClientPermit {
    place: ClientRef,
    kind: ClientQuota,
}

impl ClientTable {
    /// None so far.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Arc<Self> {
        let clients = Self {
            most: Default::default(),
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        };
        clients.set(limits);
        Arc::new(clients)
    }

    /// Changes what each may have. What they have they keep, also where it is more.
    pub fn set(&self, limits: &ServerLimits) {
        self.most[ClientQuota::Connection as usize].store(limits.connections_per_client(), Ordering::Relaxed);
        self.most[ClientQuota::Request as usize].store(limits.requests_per_client(), Ordering::Relaxed);
    }

    /// The client with this address. IPv6 addresses of one /64 network are one client.
    #[must_use]
    pub fn find(self: &Arc<Self>, address: IpAddr) -> ClientRef {
        let key = ClientAddress::from(address).network();
        let mut part = self.part(key);
        let entry = part.entry(key).or_insert_with(|| {
            let (taken, holders) = Default::default();
            Arc::new(ClientEntry { clients: self.clone(), key, taken, holders })
        });
        // Under the lock, under which it is looked whether there is none.
        entry.holders.fetch_add(1, Ordering::Relaxed);
        ClientRef(entry.clone())
    }

    fn part(&self, key: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, Arc<ClientEntry>>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash % PARTS as u64).unwrap_or_default();
        self.parts[index].lock()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }
}

impl ClientRef {
    /// A share for the client, if it may have one more.
    #[must_use]
    pub fn try_take(&self, kind: ClientQuota) -> Option<ClientPermit> {
        let most = self.0.clients.most[kind as usize].load(Ordering::Relaxed);
        let next = |taken| (taken < most).then_some(taken + 1);
        let taken = self.0.taken[kind as usize].fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        taken.is_ok().then(|| ClientPermit { place: self.clone(), kind })
    }
}

impl Clone for ClientRef {
    fn clone(&self) -> Self {
        // This one is there, so there are not none.
        self.0.holders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for ClientRef {
    fn drop(&mut self) {
        let entry = &self.0;
        if entry.holders.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let mut part = entry.clients.part(entry.key);
        // It may have been found again, and may have left and come anew.
        let is_this = part.get(&entry.key).is_some_and(|known| Arc::ptr_eq(known, entry));
        if is_this && entry.holders.load(Ordering::Acquire) == 0 {
            part.remove(&entry.key);
        }
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.place.0.taken[self.kind as usize].fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn clients(connections: usize, requests: usize) -> Arc<ClientTable> {
        ClientTable::new(&ServerLimits {
            max_connections_per_client: Some(connections),
            max_requests_per_client: Some(requests),
            ..ServerLimits::default()
        })
    }

    fn find(clients: &Arc<ClientTable>, address: &str) -> ClientRef {
        clients.find(address.parse().unwrap())
    }

    #[test]
    fn each_client_has_its_own_and_each_kind() {
        let clients = clients(2, 1);
        let place = find(&clients, "192.0.2.1");
        let first = place.try_take(ClientQuota::Connection).unwrap();
        let _second = find(&clients, "::ffff:192.0.2.1").try_take(ClientQuota::Connection).unwrap();
        assert!(place.try_take(ClientQuota::Connection).is_none());
        let _request = place.try_take(ClientQuota::Request).unwrap();
        assert!(place.try_take(ClientQuota::Request).is_none());
        assert!(find(&clients, "192.0.2.2").try_take(ClientQuota::Connection).is_some());
        drop(first);
        assert!(place.try_take(ClientQuota::Connection).is_some());
    }

    #[test]
    fn network_of_ipv6_is_one_client() {
        let clients = clients(1, 1);
        let _share = find(&clients, "2001:db8::1").try_take(ClientQuota::Connection).unwrap();
        assert!(find(&clients, "2001:db8::ffff:0:0:2").try_take(ClientQuota::Connection).is_none());
        assert!(find(&clients, "2001:db8:0:1::1").try_take(ClientQuota::Connection).is_some());
    }

    #[test]
    fn limits_change_and_take_nothing_away() {
        let clients = clients(2, 1);
        let place = find(&clients, "192.0.2.1");
        let (one, other) =
            (place.try_take(ClientQuota::Connection).unwrap(), place.try_take(ClientQuota::Connection));
        clients.set(&ServerLimits { max_connections_per_client: Some(1), ..ServerLimits::default() });
        drop(other);
        assert!(place.try_take(ClientQuota::Connection).is_none());
        clients.set(&ServerLimits { max_connections_per_client: Some(2), ..ServerLimits::default() });
        assert!(place.try_take(ClientQuota::Connection).is_some());
        drop(one);
    }

    #[test]
    fn client_with_nothing_is_forgotten() {
        let clients = clients(10, 10);
        let place = find(&clients, "192.0.2.1");
        let share = place.try_take(ClientQuota::Request);
        let other = find(&clients, "192.0.2.1");
        drop((place, other));
        assert_eq!(clients.len(), 1);
        drop(share);
        assert_eq!(clients.len(), 0);
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing() {
        let clients = clients(4, 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..10_000_u32 {
                        let place = clients.find(Ipv4Addr::from_bits(number % 3).into());
                        let _share = place.try_take(ClientQuota::Connection).expect("there are four at most");
                    }
                });
            }
        });
        assert_eq!(clients.len(), 0);
    }
}
