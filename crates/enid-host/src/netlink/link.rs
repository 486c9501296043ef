//! Links: pairs of virtual Ethernet devices, their marks and states.

use std::os::fd::{AsFd, AsRawFd};

use enid_model::network_interface::Mac;
use enid_pipeline::table::TAP;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage, Prop,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Operation};
use crate::netns::NetNs;

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, within its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The text that its maker attached to it.
    pub alias: Option<String>,
    /// Its hardware address, if it is of Ethernet's kind.
    pub mac: Option<Mac>,
    /// Whether it is one end of a pair.
    pub is_veth: bool,
    /// Whether it is a tap (or its sibling without Ethernet).
    pub is_tap: bool,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether it is, and so is the other end of the pair; of a tap, whether somebody holds it.
    pub has_carrier: bool,
}

impl Link {
    /// The number by which the datapath knows it as a device: its index, marked if it is a tap.
    #[must_use]
    pub fn number(&self) -> u32 {
        match self.is_tap {
            true => self.index | TAP,
            false => self.index,
        }
    }
}

/// A pair of links to make: one in the socket's namespace, its peer in another.
#[derive(Debug, Clone, Copy)]
pub struct VethPair<'a> {
    /// The name of the link in the socket's namespace.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// The name of the peer.
    pub peer_name: &'a str,
    /// The peer's hardware address.
    pub peer_mac: Mac,
    /// Where the peer comes to life; beside the link if nothing is said.
    pub peer_namespace: Option<&'a NetNs>,
    /// The MTU of both.
    pub mtu: u32,
}

impl Netlink {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(Operation::ListLinks, request, |entry| {
            if let RouteNetlinkMessage::NewLink(message) = entry {
                links.push(link_of(message));
            }
        })?;
        Ok(links)
    }

    /// One link of the namespace, or `None` if it has none of that name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        let mut link = None;
        let looked_up = self.exchange(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |entry| {
            if let RouteNetlinkMessage::NewLink(message) = entry {
                link = Some(link_of(message));
            }
        });
        match looked_up {
            Ok(_whole) => Ok(link),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => Err(NetlinkError {
                operation: Operation::LookUpLink(name.to_owned()),
                source,
            }),
        }
    }

    /// The index of a link, or `None` if the namespace has none of that name.
    pub fn link_index(&mut self, name: &str) -> Result<Option<u32>, NetlinkError> {
        Ok(self.link(name)?.map(|link| link.index))
    }

    /// Makes a pair of links, both switched off.
    pub fn create_veth(&mut self, pair: VethPair<'_>) -> Result<(), NetlinkError> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(pair.peer_name.to_owned()),
            LinkAttribute::Address(pair.peer_mac.0.to_vec()),
            LinkAttribute::Mtu(pair.mtu),
        ];
        if let Some(namespace) = pair.peer_namespace {
            let namespace = LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd());
            peer.attributes.push(namespace);
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(pair.name.to_owned()),
            LinkAttribute::Address(pair.mac.0.to_vec()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.change(
            Operation::CreateVeth(pair.name.to_owned()),
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Gives a link a hardware address and an MTU.
    pub fn set_ethernet(&mut self, index: u32, mac: Mac, mtu: u32) -> Result<(), NetlinkError> {
        let address = LinkAttribute::Address(mac.0.to_vec());
        self.set_link(index, vec![address, LinkAttribute::Mtu(mtu)])
    }

    /// Attaches a text to a link, by which its maker knows it again.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.set_link(index, vec![LinkAttribute::IfAlias(alias.to_owned())])
    }

    /// Keeps the kernel from giving a link an IPv6 address of its own accord.
    pub fn set_no_ipv6_autoconfiguration(&mut self, index: u32) -> Result<(), NetlinkError> {
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set_link(index, vec![LinkAttribute::AfSpecUnspec(vec![inet6])])
    }

    /// Gives a link further names.
    pub fn add_names(&mut self, index: u32, names: Vec<String>) -> Result<(), NetlinkError> {
        let names = names.into_iter().map(Prop::AltIfName).collect();
        let message = addressed(index, vec![LinkAttribute::PropList(names)]);
        self.change(
            Operation::SetLink(index),
            RouteNetlinkMessage::NewLinkProp(message),
            NLM_F_EXCL,
        )
    }

    /// Switches a link on.
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.set_flags(index, LinkFlags::Up, LinkFlags::Up)
    }

    /// Switches a link off.
    pub fn set_down(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.set_flags(index, LinkFlags::empty(), LinkFlags::Up)
    }

    /// Keeps the kernel from asking who has an address on a link: frames go to the link's own MAC.
    pub fn set_noarp(&mut self, index: u32) -> Result<(), NetlinkError> {
        self.set_flags(index, LinkFlags::Noarp, LinkFlags::Noarp)
    }

    /// Removes a link, and its peer with it.
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let message = addressed(index, Vec::new());
        self.change(
            Operation::DeleteLink(index),
            RouteNetlinkMessage::DelLink(message),
            0,
        )
    }

    fn set_flags(
        &mut self,
        index: u32,
        flags: LinkFlags,
        mask: LinkFlags,
    ) -> Result<(), NetlinkError> {
        let mut message = addressed(index, Vec::new());
        message.header.flags = flags;
        message.header.change_mask = mask;
        self.change(
            Operation::SetLink(index),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
    }

    fn set_link(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> Result<(), NetlinkError> {
        self.change(
            Operation::SetLink(index),
            RouteNetlinkMessage::SetLink(addressed(index, attributes)),
            0,
        )
    }
}

fn addressed(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Unspec;
    message.header.index = index;
    message.attributes = attributes;
    message
}

fn link_of(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
        mac: None,
        is_veth: false,
        is_tap: false,
        is_up: message.header.flags.contains(LinkFlags::Up),
        has_carrier: message.header.flags.contains(LinkFlags::LowerUp),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(mac) => link.mac = mac.try_into().ok().map(Mac),
            LinkAttribute::LinkInfo(infos) => {
                link.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                link.is_tap = infos.contains(&LinkInfo::Kind(InfoKind::Tun));
            }
            _ => {}
        }
    }
    link
}
