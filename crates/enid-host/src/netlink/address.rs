//! What says where packets go: addresses, routes and routing rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
    /// Where the packets that it is for want to go; everything is `0.0.0.0/0` or `::/0`.
    pub destination: IpNet,
    /// The next hop; without one, the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The link that the packets leave through.
    pub index: u32,
    /// The source address of packets that have none yet; the kernel chooses if none is said.
    pub source: Option<IpAddr>,
    /// Among routes to the same destination, the lowest metric is used.
    pub metric: u32,
}

impl Netlink {
    /// The addresses of a link, of both families.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<IpNet>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Unspec;
        let request = RouteNetlinkMessage::GetAddress(request);
        let mut addresses = Vec::new();
        self.dump(Operation::ListAddresses, request, |entry| {
            let RouteNetlinkMessage::NewAddress(message) = entry else {
                return;
            };
            if message.header.index != index {
                return;
            }
            // IPv6 has no local address beside the address.
            let local = message.attributes.iter().find_map(|it| match it {
                AddressAttribute::Local(local) => Some(*local),
                _ => None,
            });
            let address = message.attributes.iter().find_map(|it| match it {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            let own = local.or(address);
            addresses.extend(own.and_then(|it| IpNet::new(it, message.header.prefix_len).ok()));
        })?;
        Ok(addresses)
    }

    /// Gives a link an address, without the route to its subnet that the kernel would add, and without
    /// asking whether somebody else has it.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        let mut message = address_message(index, address);
        let mut flags = AddressFlags::Noprefixroute;
        match address {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                let broadcast = AddressAttribute::Broadcast(net.broadcast());
                message.attributes.push(broadcast);
            }
            IpNet::V4(_) => {}
            IpNet::V6(_) => flags |= AddressFlags::Nodad,
        }
        message.attributes.push(AddressAttribute::Flags(flags));
        self.change(
            Operation::AddAddress(address),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Takes an address from a link.
    pub fn remove_address(&mut self, index: u32, address: IpNet) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveAddress(address),
            RouteNetlinkMessage::DelAddress(address_message(index, address)),
            0,
        )
    }

    /// Adds a route, or replaces the one to the same destination with the same metric.
    pub fn add_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        self.change(
            Operation::AddRoute(route.table.0),
            RouteNetlinkMessage::NewRoute(route_message(route)),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Adds a route, unless there is one to the same destination with the same metric through whatever
    /// link: of several that ask for one, one gets it.
    pub fn claim_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        self.change(
            Operation::AddRoute(route.table.0),
            RouteNetlinkMessage::NewRoute(route_message(route)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// The destinations of the routes in the main table, with the links that they lead through.
    pub fn main_routes(&mut self) -> Result<Vec<(IpNet, u32)>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let request = RouteNetlinkMessage::GetRoute(request);
            self.dump(Operation::ListRoutes, request, |entry| {
                if let RouteNetlinkMessage::NewRoute(message) = entry {
                    routes.extend(main_route(&message));
                }
            })?;
        }
        Ok(routes)
    }

    /// Removes a route.
    pub fn remove_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveRoute(route.table.0),
            RouteNetlinkMessage::DelRoute(route_message(route)),
            0,
        )
    }

    /// Lets packets from an address use a table; the rule's priority is the table's number.
    pub fn add_rule(&mut self, source: IpAddr, table: RouteTable) -> Result<(), NetlinkError> {
        self.change(
            Operation::AddRule(source, table.0),
            RouteNetlinkMessage::NewRule(rule_message(source, table)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Removes the rule that lets packets from an address use a table.
    pub fn remove_rule(&mut self, source: IpAddr, table: RouteTable) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveRule(source, table.0),
            RouteNetlinkMessage::DelRule(rule_message(source, table)),
            0,
        )
    }

    /// The addresses whose packets use tables of their own, with those.
    pub fn rule_sources(&mut self) -> Result<Vec<(IpAddr, RouteTable)>, NetlinkError> {
        let mut sources = Vec::new();
        self.dump_rules(|message| {
            let attributes = || message.attributes.iter();
            let table = attributes().find_map(|it| match it {
                RuleAttribute::Table(table) => Some(RouteTable(*table)),
                _ => None,
            });
            let source = attributes().find_map(|it| match it {
                RuleAttribute::Source(source) => Some(*source),
                _ => None,
            });
            sources.extend(source.zip(table));
        })?;
        Ok(sources)
    }

    /// Keeps what comes in by a link from going anywhere but to the host's own addresses, in a family.
    /// The rule is the kernel's in name: daemons that tidy up rules leave those alone.
    pub fn add_dead_end(&mut self, link: &str, family: Family) -> Result<(), NetlinkError> {
        self.change(
            Operation::AddDeadEnd(link.to_owned()),
            RouteNetlinkMessage::NewRule(dead_end_message(link, family)),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Removes the rule of [`Netlink::add_dead_end`].
    pub fn remove_dead_end(&mut self, link: &str, family: Family) -> Result<(), NetlinkError> {
        self.change(
            Operation::RemoveDeadEnd(link.to_owned()),
            RouteNetlinkMessage::DelRule(dead_end_message(link, family)),
            0,
        )
    }

    /// The families in which a link is a dead end.
    pub fn dead_ends(&mut self, link: &str) -> Result<Vec<Family>, NetlinkError> {
        let mut families = Vec::new();
        let by_link = RuleAttribute::Iifname(link.to_owned());
        self.dump_rules(|message| {
            let is_dead_end = message.header.action == RuleAction::Blackhole
                && message.attributes.contains(&by_link);
            let family = match message.header.family {
                AddressFamily::Inet => Some(Family::Ipv4),
                AddressFamily::Inet6 => Some(Family::Ipv6),
                _ => None,
            };
            families.extend(family.filter(|_| is_dead_end));
        })?;
        Ok(families)
    }

    /// Has what comes in by a link delivered in this namespace, whatever address it is for: to sockets that
    /// speak under addresses of others (`IP_TRANSPARENT`).
    pub fn deliver_all(&mut self, link: &str, index: u32) -> Result<(), NetlinkError> {
        const TABLE: RouteTable = RouteTable(1);
        let operation = Operation::DeliverAll(link.to_owned());
        let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        for destination in all {
            let mut route = route_message(Route {
                table: TABLE,
                destination,
                gateway: None,
                index,
                source: None,
                metric: 0,
            });
            route.header.kind = RouteType::Local;
            route.header.scope = RouteScope::Host;
            let route = RouteNetlinkMessage::NewRoute(route);
            self.change(operation.clone(), route, NLM_F_CREATE | NLM_F_REPLACE)?;
            let mut rule = RuleMessage::default();
            rule.header.family = family_of(destination.addr());
            rule.header.action = RuleAction::ToTable;
            rule.attributes = vec![
                RuleAttribute::Iifname(link.to_owned()),
                RuleAttribute::Table(TABLE.0),
                RuleAttribute::Priority(1),
            ];
            let rule = RouteNetlinkMessage::NewRule(rule);
            self.change(operation.clone(), rule, NLM_F_CREATE | NLM_F_EXCL)?;
        }
        Ok(())
    }

    fn dump_rules(&mut self, mut rule: impl FnMut(RuleMessage)) -> Result<(), NetlinkError> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RuleMessage::default();
            request.header.family = family;
            let request = RouteNetlinkMessage::GetRule(request);
            self.dump(Operation::ListRules, request, |entry| {
                if let RouteNetlinkMessage::NewRule(message) = entry {
                    rule(message);
                }
            })?;
        }
        Ok(())
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

fn address_message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    message
}

fn route_message(route: Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    // The number stands in an attribute: the header's field has eight bits only.
    message.header.table = 0;
    message.header.protocol = RouteProtocol::Dhcp;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match (route.destination, route.gateway) {
        (IpNet::V4(_), None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    message.attributes = vec![
        RouteAttribute::Table(route.table.0),
        RouteAttribute::Oif(route.index),
        RouteAttribute::Priority(route.metric),
    ];
    if let Some(source) = route.source {
        let source = RouteAttribute::PrefSource(route_address(source));
        message.attributes.push(source);
    }
    if route.destination.prefix_len() > 0 {
        let destination = RouteAttribute::Destination(route_address(route.destination.network()));
        message.attributes.push(destination);
    }
    if let Some(gateway) = route.gateway {
        let gateway = RouteAttribute::Gateway(route_address(gateway));
        message.attributes.push(gateway);
    }
    message
}

/// The destination and the link of a route of the main table; of one with several links the first.
fn main_route(message: &RouteMessage) -> Option<(IpNet, u32)> {
    let mut table = u32::from(message.header.table);
    let mut index = 0;
    let mut destination = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(it)) => destination = IpAddr::V4(*it),
            RouteAttribute::Destination(RouteAddress::Inet6(it)) => destination = IpAddr::V6(*it),
            RouteAttribute::Oif(it) => index = *it,
            RouteAttribute::Table(it) => table = *it,
            _ => {}
        }
    }
    let net = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    (table == RouteTable::MAIN.0).then_some((net, index))
}

fn rule_message(source: IpAddr, table: RouteTable) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family_of(source);
    message.header.src_len = if source.is_ipv4() { 32 } else { 128 };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(source),
        RuleAttribute::Table(table.0),
        RuleAttribute::Priority(table.0),
        RuleAttribute::Protocol(RouteProtocol::Dhcp),
    ];
    message
}

/// A rule right after the one for the host's own addresses, whose priority is zero.
fn dead_end_message(link: &str, family: Family) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::Blackhole;
    message.attributes = vec![
        RuleAttribute::Iifname(link.to_owned()),
        RuleAttribute::Priority(1),
        RuleAttribute::Protocol(RouteProtocol::Kernel),
    ];
    message
}
