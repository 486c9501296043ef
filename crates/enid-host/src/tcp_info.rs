//! What the kernel counts of a TCP connection.

use std::os::fd::RawFd;

/// The end of the part of `struct tcp_info` that is read, with `tcpi_segs_in` as its last member (`linux/tcp.h`, since
/// Linux 4.2).
const INFO_LENGTH: usize = 144;

/// How many segments have come to a socket; `None` if the kernel does not say.
pub(crate) fn segments(socket: RawFd) -> Option<u32> {
    let mut info = [0_u8; INFO_LENGTH];
    let mut length = libc::socklen_t::try_from(INFO_LENGTH).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is as long and lives until the call
    // returns. A descriptor that is none is an error.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let done = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let is_whole = usize::try_from(length).is_ok_and(|length| length == INFO_LENGTH);
    let bytes = info.last_chunk::<4>().filter(|_| done == 0 && is_whole);
    bytes.map(|bytes| u32::from_ne_bytes(*bytes))
}
