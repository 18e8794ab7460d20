//! Sockets, and what the kernel knows about the other end. The only place with system calls.

mod limits;
mod link;
mod options;

pub use limits::raise_file_limit;
pub use link::{Flushed, Link, Socket};
pub use options::set_options;
