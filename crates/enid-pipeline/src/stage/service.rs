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
    copy,
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
    if copy::is_watched(target) {
        scratch.ifindex |= copy::WATCHED;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::bytes::Mac;
    use crate::ledger::{A, B, C, Change, D, Gate, World, addr, device, mac, query, router_mac};
    use crate::ledger_wide::{v6, wide};
    use crate::packet_builder::{PacketBuilder, Transport, arp_request, neighbour_solicitation};
    use crate::table::{Endpoint, EndpointKey};

    /// The device that leads to the services of the first VPC.
    const SERVICES: u32 = 100;
    const IN_VPC: Addr = Addr::v4([10, 0, 0, 2]);
    const NOBODY: Addr = Addr::v4([0; 4]);
    const ALL: Addr = Addr::v4([255; 4]);
    const LINK_LOCAL: Addr = Addr::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    const ALL_ROUTERS: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    const ALL_SERVERS: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);

    /// A world whose gates let nothing pass, with services in the first VPC.
    fn world() -> World {
        let mut world = wide(Gate::Closed, Gate::Closed);
        let tables = &mut world.memory.tables;
        let record = ServiceRecord {
            resolver: IN_VPC,
            ifindex: SERVICES,
            pad: 0,
        };
        tables.services.insert(1, record);
        tables.service_devices.insert(SERVICES, 1);
        for (vpc, eni) in [(1, A), (1, B), (2, C), (1, D)] {
            tables.macs.insert(key(vpc, mac(eni)), Endpoint { eni });
        }
        let subnet = tables.subnets.get_mut(&11).expect("a subnet of the world");
        subnet.router_v6 = v6(1);
        world
    }

    fn key(vpc: u64, mac: Mac) -> MacKey {
        MacKey {
            vpc,
            mac,
            pad: [0; 2],
        }
    }

    fn udp(from: u16, to: u16) -> Transport {
        Transport::Udp { from, to }
    }

    /// A packet of A's to the router's MAC.
    fn of_a(target: Addr, transport: Transport) -> PacketBuilder {
        let source = if target.is_v4() { addr(A) } else { v6(0xa) };
        PacketBuilder::new(source, target, transport).macs(mac(A), router_mac(11))
    }

    /// A packet of A's to everybody.
    fn to_all(source: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(source, target, transport).macs(mac(A), Mac([0xff; 6]))
    }

    fn solicitation(source: Addr) -> PacketBuilder {
        let transport = Transport::Icmp {
            kind: 133,
            code: 0,
            rest: [0; 4],
            body: Vec::new(),
        };
        to_all(source, ALL_ROUTERS, transport)
    }

    #[track_caller]
    fn is_led(world: &World, question: &PacketBuilder) {
        let mut frame = question.frame();
        let verdict = world.send(A, &mut frame, &Change::default());
        assert_eq!(verdict, Verdict::Punt { ifindex: SERVICES });
        assert_eq!(frame, question.frame());
    }

    #[track_caller]
    fn is_not(world: &World, question: &PacketBuilder, reason: Reason) {
        let _ = world.send(A, &mut question.frame(), &Change::dropped(reason));
    }

    #[test]
    fn questions_are_led_to_the_services_whatever_the_gates_say() {
        for (target, transport) in [
            (METADATA, Transport::syn(4000, 80)),
            (METADATA_V6, Transport::syn(4000, 80)),
            (RESOLVER, query()),
            (RESOLVER_V6, query()),
            (IN_VPC, query()),
            (IN_VPC, Transport::syn(4000, 53)),
            (TIME, udp(123, 123)),
            (TIME_V6, udp(4000, 123)),
            (Addr::v4([10, 0, 0, 1]), udp(68, 67)),
        ] {
            is_led(&world(), &of_a(target, transport));
        }
    }

    #[test]
    fn other_ports_and_addresses_have_no_services() {
        for (target, transport, reason) in [
            (METADATA, Transport::syn(4000, 443), Reason::LinkLocal),
            (METADATA, udp(4000, 80), Reason::LinkLocal),
            (METADATA, query(), Reason::LinkLocal),
            (METADATA_V6, Transport::syn(4000, 443), Reason::LinkLocal),
            (TIME, Transport::syn(4000, 123), Reason::LinkLocal),
            (METADATA, Transport::echo(1), Reason::LinkLocal),
            (IN_VPC, Transport::syn(4000, 80), Reason::NoEndpoint),
            (Addr::v4([10, 0, 0, 1]), query(), Reason::RouterAddress),
        ] {
            let mut world = world();
            // The gate is asked before it is said that nobody is there.
            world.policy(A, Gate::Everybody, Gate::Closed);
            is_not(&world, &of_a(target, transport), reason);
        }
    }

    #[test]
    fn who_asks_is_who_it_says() {
        let mut world = world();
        let mut spoofed = of_a(METADATA, Transport::syn(4000, 80));
        spoofed.source = addr(B);
        is_not(&world, &spoofed, Reason::SourceAddress);
        // Nor for others, where that is allowed elsewhere.
        world.change_eni(A, |eni| eni.flags = 0);
        spoofed.source = Addr::v4([192, 0, 2, 1]);
        is_not(&world, &spoofed, Reason::SourceAddress);
        let mut astray = of_a(METADATA, Transport::syn(4000, 80));
        astray.to_mac = mac(B);
        is_not(&world, &astray, Reason::DestinationMac);
        let mut other_mac = to_all(NOBODY, ALL, udp(68, 67));
        other_mac.from_mac = mac(B);
        let change = Change::dropped_again(Reason::SourceMac);
        let _ = world.send(A, &mut other_mac.frame(), &change);
        let foreign = to_all(addr(B), ALL, udp(68, 67));
        let change = Change::dropped_again(Reason::SourceAddress);
        let _ = world.send(A, &mut foreign.frame(), &change);
    }

    #[test]
    fn hosts_without_an_address_are_heard() {
        for question in [
            to_all(NOBODY, ALL, udp(68, 67)),
            to_all(addr(A), ALL, udp(68, 67)),
            to_all(LINK_LOCAL, ALL_SERVERS, udp(546, 547)),
            solicitation(LINK_LOCAL),
            solicitation(Addr::UNSPECIFIED),
        ] {
            is_led(&world(), &question);
        }
        for other in [
            to_all(NOBODY, ALL, udp(68, 69)),
            // What the server says is not said by instances.
            to_all(addr(A), ALL, udp(67, 68)),
            to_all(LINK_LOCAL, ALL_ROUTERS, udp(546, 547)),
            to_all(NOBODY, Addr::v4([224, 0, 0, 1]), udp(68, 67)),
        ] {
            let change = Change::dropped_again(Reason::Multicast);
            let _ = world().send(A, &mut other.frame(), &change);
        }
    }

    #[test]
    fn there_are_1024_questions_a_second_for_each_interface_and_no_more() {
        let mut world = world();
        let question = of_a(RESOLVER, query());
        for _ in 0..1024 {
            is_led(&world, &question);
        }
        is_not(&world, &question, Reason::LinkLocalAllowance);
        // All services together.
        let change = Change::dropped_again(Reason::LinkLocalAllowance);
        let mut discover = to_all(NOBODY, ALL, udp(68, 67)).frame();
        let _ = world.send(A, &mut discover, &change);
        let of_b = PacketBuilder::new(addr(B), RESOLVER, query()).macs(mac(B), router_mac(11));
        let _ = world.send(B, &mut of_b.frame(), &Change::default());
        world.wait_s(1);
        is_led(&world, &question);
    }

    #[test]
    fn without_a_device_there_are_no_services() {
        let mut world = world();
        world.memory.tables.services.clear();
        is_not(
            &world,
            &of_a(METADATA, Transport::syn(1, 80)),
            Reason::ServiceDown,
        );
        let change = Change::dropped_again(Reason::ServiceDown);
        let _ = world.send(A, &mut solicitation(LINK_LOCAL).frame(), &change);
    }

    #[test]
    fn the_router_stands_for_the_services_on_the_link() {
        for wanted in [METADATA, RESOLVER, TIME, IN_VPC] {
            let mut frame = arp_request(mac(A), addr(A), wanted);
            let verdict = world().send(A, &mut frame, &Change::default());
            assert_eq!(
                (verdict, &frame[22..28]),
                (Verdict::Reply, &router_mac(11).0[..])
            );
        }
        let mut frame = neighbour_solicitation(mac(A), v6(0xa), METADATA_V6).frame();
        let verdict = world().send(A, &mut frame, &Change::default());
        assert_eq!(
            (verdict, &frame[6..12]),
            (Verdict::Reply, &router_mac(11).0[..])
        );
    }

    /// What the kernel sends from a service's address.
    fn from_service(source: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(source, target, transport).macs(SERVICE_MAC, SERVICE_MAC)
    }

    #[test]
    fn an_answer_reaches_who_asked_whatever_the_gates_say() {
        for (source, target, transport, eni) in [
            (METADATA, addr(A), Transport::syn(80, 4000), A),
            (METADATA_V6, v6(0xa), Transport::syn(80, 4000), A),
            (RESOLVER, addr(D), udp(53, 4000), D),
            (IN_VPC, addr(B), udp(53, 4000), B),
            (TIME, addr(A), udp(123, 4000), A),
        ] {
            let world = world();
            let mut frame = from_service(source, target, transport).frame();
            let verdict = world.send_service(SERVICES, &mut frame, &Change::default());
            let ifindex = device(eni);
            assert_eq!(verdict, Verdict::Forward { ifindex });
            let router = router_mac(if eni == D { 12 } else { 11 });
            assert_eq!(
                (&frame[..6], &frame[6..12]),
                (&mac(eni).0[..], &router.0[..])
            );
        }
    }

    #[test]
    fn nothing_but_answers_comes_from_the_services() {
        let mut cut = from_service(RESOLVER, addr(A), udp(53, 4000));
        cut.cut = Some(crate::packet_builder::Cut {
            id: 1,
            offset: 0,
            more: true,
        });
        let elsewhere = Addr::v4([10, 0, 0, 99]);
        for (packet, reason) in [
            (
                from_service(METADATA, addr(A), Transport::syn(22, 80)),
                Reason::ServiceSource,
            ),
            (
                from_service(METADATA, addr(A), udp(80, 80)),
                Reason::ServiceSource,
            ),
            (
                from_service(METADATA, addr(A), Transport::echo(1)),
                Reason::ServiceSource,
            ),
            (
                from_service(addr(B), addr(A), Transport::syn(80, 1)),
                Reason::ServiceSource,
            ),
            (
                from_service(LINK_LOCAL, v6(0xa), udp(53, 1)),
                Reason::ServiceSource,
            ),
            (solicitation(LINK_LOCAL), Reason::ServiceSource),
            (cut, Reason::ServiceSource),
            (
                from_service(METADATA, elsewhere, Transport::syn(80, 1)),
                Reason::NoEndpoint,
            ),
            (
                from_service(METADATA, METADATA, Transport::syn(80, 1)),
                Reason::NoEndpoint,
            ),
        ] {
            let change = Change::dropped_again(reason);
            let _ = world().send_service(SERVICES, &mut packet.frame(), &change);
        }
        let change = Change::dropped_again(Reason::ServiceSource);
        let _ = world().send_service(
            SERVICES,
            &mut arp_request(SERVICE_MAC, METADATA, addr(A)),
            &change,
        );
        let mut answer = from_service(METADATA, addr(A), Transport::syn(80, 1)).frame();
        let change = Change::dropped_again(Reason::UnknownDevice);
        let _ = world().send_service(7, &mut answer, &change);
        let mut down = world();
        down.change_eni(A, |eni| eni.ifindex = 0);
        let change = Change::dropped_again(Reason::TargetDown);
        let _ = down.send_service(SERVICES, &mut answer, &change);
    }

    #[test]
    fn vpcs_with_the_same_addresses_have_answers_of_their_own() {
        // C of the second VPC has the address of B.
        let mut world = world();
        world.memory.tables.service_devices.insert(101, 2);
        let mut frame = from_service(METADATA, addr(B), Transport::syn(80, 4000)).frame();
        let verdict = world.send_service(101, &mut frame, &Change::default());
        assert_eq!(verdict, Verdict::Forward { ifindex: device(C) });
        let at = EndpointKey {
            vpc: 2,
            addr: addr(A),
        };
        assert!(!world.memory.tables.endpoints.contains_key(&at));
        let mut frame = from_service(METADATA, addr(A), Transport::syn(80, 4000)).frame();
        let change = Change::dropped_again(Reason::NoEndpoint);
        let _ = world.send_service(101, &mut frame, &change);
    }

    /// What the agent sends to the host with a MAC address.
    fn to_host(source: Addr, target: Addr, transport: Transport) -> PacketBuilder {
        PacketBuilder::new(source, target, transport).macs(SERVICE_MAC, mac(A))
    }

    #[test]
    fn a_host_without_an_address_is_known_by_its_mac() {
        let router = Addr::v4([10, 0, 0, 1]);
        let advertisement = Transport::Icmp {
            kind: 134,
            code: 0,
            rest: [0; 4],
            body: vec![0; 8],
        };
        for (source, target, transport) in [
            (router, ALL, udp(67, 68)),
            (router, addr(A), udp(67, 68)),
            (ROUTER_LINK_LOCAL, LINK_LOCAL, udp(547, 546)),
            (ROUTER_LINK_LOCAL, LINK_LOCAL, advertisement),
        ] {
            let mut frame = to_host(source, target, transport).frame();
            let verdict = world().send_service(SERVICES, &mut frame, &Change::default());
            assert_eq!(verdict, Verdict::Forward { ifindex: device(A) });
            assert_eq!(
                (&frame[..6], &frame[6..12]),
                (&mac(A).0[..], &router_mac(11).0[..])
            );
        }
        let mut stranger = to_host(router, ALL, udp(67, 68));
        stranger.to_mac = Mac([2; 6]);
        for (packet, reason) in [
            (
                to_host(Addr::v4([10, 0, 1, 1]), ALL, udp(67, 68)),
                Reason::ServiceSource,
            ),
            (
                to_host(METADATA, addr(A), Transport::syn(80, 1)),
                Reason::ServiceSource,
            ),
            (to_host(router, addr(A), udp(53, 68)), Reason::ServiceSource),
            (stranger, Reason::NoEndpoint),
        ] {
            let change = Change::dropped_again(reason);
            let _ = world().send_service(SERVICES, &mut packet.frame(), &change);
        }
    }
}
