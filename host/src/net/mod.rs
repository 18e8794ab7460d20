//! Sockets, and what the kernel knows about the other end. The only place with system calls.

mod link;

pub use link::{Flushed, Link, Socket};
