//! The settings of connections and requests that can change while the host serves.

use std::sync::Arc;

use linger_base::limit::Limit;
use linger_config::{Config, Limits};
use linger_deploy::Slot;
use linger_exchange::Terms;

use crate::ReadAhead;
use crate::router::Table;

/// Where a route leads.
pub struct Target {
    /// The app's place.
    pub slot: Arc<Slot>,
    /// The path of the route.
    pub path: Arc<str>,
    /// How much time its requests have.
    pub terms: Terms,
}

/// What requests go by when they begin, and connections when they are accepted.
pub struct Settings {
    /// Which requests go where.
    pub routes: Table<Target>,
    /// Bounds on what clients can occupy.
    pub limits: Limits,
    /// Requests in progress.
    pub requests: Arc<Limit>,
    /// Bounds on request bodies that are read ahead of their guests.
    pub read_ahead: ReadAhead,
}

impl Settings {
    /// Those of a configuration. `slot` knows the places of its apps.
    pub fn new(config: &Config, slot: impl Fn(&str) -> Option<Arc<Slot>>) -> Self {
        let requests = Limit::new(config.limits.max_requests);
        Self::with(config, slot, requests, ReadAhead::new(&config.limits))
    }

    /// Others, in the place of these. What is in progress counts against them too.
    #[must_use]
    pub fn next(&self, config: &Config, slot: impl Fn(&str) -> Option<Arc<Slot>>) -> Self {
        self.requests.set(config.limits.max_requests);
        Self::with(config, slot, self.requests.clone(), self.read_ahead.next(&config.limits))
    }

    fn with(
        config: &Config,
        slot: impl Fn(&str) -> Option<Arc<Slot>>,
        requests: Arc<Limit>,
        read_ahead: ReadAhead,
    ) -> Self {
        // The configuration was checked: each route's app is there.
        let leads = |route: &linger_config::Route| {
            let (slot, path) = (slot(&route.app)?, route.path.as_str().into());
            Some((route.clone(), Target { slot, path, terms: route.into() }))
        };
        let routes = Table::new(config.routes.iter().filter_map(leads));
        Self { routes, limits: config.limits.clone(), requests, read_ahead }
    }
}
