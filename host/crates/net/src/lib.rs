//! Sockets, and what the kernel knows of the client: listeners, TLS, receipts, half-closed and silent clients.
//!
//! - `monitor` is what is known of a connection: whether its client has disconnected or half-closed, reads slowly, or is silent
//! - `confirm` asks the kernel about a response, `receipt` judges what it says; `tcp_info` and `unix_info` are how it says it
//! - `linux` detects the end behind unread bytes; `portable` does so elsewhere, with bytes read ahead
//! - `listener`, `stream`, `tls` and `transport` are sockets as such; `pages` gives memory back
//!
//! The only crate of Linger with unsafe code, around system calls that no library has and buffers that are not initialized yet. It
//! names rustix, libc, socket2 and rustls, and of Linger only the base and the configuration. It may not name HTTP, Wasmtime, events
//! or metrics.

mod confirm;
mod limits;
mod monitor;
// `--cfg linger_read_ahead` builds and tests on Linux what other systems get.
#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
mod linux;
mod listener;
mod options;
mod pages;
#[cfg(not(all(target_os = "linux", not(linger_read_ahead))))]
mod portable;
mod receipt;
mod stream;
#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
mod tcp_info;
mod tls;
mod transport;
#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
mod unix_info;

#[cfg(all(target_os = "linux", not(linger_read_ahead)))]
use linux as system;
#[cfg(not(all(target_os = "linux", not(linger_read_ahead))))]
use portable as system;

pub use confirm::ReceiptBaseline;
pub use limits::raise_file_limit;
pub use listener::{AcceptedSocket, BoundListener};
pub use monitor::{FlushObserver, MonitoredSocket, SocketMonitor};
pub use pages::{RELEASES, release};
pub use receipt::Receipt;
pub use stream::SocketStream;
pub use tls::{TlsError, TlsTerminator, connector};
pub use transport::Transport;
