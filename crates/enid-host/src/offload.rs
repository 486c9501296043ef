//! What a link leaves to whoever gets its packets: unfinished checksums, and packets that stand for several.

use std::io;
use std::os::fd::AsRawFd as _;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Has the kernel finish everything before packets leave by a link: checksums are computed, and what stands
/// for several packets becomes these.
pub(crate) fn finish_all(link: &str) -> io::Result<()> {
    // Segments need their checksums, so the kernel makes them as well from then on.
    request(link, SET_CHECKSUM, 0).map(drop)
}

/// Whether the kernel does so.
pub(crate) fn is_all_finished(link: &str) -> io::Result<bool> {
    Ok(request(link, GET_CHECKSUM, 0)? == 0)
}

fn request(link: &str, command: u32, data: u32) -> io::Result<u32> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut value = Value { command, data };
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        value: &raw mut value,
        rest: [0; 16],
    };
    let bytes = link.as_bytes();
    // The last byte ends the name.
    if bytes.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: the request takes a pointer to a `struct ifreq`, which `Request` is as long as and starts like;
    // the pointer in it leads to a `struct ethtool_value`, which the two commands read and write. Both live
    // through the call, and the kernel keeps neither.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL, &raw mut request) };
    match status {
        0 => Ok(value.data),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct ifreq`, with the member that this request uses.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    value: *mut Value,
    rest: [u8; 16],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `SIOCETHTOOL` of `linux/sockios.h`.
const ETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GTXCSUM` and `ETHTOOL_STXCSUM` of `linux/ethtool.h`.
const GET_CHECKSUM: u32 = 0x16;
const SET_CHECKSUM: u32 = 0x17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        let refused = is_all_finished("a-name-of-sixteen");
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let missing = is_all_finished("enid-no-such").unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
    }
}
