//! What operators see of a running server: metrics, and the log.

mod follow;
mod labels;
mod live;
mod log;
mod metrics;
mod process;

pub use follow::{Follower, Next};
pub use labels::{Deploy, Ending, Failure, Reached, Reload};
pub use live::Exposition;
pub use log::{Format, Log};
pub use metrics::{AppMetrics, Metrics};
