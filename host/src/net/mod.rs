//! Sockets, and what the kernel knows about the other end. The only place with system calls.

mod confirm;
mod limits;
mod link;
mod options;
mod receipt;
mod socket;
#[cfg(target_os = "linux")]
mod tcp_info;
mod tls;

pub use confirm::Mark;
pub use limits::raise_file_limit;
pub use link::{Eof, Flushed, Link};
pub use options::{Keepalive, Silence, set_options};
pub use receipt::{Receipt, ReceiptWaits};
pub use socket::Socket;
pub use tls::{TlsError, acceptor};
