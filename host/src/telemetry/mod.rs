//! What operators see of a running server: metrics, the log, and traces.

mod follow;
mod handles;
mod json;
mod labels;
mod lines;
mod live;
mod log;
mod metrics;
mod process;
mod reached;
mod spans;
pub mod traces;
mod wanted;

pub use follow::{Follower, Next};
pub use labels::{Deploy, Ending, Failure, Reached, Reload};
pub use lines::Writing;
pub use live::Exposition;
pub use log::{Format, Log};
pub use metrics::{AppMetrics, Metrics};
pub use spans::{Ended, Place, Trace, Tracer};
