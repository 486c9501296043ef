//! The kernel's links, addresses, routes and rules, through a blocking rtnetlink socket.
//!
//! This is the only module that knows netlink's crates: each of their releases changes shapes. A
//! socket belongs to the namespace that it was opened in and may be used from any thread. Each
//! request waits for the kernel's acknowledgement, so that a call that returned has happened.

mod address;
mod filter;
mod link;

use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use self::address::{Family, Route, RouteTable};
pub use self::link::{Link, VethPair};

use crate::netns::{NetNs, NetNsError};

/// A request that the kernel refused, with its reason as the source.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct NetlinkError {
    /// What was asked for.
    pub operation: Operation,
    /// The kernel's reason.
    pub source: io::Error,
}

impl NetlinkError {
    /// Whether the kernel's reason is that the thing to make is there.
    #[must_use]
    pub fn is_existing(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether the kernel's reason is that the thing to change is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Give a link an address.
    AddAddress(IpNet),
    /// Let what comes in by a link go no further than this host.
    AddDeadEnd(String),
    /// Give a link the hooks that filters are put on.
    AddHooks(u32),
    /// Add a route to a table.
    AddRoute(u32),
    /// Let packets from an address use a table.
    AddRule(IpAddr, u32),
    /// Make a pair of links.
    CreateVeth(String),
    /// Let everything that comes in by a link be for this host.
    DeliverAll(String),
    /// Remove a filter.
    DeleteFilter(u32),
    /// Remove a link.
    DeleteLink(u32),
    /// Read the links' addresses.
    ListAddresses,
    /// Read the filters of a link.
    ListFilters(u32),
    /// Read the links.
    ListLinks,
    /// Read the routes.
    ListRoutes,
    /// Read the rules.
    ListRules,
    /// Read one link.
    LookUpLink(String),
    /// Open the socket.
    Open,
    /// Put a program on a hook of a link.
    PutFilter(u32),
    /// Take an address from a link.
    RemoveAddress(IpNet),
    /// Remove the rule that makes a link a dead end.
    RemoveDeadEnd(String),
    /// Remove a route from a table.
    RemoveRoute(u32),
    /// Remove the rule of an address.
    RemoveRule(IpAddr, u32),
    /// Change a link.
    SetLink(u32),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddAddress(address) => write!(f, "add address {address}"),
            Self::AddDeadEnd(link) => write!(f, "make the link {link} a dead end"),
            Self::AddHooks(index) => write!(f, "give link {index} the hooks of clsact"),
            Self::AddRoute(table) => write!(f, "add a route to table {table}"),
            Self::AddRule(source, table) => write!(f, "add rule from {source} lookup {table}"),
            Self::CreateVeth(name) => write!(f, "create veth {name}"),
            Self::DeliverAll(link) => write!(f, "take all that comes in by the link {link}"),
            Self::DeleteFilter(index) => write!(f, "delete a filter of link {index}"),
            Self::DeleteLink(index) => write!(f, "delete link {index}"),
            Self::ListAddresses => f.write_str("list addresses"),
            Self::ListFilters(index) => write!(f, "list filters of link {index}"),
            Self::ListLinks => f.write_str("list links"),
            Self::ListRoutes => f.write_str("list routes"),
            Self::ListRules => f.write_str("list routing rules"),
            Self::LookUpLink(name) => write!(f, "look up link {name}"),
            Self::Open => f.write_str("open a netlink socket"),
            Self::PutFilter(index) => write!(f, "put a filter on link {index}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address}"),
            Self::RemoveDeadEnd(link) => write!(f, "remove the rule of the link {link}"),
            Self::RemoveRoute(table) => write!(f, "remove a route from table {table}"),
            Self::RemoveRule(source, table) => {
                write!(f, "remove rule from {source} lookup {table}")
            }
            Self::SetLink(index) => write!(f, "change link {index}"),
        }
    }
}

/// An rtnetlink socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| NetlinkError {
            operation: Operation::Open,
            source,
        })?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Opens a socket in a named namespace.
    pub fn open_in(namespace: &NetNs) -> Result<Self, OpenInError> {
        Ok(namespace.run(Self::open)??)
    }

    /// Sends a request and waits until the kernel has done it.
    fn change(
        &mut self,
        operation: Operation,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, flags | NLM_F_ACK, |_reply| ())
            .map(|_whole| ())
            .map_err(|source| NetlinkError { operation, source })
    }

    /// Sends a request for a list and hands each of its entries to `entry`.
    ///
    /// The kernel says so if something was added or removed while it wrote the list: entries may be
    /// missing then, so the list is asked for again.
    fn dump(
        &mut self,
        operation: Operation,
        message: RouteNetlinkMessage,
        entry: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        let mut list = || -> io::Result<Vec<RouteNetlinkMessage>> {
            for _try in 0..DUMP_TRIES {
                let mut entries = Vec::new();
                let whole = self.exchange(message.clone(), NLM_F_DUMP, |it| entries.push(it))?;
                if whole == Whole(true) {
                    return Ok(entries);
                }
            }
            Err(io::Error::other("the list changes while it is read"))
        };
        match list() {
            Ok(entries) => {
                entries.into_iter().for_each(entry);
                Ok(())
            }
            Err(source) => Err(NetlinkError { operation, source }),
        }
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut entry: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<Whole> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut whole = Whole(true);
        loop {
            let (datagram, _sender) = self.socket.recv_from_full()?;
            if self.read(&datagram, &mut whole, &mut entry)? {
                return Ok(whole);
            }
        }
    }

    /// Reads one datagram of answers; true if the last answer was in it.
    fn read(
        &self,
        datagram: &[u8],
        whole: &mut Whole,
        entry: &mut impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<bool> {
        let mut rest = datagram;
        while rest.len() >= HEADER_LEN {
            let reply = NetlinkMessage::<Reply>::deserialize(rest).map_err(io::Error::other)?;
            // An answer to an earlier request whose reader gave up is not ours.
            if reply.header.sequence_number == self.sequence {
                whole.0 &= reply.header.flags & NLM_F_DUMP_INTR == 0;
                match reply.payload {
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(true),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(Reply(Some(message))) => entry(message),
                    _ => {}
                }
            }
            let length = usize::try_from(reply.header.length).unwrap_or(usize::MAX);
            // Messages are aligned to four bytes; the last one's padding may be missing.
            let next = length.max(HEADER_LEN).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
        Ok(false)
    }
}

/// A socket in a named namespace cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenInError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The socket cannot be opened there.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// An answer, or `None` for one that the packet crate cannot read.
///
/// A host may have links of kinds that the crate reads wrongly; one of those must not hide the
/// links that are ours.
#[derive(Debug)]
struct Reply(Option<RouteNetlinkMessage>);

impl NetlinkDeserializable for Reply {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self(RouteNetlinkMessage::deserialize(header, payload).ok()))
    }
}

/// Whether an answer is of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whole(bool);

/// The length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// How often a list is asked for before it is said that it never holds still.
const DUMP_TRIES: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_a_loopback_link() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.link_index("lo").unwrap(), Some(1));
        assert_eq!(netlink.link_index("enid-none").unwrap(), None);
        assert!(
            netlink
                .links()
                .unwrap()
                .iter()
                .any(|link| link.name == "lo")
        );
    }

    #[test]
    fn a_list_that_changed_while_it_was_written_is_told_from_a_whole_one() {
        let netlink = Netlink::open().unwrap();
        let mut whole = Whole(true);
        let mut header = NetlinkHeader::default();
        let mut read = |flags: u16, code: i32| {
            header.flags = flags;
            let mut done = netlink_packet_core::DoneMessage::default();
            done.code = code;
            let payload = NetlinkPayload::<RouteNetlinkMessage>::Done(done);
            let mut message = NetlinkMessage::new(header, payload);
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            let ended = netlink.read(&bytes, &mut whole, &mut |_entry| ());
            (ended.ok(), whole)
        };
        assert_eq!(read(0, 0), (Some(true), Whole(true)));
        assert_eq!(read(0, -libc::EBUSY), (None, Whole(true)));
        assert_eq!(read(NLM_F_DUMP_INTR, 0), (Some(true), Whole(false)));
    }

    #[test]
    fn a_refusal_names_what_was_asked_for() {
        let mut netlink = Netlink::open().unwrap();
        let error = netlink.set_up(u32::MAX >> 1).unwrap_err();
        assert_eq!(error.to_string(), "change link 2147483647");
        assert!(!error.is_existing());
    }
}
