//! Link-local services: what instances ask of the agent, and its answers.
//!
//! Metadata, DNS and time are asked at addresses of their own, DHCP and the router's advertisement by
//! broadcast or of the router. What is asked goes to the device of the VPC that leads to the services, and
//! makes no flow; an answer comes from there and goes to whoever has its destination in that VPC. Neither
//! is asked of a security group or a network ACL, as in a VPC. The spoof guard holds for the one; the other
//! must come from a service's address and port, so that nothing else leaves there.

use crate::{
    Course, Scratch, bucket,
    bytes::{Addr, MacPair},
    frame::Frame,
    owner::owner,
    packet::{Asks, Fragment, Packet},
    reason::Reason,
    service::{
        ALLOWANCE, METADATA, METADATA_V6, RESOLVER, RESOLVER_V6, ROUTER_ADVERTISEMENT, SERVICE_MAC,
        TIME, TIME_V6, port,
    },
    table::{MacKey, ROUTER_LINK_LOCAL, ServiceRecord, SubnetRecord, protocol},
    tables::Tables,
};

/// Whether a packet goes to a port of a service: all that other packets pay.
#[inline(always)]
pub(crate) const fn is_port(packet: &Packet) -> bool {
    matches!(packet.protocol, protocol::UDP | protocol::TCP)
        && matches!(
            packet.target_port.value(),
            port::DNS | port::DHCP_SERVER | port::HTTP | port::NTP
        )
}

/// Leads a packet to the services if it asks one of them. The spoof guard has let it pass.
#[inline(never)]
pub(crate) fn ask<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let record = tables.eni(scratch.source_eni).ok_or(Reason::Incomplete)?;
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    let service = tables.service(record.vpc);
    let packet = &scratch.packet;
    let is_asked = match packet.target_port.value() {
        port::DHCP_SERVER => packet.protocol == protocol::UDP && packet.target == subnet.router,
        port => is_at(packet.protocol, port, &packet.target, service),
    };
    if !is_asked {
        return Ok(());
    }
    // With the source/destination check off it may send for others, who have no such services.
    if !scratch.owns_address {
        return Err(Reason::SourceAddress);
    }
    if packet.macs.destination() != subnet.router_mac {
        return Err(Reason::DestinationMac);
    }
    lead(tables, scratch, service)
}

/// The same for what is asked by broadcast before there is an address: the sender is known by its MAC.
#[inline(never)]
pub(crate) fn ask_all<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let eni = tables
        .device(scratch.ifindex)
        .ok_or(Reason::UnknownDevice)?;
    scratch.source_eni = eni;
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    let packet = &scratch.packet;
    if packet.source_mac() != record.mac {
        return Err(Reason::SourceMac);
    }
    if packet.protocol == protocol::UDP
        && !matches!(
            packet.target_port.value(),
            port::DHCP_SERVER | port::DHCP_V6_SERVER
        )
    {
        return Err(Reason::Multicast);
    }
    let source = packet.source;
    let is_unset = source == Addr::UNSPECIFIED || source == Addr::v4([0; 4]);
    let is_on_link = !source.is_v4() && source.is_link_local();
    if !is_unset && !is_on_link && owner(tables, record.vpc, &source) != eni {
        return Err(Reason::SourceAddress);
    }
    lead(tables, scratch, tables.service(record.vpc))
}

/// The way to the services, as far as the ENI's allowance goes.
#[inline(always)]
fn lead<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    service: Option<&ServiceRecord>,
) -> Result<(), Reason> {
    let ifindex = match service {
        Some(service) if service.ifindex != 0 => service.ifindex,
        _ => return Err(Reason::ServiceDown),
    };
    let Some(full_at) = tables.link_local(scratch.source_eni) else {
        return Err(Reason::Incomplete);
    };
    let packets = u64::from(scratch.packet.segments);
    if !bucket::take(tables, &full_at, ALLOWANCE, packets, scratch.now_ns) {
        return Err(Reason::LinkLocalAllowance);
    }
    scratch.course = Course::Service;
    scratch.ifindex = ifindex;
    Ok(())
}

/// Whether a service is at an address and port. The resolver's address in the VPC is known while the
/// services are there.
#[inline(always)]
fn is_at(number: u8, port: u16, addr: &Addr, service: Option<&ServiceRecord>) -> bool {
    match port {
        port::HTTP => number == protocol::TCP && (*addr == METADATA || *addr == METADATA_V6),
        port::NTP => number == protocol::UDP && (*addr == TIME || *addr == TIME_V6),
        port::DNS => {
            let is_in_vpc = matches!(service, Some(service) if *addr == service.resolver);
            let has_service = matches!(number, protocol::UDP | protocol::TCP);
            has_service && (*addr == RESOLVER || *addr == RESOLVER_V6 || is_in_vpc)
        }
        _ => false,
    }
}

/// Whether the virtual router answers for an address that a neighbour asks for, because a service is there.
#[inline(never)]
pub(crate) fn has_address<T: Tables>(tables: &T, vpc: u64, addr: &Addr) -> bool {
    if *addr == METADATA
        || *addr == RESOLVER
        || *addr == TIME
        || *addr == METADATA_V6
        || *addr == RESOLVER_V6
        || *addr == TIME_V6
    {
        return true;
    }
    matches!(tables.service(vpc), Some(service) if *addr == service.resolver)
}

/// Brings an answer to who asked. The packet is parsed.
#[inline(never)]
pub(crate) fn answer<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let packet = &scratch.packet;
    let vpc = tables
        .service_device(scratch.ifindex)
        .ok_or(Reason::UnknownDevice)?;
    let is_addressed = packet.macs.destination() == SERVICE_MAC;
    let eni = if is_addressed {
        let number = packet.protocol;
        let port = packet.source_port.value();
        let is_answer = packet.asks == Asks::Nothing && packet.fragment == Fragment::None;
        if !is_answer || !is_at(number, port, &packet.source, tables.service(vpc)) {
            return Err(Reason::ServiceSource);
        }
        owner(tables, vpc, &packet.target)
    } else {
        if !tells_configuration(packet) {
            return Err(Reason::ServiceSource);
        }
        let key = MacKey {
            vpc,
            mac: packet.macs.destination(),
            pad: [0; 2],
        };
        tables.mac(&key).unwrap_or(0)
    };
    if eni == 0 {
        return Err(Reason::NoEndpoint);
    }
    let target = tables.eni(eni).ok_or(Reason::Incomplete)?;
    let subnet = tables.subnet(target.subnet).ok_or(Reason::Incomplete)?;
    if !is_addressed && !is_router(subnet, &packet.source) {
        return Err(Reason::ServiceSource);
    }
    if target.ifindex == 0 {
        return Err(Reason::TargetDown);
    }
    let macs = MacPair::new(target.mac, subnet.router_mac);
    if !frame.store(0, &macs.bytes()) {
        return Err(Reason::Rewrite);
    }
    scratch.course = Course::Inside;
    scratch.ifindex = target.ifindex;
    Ok(())
}

/// An advertisement of the router, or an answer by DHCP.
#[inline(always)]
fn tells_configuration(packet: &Packet) -> bool {
    let target = packet.target_port.value();
    match packet.asks {
        Asks::Arp => return false,
        Asks::Neighbour => return packet.target_port.bytes()[0] == ROUTER_ADVERTISEMENT,
        Asks::Configuration | Asks::Nothing => {}
    }
    let is_udp = packet.protocol == protocol::UDP && packet.fragment == Fragment::None;
    let is_pair = match packet.source_port.value() {
        port::DHCP_SERVER => target == port::DHCP_CLIENT,
        port::DHCP_V6_SERVER => target == port::DHCP_V6_CLIENT,
        _ => false,
    };
    is_udp && is_pair
}

/// The router's addresses, which these answers come from. The link-local one is there in a subnet without
/// IPv6 as well, to say that there is none.
#[inline(always)]
fn is_router(subnet: &SubnetRecord, addr: &Addr) -> bool {
    *addr == subnet.router || *addr == ROUTER_LINK_LOCAL
}
