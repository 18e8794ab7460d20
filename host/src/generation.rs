//! A generation of an app: one component that was deployed for it, as its requests see it. No IO.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Names a generation, and tells its requests when another one has taken its place.
#[derive(Debug)]
pub struct Generation {
    /// The app's name.
    pub app: Arc<str>,
    /// Counts the app's generations, from 1.
    pub number: u64,
    /// How long its requests may go on when it is replaced.
    drain_timeout: Duration,
    replaced: AtomicBool,
}

impl Generation {
    /// A generation that serves.
    #[must_use]
    pub fn new(app: Arc<str>, number: u64, drain_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { app, number, drain_timeout, replaced: AtomicBool::new(false) })
    }

    /// Another one serves from now on. Whoever watches over its requests is to be told.
    pub fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
    }

    /// Whether another one has taken its place.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// How long its requests may go on when it is replaced.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.app, self.number)
    }
}
