//! Pages of memory that go back to the system.

use tokio::io::ReadBuf;

/// Whether [`release`] does anything: where the allocator of the command lays a buffer of some pages at the start of one, and
/// pages are small. Elsewhere what was read lies in a page that is not whole, and stays.
pub const RELEASES: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// Gives back the whole pages of the room that a buffer has left. They come again, empty, when something is read into them.
/// A system call, which interrupts the other threads of the process, and a fault for each page then.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "no library knows that nobody needs what is in a page")]
pub fn release(buf: &mut ReadBuf<'_>) {
    use rustix::mm::{Advice, madvise};
    use rustix::param::page_size;

    // SAFETY: what was initialized in it is so afterwards: it reads as zeros, or as what is in the file that it is of.
    let room = unsafe { buf.unfilled_mut() };
    let before_first = room.as_ptr().align_offset(page_size());
    let Some(whole) = room.len().checked_sub(before_first).map(|rest| rest - rest % page_size()) else {
        return;
    };
    if whole > 0 {
        let first = room[before_first..].as_mut_ptr().cast();
        // SAFETY: these pages are within `room`, whose contents nobody may rely on, and which nobody else has now.
        // An error: they stay.
        let _ = unsafe { madvise(first, whole, Advice::LinuxDontNeed) };
    }
}

/// Gives nothing back.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub fn release(_: &mut ReadBuf<'_>) {}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_of_the_room_are_empty_and_all_else_stays() {
        let page = rustix::param::page_size();
        let mut memory = vec![1_u8; 4 * page];
        let start = memory.as_ptr().align_offset(page);
        let mut buf = ReadBuf::new(&mut memory[..start + 3 * page - 1]);
        // Ten bytes of the first page are in use.
        buf.advance(start + 10);
        release(&mut buf);
        assert_eq!(buf.filled(), vec![1; start + 10]);
        let zero = |range: std::ops::Range<usize>| memory[range].iter().all(|&byte| byte == 0);
        assert!(zero(start + page..start + 2 * page));
        assert!(memory[start + 10..start + page].iter().all(|&byte| byte == 1));
        assert!(memory[start + 2 * page..].iter().all(|&byte| byte == 1));
    }

    #[test]
    fn less_than_a_page_stays() {
        let mut memory = [1_u8; 100];
        release(&mut ReadBuf::new(&mut memory));
        assert_eq!(memory, [1; 100]);
    }
}
