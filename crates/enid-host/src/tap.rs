//! Taps: links whose other end is a file, which a virtual machine monitor reads and writes.
//!
//! A tap is made to stay when the file is closed, with one queue and with the header by which
//! unfinished checksums and segments pass (`struct virtio_net_hdr`). It always has an owner: the kernel
//! lets any user open one that has none.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use serde::{Deserialize, Serialize};

/// Who may open a tap, besides those who administer the host's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapOwner {
    /// The user, by number.
    pub user: u32,
    /// The group that the user has to be in as well.
    pub group: Option<u32>,
}

/// Makes a tap of this name, switched off. It is an error if there is one.
pub(crate) fn create(name: &str, owner: TapOwner) -> io::Result<()> {
    let file = open(name, flag::EXCLUSIVE)?;
    set(&file, request::OFFLOAD, offload::ALL)?;
    // Before it outlives this file: from then on others may open it.
    own(&file, owner)?;
    set(&file, request::PERSIST, 1)
}

/// Gives a tap that nobody has open another owner. A group that it had stays if none is said.
pub(crate) fn give(name: &str, owner: TapOwner) -> io::Result<()> {
    own(&open(name, 0)?, owner)
}

fn own(file: &File, owner: TapOwner) -> io::Result<()> {
    set(file, request::OWNER, owner.user)?;
    match owner.group {
        Some(group) => set(file, request::GROUP, group),
        None => Ok(()),
    }
}

/// Opens a tap by its name; the kernel makes it if it is not there.
fn open(name: &str, flags: libc::c_int) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: libc::c_short::try_from(flag::TAP | flag::NO_INFORMATION | flag::VNET_HEADER)
            .map_err(io::Error::other)?,
        rest: [0; 22],
    };
    // The highest bit of the field is a flag like the others.
    #[expect(clippy::cast_possible_truncation, reason = "a word of flags")]
    let flags = flags as libc::c_short;
    request.flags |= flags;
    let bytes = name.as_bytes();
    // The last byte ends the name.
    if bytes.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: the request takes a pointer to a `struct ifreq`, which `Request` is as long as and starts
    // like; the kernel reads and writes it during the call only.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let status = unsafe { libc::ioctl(file.as_raw_fd(), request::INTERFACE, &raw mut request) };
    match status {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One of the requests that take a number.
fn set(file: &File, request: libc::Ioctl, value: u32) -> io::Result<()> {
    // SAFETY: the requests that are used with this take a number by value and touch no memory.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    let status = unsafe { libc::ioctl(file.as_raw_fd(), request, libc::c_ulong::from(value)) };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct ifreq`, with the member that taps use.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// Requests of `linux/if_tun.h`.
mod request {
    pub(super) const INTERFACE: libc::Ioctl = 0x4004_54ca;
    pub(super) const PERSIST: libc::Ioctl = 0x4004_54cb;
    pub(super) const OWNER: libc::Ioctl = 0x4004_54cc;
    pub(super) const GROUP: libc::Ioctl = 0x4004_54ce;
    pub(super) const OFFLOAD: libc::Ioctl = 0x4004_54d0;
}

/// Flags of `linux/if_tun.h`.
mod flag {
    pub(super) const TAP: libc::c_int = 0x0002;
    /// No information before the frame but the header below.
    pub(super) const NO_INFORMATION: libc::c_int = 0x1000;
    pub(super) const VNET_HEADER: libc::c_int = 0x4000;
    /// Only if there is none of that name.
    pub(super) const EXCLUSIVE: libc::c_int = 0x8000;
}

/// What the reader of a tap can finish itself.
mod offload {
    const CHECKSUM: u32 = 0x01;
    const TCP_IPV4: u32 = 0x02;
    const TCP_IPV6: u32 = 0x04;
    pub(super) const ALL: u32 = CHECKSUM | TCP_IPV4 | TCP_IPV6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        let refused = create("a-name-of-sixteen", TapOwner::default());
        let kind = refused.unwrap_err().kind();
        // Without the device, nothing is opened at all.
        assert!(matches!(
            kind,
            io::ErrorKind::InvalidInput | io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ));
    }
}
