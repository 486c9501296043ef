//! What says where packets go: addresses, routes and routing rules.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, NetlinkError, Operation};

/// The number of a routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTable(pub u32);

impl RouteTable {
    /// The table that packets use which no rule sends elsewhere.
    pub const MAIN: Self = Self(254);
}

/// A route to add.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The table that it is in.
    pub table: RouteTable,
    /// Where the packets that it is for want to go; everything is `0.0.0.0/0`.
    pub destination: Ipv4Net,
    /// The next hop; without one, the destination is on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// The link that the packets leave through.
    pub index: u32,
    /// The source address of packets that have none yet.
    pub source: Ipv4Addr,
    /// Among routes to the same destination, the lowest metric is used.
    pub metric: u32,
}

impl Netlink {
    /// The IPv4 addresses of a link.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<Ipv4Net>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetAddress(request);
        let mut addresses = Vec::new();
        self.dump(Operation::ListAddresses, request, |entry| {
            let RouteNetlinkMessage::NewAddress(message) = entry else {
                return;
            };
            if message.header.index != index {
                return;
            }
            let local = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(local)) => Some(*local),
                    _ => None,
                });
            let net = local.and_then(|local| Ipv4Net::new(local, message.header.prefix_len).ok());
            addresses.extend(net);
        })?;
        Ok(addresses)
    }

    /// Gives a link an address, without the route to its subnet that the kernel would add.
    pub fn add_address(&mut self, index: u32, address: Ipv4Net) -> Result<(), NetlinkError> {
        let mut message = address_message(index, address);
        let flags = AddressAttribute::Flags(AddressFlags::Noprefixroute);
        message.attributes.push(flags);
        if address.prefix_len() < 31 {
            let broadcast = AddressAttribute::Broadcast(address.broadcast());
            message.attributes.push(broadcast);
        }
        self.change(
            Operation::AddAddress(address),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Takes an address from a link.
    pub fn remove_address(&mut self, index: u32, address: Ipv4Net) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveAddress(address),
            RouteNetlinkMessage::DelAddress(address_message(index, address)),
            0,
        )
    }

    /// Adds a route, or replaces the one to the same destination with the same metric.
    pub fn add_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = route.destination.prefix_len();
        // The number stands in an attribute: the header's field has eight bits only.
        message.header.table = 0;
        message.header.protocol = RouteProtocol::Dhcp;
        message.header.kind = RouteType::Unicast;
        message.header.scope = match route.gateway {
            Some(_) => RouteScope::Universe,
            None => RouteScope::Link,
        };
        message.attributes = vec![
            RouteAttribute::Table(route.table.0),
            RouteAttribute::Oif(route.index),
            RouteAttribute::PrefSource(RouteAddress::Inet(route.source)),
            RouteAttribute::Priority(route.metric),
        ];
        if route.destination.prefix_len() > 0 {
            let destination = RouteAddress::Inet(route.destination.network());
            let destination = RouteAttribute::Destination(destination);
            message.attributes.push(destination);
        }
        if let Some(gateway) = route.gateway {
            let gateway = RouteAttribute::Gateway(RouteAddress::Inet(gateway));
            message.attributes.push(gateway);
        }
        self.change(
            Operation::AddRoute(route.table.0),
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Lets packets from an address use a table; the rule's priority is the table's number.
    pub fn add_rule(&mut self, source: Ipv4Addr, table: RouteTable) -> Result<(), NetlinkError> {
        self.change(
            Operation::AddRule(source, table.0),
            RouteNetlinkMessage::NewRule(rule_message(source, table)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Removes the rule that lets packets from an address use a table.
    pub fn remove_rule(&mut self, source: Ipv4Addr, table: RouteTable) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveRule(source, table.0),
            RouteNetlinkMessage::DelRule(rule_message(source, table)),
            0,
        )
    }

    /// The addresses whose packets use a table.
    pub fn rule_sources(&mut self, table: RouteTable) -> Result<Vec<Ipv4Addr>, NetlinkError> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet;
        let request = RouteNetlinkMessage::GetRule(request);
        let mut sources = Vec::new();
        self.dump(Operation::ListRules, request, |entry| {
            let RouteNetlinkMessage::NewRule(message) = entry else {
                return;
            };
            let uses_table = message.attributes.contains(&RuleAttribute::Table(table.0));
            let source = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RuleAttribute::Source(IpAddr::V4(source)) => Some(*source),
                    _ => None,
                });
            sources.extend(source.filter(|_| uses_table));
        })?;
        Ok(sources)
    }
}

fn address_message(index: u32, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.addr())),
        AddressAttribute::Address(IpAddr::V4(address.addr())),
    ];
    message
}

fn rule_message(source: Ipv4Addr, table: RouteTable) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.src_len = 32;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(IpAddr::V4(source)),
        RuleAttribute::Table(table.0),
        RuleAttribute::Priority(table.0),
        RuleAttribute::Protocol(RouteProtocol::Dhcp),
    ];
    message
}
