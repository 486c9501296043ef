//! Keep-alive packets of TCP, which carry no bytes: whoever sends them wants the connection kept.
//!
//! A socket does not tell of them, but it counts the segments that it gets, and those that come while nothing is
//! carried are such packets. Limit: they are not passed on to the other side.

use std::os::fd::RawFd;
use std::time::Duration;

use super::relay::Activity;

/// How often is looked, of the time that a connection may be idle.
const LOOKS: u32 = 8;

/// Notes as activity what comes to either socket while no bytes are carried. Never ends; the sockets are open as long
/// as it is waited for.
pub(super) async fn watch(sockets: [RawFd; 2], idle: Duration, activity: &Activity) {
    let mut seen = (activity.last(), sockets.map(segments));
    // What was carried last is acknowledged a little later: the first look after it sees no more than that.
    let mut is_quiet = false;
    loop {
        tokio::time::sleep(idle / LOOKS).await;
        let now = (activity.last(), sockets.map(segments));
        if now.0 != seen.0 {
            is_quiet = false;
        } else if !is_quiet {
            is_quiet = true;
        } else if now.1 != seen.1 {
            activity.note();
            seen = (activity.last(), now.1);
            continue;
        }
        seen = now;
    }
}

/// The end of the part of `struct tcp_info` that is read, with `tcpi_segs_in` as its last member (`linux/tcp.h`, since
/// Linux 4.2).
const INFO_LENGTH: usize = 144;

/// How many segments have come to a socket; `None` if the kernel does not say.
fn segments(socket: RawFd) -> Option<u32> {
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
