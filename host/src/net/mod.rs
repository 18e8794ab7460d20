//! Sockets, and what the kernel knows about the other end. The only place with system calls.

mod confirm;
mod limits;
mod link;
mod listener;
mod options;
mod pages;
mod reader;
mod receipt;
mod socket;
mod stream;
// `--cfg linger_read_ahead` builds and tests on Linux what other systems get.
#[cfg_attr(all(target_os = "linux", not(linger_read_ahead)), path = "linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(linger_read_ahead))), path = "portable.rs")]
mod system;
#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
mod tcp_info;
mod tls;
mod transport;
#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
mod unix_info;

pub use confirm::Mark;
pub use limits::raise_file_limit;
pub use link::{Eof, Flushed, Link};
pub use listener::{Accepted, Listener};
pub use options::{Keepalive, Silence};
pub use pages::{RELEASES, release};
pub use reader::ReaderBounds;
pub use receipt::{Receipt, ReceiptWaits};
pub use socket::Socket;
pub use stream::Stream;
pub use tls::{Tls, TlsError, connector};
pub use transport::Transport;
