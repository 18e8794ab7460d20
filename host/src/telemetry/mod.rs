//! What operators see of a running server: metrics.

mod labels;
mod live;
mod metrics;
mod process;

pub use labels::{Deploy, Ending, Failure, Reached};
pub use live::Exposition;
pub use metrics::{AppMetrics, Metrics};
