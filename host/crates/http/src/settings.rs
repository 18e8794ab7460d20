//! The settings of connections and requests that can change while the host serves.

use std::sync::Arc;

use linger_base::permits::Permits;
use linger_config::{Config, ServerLimits};
use linger_deploy::AppSlot;
use linger_exchange::RoutePolicy;

use crate::read_ahead::ReadAhead;
use crate::router::RouteTable;

/// Where a route leads.
pub struct RouteTarget {
    /// The app's place.
    pub slot: Arc<AppSlot>,
    /// The path of the route.
    pub path: Arc<str>,
    /// How much time its requests have.
    pub terms: RoutePolicy,
}

/// What requests go by when they begin, and connections when they are accepted.
pub struct HttpSettings {
    /// Which requests go where.
    pub routes: RouteTable<RouteTarget>,
    /// Bounds on what clients can occupy.
    pub limits: ServerLimits,
    /// Requests in progress.
    pub requests: Arc<Permits>,
    /// Bounds on request bodies that are read ahead of their guests.
    pub read_ahead: ReadAhead,
}

impl HttpSettings {
    /// Those of a configuration. `slot` knows the places of its apps.
    pub fn new(config: &Config, slot: impl Fn(&str) -> Option<Arc<AppSlot>>) -> Self {
        let requests = Permits::new(config.limits.max_requests);
        Self::with(config, slot, requests, ReadAhead::new(&config.limits))
    }

    /// Others, in the place of these. What is in progress counts against them too.
    #[must_use]
    pub fn next(&self, config: &Config, slot: impl Fn(&str) -> Option<Arc<AppSlot>>) -> Self {
        self.requests.set(config.limits.max_requests);
        Self::with(config, slot, self.requests.clone(), self.read_ahead.next(&config.limits))
    }

    fn with(
        config: &Config,
        slot: impl Fn(&str) -> Option<Arc<AppSlot>>,
        requests: Arc<Permits>,
        read_ahead: ReadAhead,
    ) -> Self {
        // The configuration was checked: each route's app is there.
        let leads = |route: &linger_config::RouteConfig| {
            let (slot, path) = (slot(&route.app)?, route.path.as_str().into());
            Some((route.clone(), RouteTarget { slot, path, terms: route.into() }))
        };
        let routes = RouteTable::new(config.routes.iter().filter_map(leads));
        Self { routes, limits: config.limits.clone(), requests, read_ahead }
    }
}
