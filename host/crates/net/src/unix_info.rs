//! What the kernel counts of a Unix socket: see unix(7), and `SIOCOUTQ` in `net/unix/af_unix.c`.
//!
//! What is written lies in the other side's kernel at once, which is this one. So nothing is ever lost on the way, and more
//! can be known than with TCP: whether the other process has read.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How much of what this side has written the other one has not read yet, at the least 1 if any: with what the kernel needs
/// to keep it. One system call, which does not block.
#[expect(unsafe_code, reason = "no library offers this request")]
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, so it is open. The kernel writes one integer to `count`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(count).unwrap_or(0))
}
