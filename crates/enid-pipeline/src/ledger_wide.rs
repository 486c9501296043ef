//! The ledger's world, with what lies beyond its VPC.
//!
//! ```text
//!   203.0.113.9 X ──── outside (device 99, pool 198.18.0.0/15, host 198.18.0.1)
//!                         │
//!             internet gateways of VPC 1 and VPC 3
//!                         │
//!   VPC 1, subnet 11   A 10.0.0.10 = 198.18.0.10          2001:db8:1::a
//!                      B 10.0.0.20                        2001:db8:1::b
//!   VPC 1, subnet 12   D 10.0.1.30 = 198.18.0.30
//!   VPC 1, subnet 13   NAT gateway 70 10.0.2.5 = 198.18.0.50 (interface 60)
//!   VPC 3, subnet 31   E 10.9.0.40 = 198.18.0.40
//! ```
//!
//! Each subnet has a route table of its own with the number of the subnet.

use crate::{
    Verdict,
    bytes::{Addr, Mac},
    ledger::{A, B, D, Gate, World, device, mac, router_mac},
    packet_builder::{PacketBuilder, Transport},
    table::{
        Endpoint, EndpointKey, EniRecord, GATE_OPEN, GateRemoteKey, GateRule, GateRuleKey,
        GateServiceKey, NatRecord, Outside, Pool, PoolKey, PublicOf, PublicRecord, Route, RouteKey,
        RuleBits, SubnetRecord, TABLE_BITS, trie_id,
    },
};

/// An ENI of VPC 3.
pub(crate) const E: u64 = 5;
/// The NAT gateway, and its interface.
pub(crate) const NAT: u64 = 70;
pub(crate) const NAT_ENI: u64 = 60;
/// The internet gateway's id means nothing to the pipeline.
pub(crate) const GATEWAY: u64 = 80;
/// The internet gateway's own route table.
pub(crate) const EDGE: u64 = 81;
/// Who is outside.
pub(crate) const X: Addr = Addr::v4([203, 0, 113, 9]);
/// The NAT gateway's addresses.
pub(crate) const NAT_PRIVATE: Addr = Addr::v4([10, 0, 2, 5]);
pub(crate) const NAT_PUBLIC: Addr = Addr::v4([198, 18, 0, 50]);
/// The device that leads outside.
pub(crate) const OUTSIDE_DEVICE: u32 = 99;
pub(crate) const FAR: Mac = Mac([2, 0xee, 0, 0, 0, 1]);
pub(crate) const NEAR: Mac = Mac([2, 0xee, 0, 0, 0, 2]);

/// One entry of a network ACL: number, whether it allows, prefix length and network, and a protocol with
/// its one port.
pub(crate) type Entry = (u64, bool, u32, [u8; 4], Option<(u8, u16)>);

/// Everybody.
pub(crate) const ALL: (u32, [u8; 4]) = (0, [0; 4]);

/// The world, with these two gates everywhere. A's, B's and D's subnets have no routes but the local one.
pub(crate) fn wide(out: Gate, into: Gate) -> World {
    let mut world = World::new(out, into);
    let tables = &mut world.memory.tables;
    for (id, vpc, network) in [(13, 1, [10, 0, 2]), (31, 3, [10, 9, 0])] {
        let [a, b, c] = network;
        let record = SubnetRecord {
            vpc,
            router: Addr::v4([a, b, c, 1]),
            cidr: Addr::v4([a, b, c, 0]),
            router_v6: Addr::UNSPECIFIED,
            route_table: id,
            acl: id,
            acl_egress: GATE_OPEN,
            acl_ingress: GATE_OPEN,
            cidr_len: 120,
            router_mac: router_mac(id),
            pad: [0; 6],
        };
        tables.subnets.insert(id, record);
    }
    let e = EniRecord {
        vpc: 3,
        subnet: 31,
        policy: E,
        instance: E + 100,
        ifindex: device(E),
        mac: mac(E),
        ..tables.enis[&A]
    };
    let nat = EniRecord {
        vpc: 1,
        subnet: 13,
        policy: NAT,
        instance: 0,
        ifindex: 0,
        mac: mac(NAT_ENI),
        flags: EniRecord::NAT_GATEWAY | EniRecord::SOURCE_DEST_CHECK,
        ..tables.enis[&A]
    };
    tables.enis.insert(E, e);
    tables.devices.insert(device(E), E);
    tables.enis.insert(NAT_ENI, nat);
    let record = NatRecord {
        vpc: 1,
        subnet: 13,
        eni: NAT_ENI,
        flags: NatRecord::PUBLIC,
        count: 1,
        private: [NAT_PRIVATE.v4_octets(); 8],
        public: [NAT_PUBLIC.v4_octets(); 8],
        draining: 0,
    };
    tables.nats.insert(NAT, record);
    world.memory.outside = Outside {
        ifindex: OUTSIDE_DEVICE,
        far_mac: FAR,
        near_mac: NEAR,
    };
    for (eni, vpc, addr) in [
        (E, 3, wide_addr(E)),
        (NAT_ENI, 1, NAT_PRIVATE),
        (A, 1, v6(0xa)),
        (B, 1, v6(0xb)),
    ] {
        let endpoints = &mut world.memory.tables.endpoints;
        endpoints.insert(EndpointKey { vpc, addr }, Endpoint { eni });
    }
    for (eni, vpc) in [(A, 1), (D, 1), (E, 3)] {
        publish(&mut world, vpc, eni, wide_addr(eni), public(eni));
    }
    publish(&mut world, 1, NAT_ENI, NAT_PRIVATE, NAT_PUBLIC);
    for (subnet, vpc, network) in [
        (11, 1, [10, 0]),
        (12, 1, [10, 0]),
        (13, 1, [10, 0]),
        (31, 3, [10, 9]),
    ] {
        let record = world.memory.tables.subnets.get_mut(&subnet);
        record.expect("a subnet of the world").route_table = subnet;
        let [a, b] = network;
        add_route(&mut world, subnet, (16, [a, b, 0, 0]), Route::LOCAL, 0);
        let _ = vpc;
    }
    for (prefix_len, addr, pool) in [
        (96 + 15, Addr::v4([198, 18, 0, 0]), Pool::default()),
        (
            128,
            Addr::v4([198, 18, 0, 1]),
            Pool {
                vpc: 0,
                flags: Pool::HOST,
                edge: 0,
            },
        ),
        (
            56,
            v6(0),
            Pool {
                vpc: 1,
                flags: Pool::INTERNET_GATEWAY,
                edge: 0,
            },
        ),
    ] {
        world
            .memory
            .tables
            .pools
            .insert(PoolKey { prefix_len, addr }, pool);
    }
    world.policy(E, out, into);
    world
}

/// An address of VPC 1's IPv6 block.
pub(crate) const fn v6(last: u8) -> Addr {
    Addr::v6([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

/// The private address of an ENI.
pub(crate) fn wide_addr(eni: u64) -> Addr {
    if eni == E {
        Addr::v4([10, 9, 0, 40])
    } else {
        crate::ledger::addr(eni)
    }
}

/// Its public address.
pub(crate) fn public(eni: u64) -> Addr {
    Addr::v4([198, 18, 0, wide_addr(eni).v4_octets()[3]])
}

fn publish(world: &mut World, vpc: u64, eni: u64, private: Addr, public: Addr) {
    let record = PublicRecord {
        vpc,
        eni,
        private,
        edge: 0,
    };
    world.change_eni(eni, |eni| eni.flags |= EniRecord::PUBLIC);
    let tables = &mut world.memory.tables;
    tables.publics.insert(public, record);
    let key = EndpointKey { vpc, addr: private };
    tables.public_of.insert(key, PublicOf { addr: public });
}

/// Adds a route to the table of a subnet.
pub(crate) fn add_route(
    world: &mut World,
    subnet: u64,
    (length, network): (u32, [u8; 4]),
    kind: u32,
    target: u64,
) {
    let prefix_len = 96 + length;
    let key = RouteKey {
        prefix_len: TABLE_BITS + prefix_len,
        table: trie_id(subnet),
        addr: Addr::v4(network),
    };
    let route = Route {
        target,
        kind,
        prefix_len,
    };
    world.memory.tables.routes.insert(key, route);
    world.memory.generation += 1;
}

/// Gives the internet gateway of VPC 1 a route table of its own, with the local route.
pub(crate) fn add_edge_table(world: &mut World) {
    let tables = &mut world.memory.tables;
    for public in tables.publics.values_mut().filter(|it| it.vpc == 1) {
        public.edge = EDGE;
    }
    for pool in tables.pools.values_mut().filter(|it| it.vpc == 1) {
        pool.edge = EDGE;
    }
    add_route(world, EDGE, (16, [10, 0, 0, 0]), Route::LOCAL, 0);
}

/// Gives a subnet an ACL with these entries for what leaves and what enters; `None` allows everything.
pub(crate) fn set_acl(
    world: &mut World,
    subnet: u64,
    out: Option<&[Entry]>,
    into: Option<&[Entry]>,
) {
    let generation = world.memory.generation;
    let mut gate = |id: u64, entries: Option<&[Entry]>| match entries {
        None => GATE_OPEN,
        Some(entries) => {
            acl_gate(world, id, entries);
            id
        }
    };
    let base = 1_000_000 + generation * 10_000 + subnet * 10;
    let (acl_egress, acl_ingress) = (gate(base, out), gate(base + 1, into));
    let record = world.memory.tables.subnets.get_mut(&subnet);
    let record = record.expect("a subnet of the world");
    (record.acl_egress, record.acl_ingress) = (acl_egress, acl_ingress);
    world.memory.generation += 1;
}

fn acl_gate(world: &mut World, gate: u64, entries: &[Entry]) {
    let tables = &mut world.memory.tables;
    let bits = |matches: &dyn Fn(&Entry) -> bool| {
        let mut bits = RuleBits::NONE;
        for (bit, entry) in entries.iter().enumerate() {
            if matches(entry) {
                bits.set(bit);
            }
        }
        bits
    };
    for (bit, (rule, allows, length, network, service)) in (0..).zip(entries) {
        let flags = if *allows { 0 } else { GateRule::DENY };
        let key = GateRuleKey { gate, bit, pad: 0 };
        tables
            .gate_rules
            .insert(key, GateRule { rule: *rule, flags });
        let prefix = Addr::v4(*network);
        let key = GateRemoteKey {
            prefix_len: TABLE_BITS + 96 + length,
            gate: trie_id(gate),
            addr: prefix,
        };
        let contains = |entry: &Entry| {
            entry.2 <= *length
                && prefix.masked(96 + entry.2) == Addr::v4(entry.3).masked(96 + entry.2)
        };
        tables.gate_remotes.insert(key, bits(&contains));
        let (prefix_len, protocol, port) = match service {
            None => (TABLE_BITS, 0, 0),
            Some((protocol, port)) => (TABLE_BITS + 24, *protocol, *port),
        };
        let key = GateServiceKey {
            prefix_len,
            gate: trie_id(gate),
            protocol,
            port: port.to_be_bytes(),
            pad: 0,
        };
        let serves = |entry: &Entry| entry.4.is_none() || entry.4 == *service;
        tables.gate_services.insert(key, bits(&serves));
    }
}

/// A packet from an ENI to anywhere, through its router.
pub(crate) fn to(from: u64, target: Addr, transport: Transport) -> PacketBuilder {
    let subnet = match from {
        D => 12,
        E => 31,
        _ => 11,
    };
    PacketBuilder::new(wide_addr(from), target, transport).macs(mac(from), router_mac(subnet))
}

/// A packet from X outside.
pub(crate) fn from_x(target: Addr, transport: Transport) -> PacketBuilder {
    PacketBuilder::new(X, target, transport).macs(FAR, NEAR)
}

/// A packet as it arrives outside.
pub(crate) fn at_x(source: Addr, transport: Transport) -> PacketBuilder {
    PacketBuilder::new(source, X, transport).macs(NEAR, FAR)
}

/// A packet as it arrives at an ENI by its router.
pub(crate) fn at(eni: u64, source: Addr, transport: Transport) -> PacketBuilder {
    let from = to(eni, source, transport);
    PacketBuilder {
        to_mac: from.from_mac,
        from_mac: from.to_mac,
        source,
        target: wide_addr(eni),
        ..from
    }
}

/// The verdict of a packet that arrives at an ENI.
pub(crate) fn forward(eni: u64) -> Verdict {
    Verdict::Forward {
        ifindex: device(eni),
    }
}

/// The verdict of a packet that goes out.
pub(crate) const SENT_OUT: Verdict = Verdict::Outside {
    ifindex: OUTSIDE_DEVICE,
};

/// What a router says to the sender of a packet that is too long.
pub(crate) fn too_big(packet: &PacketBuilder, router: Addr, mtu: u16) -> PacketBuilder {
    let [a, b] = mtu.to_be_bytes();
    let quoted = packet.packet();
    let (kind, code, length) = if packet.source.is_v4() {
        (3, 4, 68)
    } else {
        (2, 0, 88)
    };
    let transport = Transport::Icmp {
        kind,
        code,
        rest: [0, 0, a, b],
        body: quoted[..length].to_vec(),
    };
    PacketBuilder::new(router, packet.source, transport).macs(packet.to_mac, packet.from_mac)
}
