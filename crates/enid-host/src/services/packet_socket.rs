//! A socket for whole frames, by which hosts without an address are spoken with.
//!
//! The kernel hands over what its own stack gets as well; a filter leaves nothing but DHCP questions and
//! solicitations of a router. One of the crate's modules with `unsafe`: nothing else knows the addresses
//! of such sockets.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use enid_pipeline::service::{ROUTER_SOLICITATION, port};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Opens a packet socket of one link of the calling thread's namespace, which does not block. It hears
/// nothing before its filter is there.
///
/// The type says no more than that it receives and sends datagrams: these are whole frames. The runtime
/// knows no packet sockets, and needs nothing else of one.
pub(super) fn open(index: u32) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol a packet socket gets nothing; it has one from when it is bound.
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    attach_filter(socket.as_fd())?;
    bind(socket.as_fd(), index)?;
    Ok(socket.into())
}

fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    #[expect(clippy::cast_possible_truncation, reason = "a constant of two bytes")]
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a whole `sockaddr_ll` that lives through the call, and its length is given.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    let status = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn attach_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut program = FILTER;
    let program = libc::sock_fprog {
        len: FILTER_LEN,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program lives through the call, in which the kernel copies and checks it; its length is
    // that of the array that it points to.
    #[expect(unsafe_code, reason = "the kernel boundary of this crate")]
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An instruction of classic BPF (`struct sock_filter` of linux/filter.h).
const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Loads a half word, or a byte, of the frame.
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
/// Loads the length of an IPv4 header, and a half word behind it.
const HEADER: u16 = 0xb1;
const HALF_BEHIND: u16 = 0x48;
/// Jumps if equal, or if a bit is set.
const EQUAL: u16 = 0x15;
const SET: u16 = 0x45;
/// Returns how many bytes of the frame are taken.
const RETURN: u16 = 0x06;

const FILTER: [libc::sock_filter; 19] = [
    instruction(HALF, 0, 0, 12),
    instruction(EQUAL, 0, 7, 0x0800),
    // IPv4: UDP, not a later fragment, the port.
    instruction(BYTE, 0, 0, 23),
    instruction(EQUAL, 0, 14, 17),
    instruction(HALF, 0, 0, 20),
    instruction(SET, 12, 0, 0x1fff),
    instruction(HEADER, 0, 0, 14),
    instruction(HALF_BEHIND, 0, 0, 16),
    instruction(EQUAL, 8, 9, port::DHCP_SERVER as u32),
    // IPv6: UDP and the port, or ICMP and the type.
    instruction(EQUAL, 0, 8, 0x86dd),
    instruction(BYTE, 0, 0, 20),
    instruction(EQUAL, 0, 2, 17),
    instruction(HALF, 0, 0, 56),
    instruction(EQUAL, 3, 4, port::DHCP_V6_SERVER as u32),
    instruction(EQUAL, 0, 3, 58),
    instruction(BYTE, 0, 0, 54),
    instruction(EQUAL, 0, 1, ROUTER_SOLICITATION as u32),
    instruction(RETURN, 0, 0, 0xffff),
    instruction(RETURN, 0, 0, 0),
];
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const FILTER_LEN: u16 = FILTER.len() as u16;
