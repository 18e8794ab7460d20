//! What the kernel counts of a connection: `TCP_INFO`, see tcp(7) and `linux/tcp.h`.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use linux_raw_sys::net::tcp_info;

use super::receipt::TcpCounters;

/// Asks the kernel. One system call, which does not block.
pub(super) fn counts(socket: BorrowedFd<'_>) -> io::Result<TcpCounters> {
    tcp_info(socket).map(|info| to_counts(&info))
}

/// The same; none if either side has closed or reset the connection. The kernel reads the state before it reads the counts.
pub(super) fn counts_if_open(socket: BorrowedFd<'_>) -> io::Result<Option<TcpCounters>> {
    /// `TCP_ESTABLISHED`, of `net/tcp_states.h`.
    const ESTABLISHED: u8 = 1;
    let info = tcp_info(socket)?;
    Ok((info.tcpi_state == ESTABLISHED).then(|| to_counts(&info)))
}

fn to_counts(info: &tcp_info) -> TcpCounters {
    TcpCounters {
        acked: info.tcpi_bytes_acked,
        received: info.tcpi_bytes_received,
        unsent: info.tcpi_notsent_bytes,
        retransmitted: info.tcpi_total_retrans,
        read: None,
        silent: silent(info),
        rtt: Duration::from_micros(info.tcpi_rtt.into()),
        min_rtt: Duration::from_micros(info.tcpi_min_rtt.into()),
    }
}

/// A client owes an answer to what is in flight, and to probes. The first probe of a closed window may have just gone out,
/// long after the last answer: the kernel takes up to two minutes between them.
fn silent(info: &tcp_info) -> Duration {
    let owes = info.tcpi_unacked > 0 || info.tcpi_probes > 1;
    if owes { Duration::from_millis(info.tcpi_last_ack_recv.into()) } else { Duration::ZERO }
}

#[expect(unsafe_code, reason = "no library offers this option with the counts of bytes")]
fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<tcp_info> {
    let mut info = MaybeUninit::<tcp_info>::zeroed();
    // The structure is far smaller than 4 GiB.
    #[expect(clippy::cast_possible_truncation)]
    let mut length = size_of::<tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open. The kernel writes at most `length` bytes to `info`,
    // which is that large.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the structure consists of integers, for which all bit patterns are valid; what an older kernel
    // did not write is zero.
    Ok(unsafe { info.assume_init() })
}
