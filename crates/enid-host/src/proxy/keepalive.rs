//! Keep-alive packets of TCP, which carry no bytes: whoever sends them wants the connection kept.
//!
//! A socket does not tell of them, but it counts the segments that it gets, and those that come while nothing is
//! carried are such packets. Limit: they are not passed on to the other side.

use std::os::fd::RawFd;
use std::time::Duration;

use super::relay::Activity;
use crate::tcp_info::segments;

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
