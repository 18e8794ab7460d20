//! A door: a listener, from which each connection goes to the core that has the fewest.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Arrival, Core};
use crate::http::Entrance;
use crate::limit::Limit;
use crate::net::Listener;
use crate::telemetry::Metrics;

/// A pause after the kernel refused to accept, so that a lack of file descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Door {
    listener: Listener,
    entrance: Entrance,
    connections: Arc<Limit>,
    metrics: Metrics,
}

impl Door {
    pub(super) fn open(
        listener: Listener,
        entrance: Entrance,
        connections: Arc<Limit>,
        metrics: Metrics,
    ) -> Self {
        Self { listener, entrance, connections, metrics }
    }

    /// Does what is to be done beside, for as long as it is polled.
    pub(super) async fn tend(&self) {
        match self.entrance.tls.clone() {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        }
    }

    /// Accepts for ever. At the limit of connections one waits here, and the others in the kernel's backlog.
    pub(super) async fn accept(&self, cores: &[Core]) {
        let mut failing = false;
        loop {
            let accepted = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Once, until it works again: it fails several times a second.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("cannot accept connections: {error}");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            failing = false;
            self.metrics.connections.inc();
            let share = self.connections.take().await;
            // Requests park for long: who has the fewest connections now is the best choice for one more.
            if let Some(core) = cores.iter().min_by_key(|core| core.load()) {
                core.take(Arrival { accepted, entrance: self.entrance.clone(), share });
            }
        }
    }
}
