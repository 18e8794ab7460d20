//! What operators see of a running server: metrics, and the log.

mod follow;
mod json;
mod labels;
mod lines;
mod live;
mod log;
mod metrics;
mod process;

pub use follow::{Follower, Next};
pub use labels::{Deploy, Ending, Failure, Reached, Reload};
pub use lines::Writing;
pub use live::Exposition;
pub use log::{Format, Log};
pub use metrics::{AppMetrics, Metrics};
