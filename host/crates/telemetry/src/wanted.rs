//! The log filter: read for each event, and changed rarely.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::subscriber::Interest;
use tracing::{Metadata, callsite};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Filter};

/// A filter that can change. Clones change together.
///
/// Own, since that of `tracing-subscriber` has a lock, which all threads that log would share.
#[derive(Clone)]
pub(super) struct DynamicFilter(Arc<ArcSwap<Targets>>);

impl DynamicFilter {
    pub(super) fn new(targets: Targets) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(targets)))
    }

    pub(super) fn set(&self, targets: Targets) {
        self.0.store(Arc::new(targets));
        // What was found out of single places in the code may not be so any more.
        callsite::rebuild_interest_cache();
    }
}

impl<S> Filter<S> for DynamicFilter {
    fn enabled(&self, of: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::<S>::enabled(&**self.0.load(), of, context)
    }

    fn callsite_enabled(&self, of: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&**self.0.load(), of)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&**self.0.load())
    }
}
