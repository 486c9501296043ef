//! A small network that never changes, so that the packets of the corpus keep their meaning.
//!
//! ```text
//!  VPC 1   10.0.0.0/24 fd00::/64   ENI a .10 (web)   ENI b .11 (base)   ENI d .13 (web, no device)
//!          10.0.1.0/24             ENI c .10 (base, no source/destination check)
//!  VPC 2   10.0.0.0/24             ENI e .10 (open)  ENI f .11 (open)
//!          10.0.2.0/24             NAT gateway .5 = 198.18.0.50
//! ```
//!
//! VPC 2 has an internet gateway: e is 198.18.0.10, f has no public address, and what goes to 203.0.113.0/24
//! goes by the NAT gateway, whose subnet lets no TCP to port 25 in.
//!
//! Everybody may send anything. `base` lets `web` in to UDP 53 and everybody to TCP 22; `web` lets
//! everybody in to TCP 80 and to echo; `open` lets everything in, untracked.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::{
    Direction, Endpoint, EndpointKey, EniRecord, GATE_OPEN, GROUPS_MAX, NatRecord, Outside,
    PolicyRecord, Pool, PoolKey, PublicOf, PublicRecord, Route, RouteKey, SubnetRecord, TABLE_BITS,
    protocol, trie_id,
};
use enid_pipeline::table_set::TableSet;
use enid_plan::gate::{self, AclEntry, RulePeer, RuleSpec};
use ipnet::IpNet;

/// The first host-side device; those of the other interfaces follow.
pub(crate) const FIRST_DEVICE: u32 = 10;

const WEB: u64 = 0x301;
const BASE: u64 = 0x302;
const OPEN: u64 = 0x303;
/// VPC, subnet, group, last octet, whether it has a device, whether it is checked.
const ENIS: [(u64, u64, u64, u8, bool, bool); 6] = [
    (1, 0x100, WEB, 10, true, true),
    (1, 0x100, BASE, 11, true, true),
    (1, 0x101, BASE, 10, true, false),
    (1, 0x100, WEB, 13, false, true),
    (2, 0x200, OPEN, 10, true, true),
    (2, 0x200, OPEN, 11, true, true),
];

/// The tables of the network.
pub(crate) fn tables() -> TableSet {
    let mut tables = TableSet::default();
    for (vpc, subnet, octet) in [(1, 0x100, 0), (1, 0x101, 1), (2, 0x200, 0)] {
        add_subnet(&mut tables, vpc, subnet, octet);
    }
    for (number, eni) in (0..).zip(ENIS) {
        add_eni(&mut tables, number, eni);
    }
    for group in [WEB, BASE, OPEN] {
        add_policy(&mut tables, group);
    }
    add_beyond(&mut tables);
    tables
}

/// The device that leads outside, which tables do not have.
pub(crate) const OUTSIDE: Outside = Outside {
    ifindex: 99,
    far_mac: Mac([2, 0xee, 0, 0, 0, 1]),
    near_mac: Mac([2, 0xee, 0, 0, 0, 2]),
};

/// What lies beyond VPC 2.
fn add_beyond(tables: &mut TableSet) {
    const NAT_SUBNET: u64 = 0x201;
    add_subnet(tables, 2, NAT_SUBNET, 2);
    // Unwrap: both are CIDR blocks.
    let everybody = RulePeer::Cidr("0.0.0.0/0".parse().expect("a CIDR block"));
    let entry = |allows, id, protocol, from, to| AclEntry {
        allows,
        rule: RuleSpec {
            id,
            peer: everybody,
            protocol,
            from,
            to,
        },
    };
    let entries = [
        entry(false, 10, Some(protocol::TCP), 25, 25),
        entry(true, 100, None, 0, u16::MAX),
    ];
    let acl = gate::compile_acl(0x600, Direction::Ingress, &entries, false);
    if let Some(subnet) = tables.subnets.get_mut(&NAT_SUBNET) {
        subnet.acl_ingress = acl.id;
        subnet.route_table = NAT_SUBNET;
    }
    acl.insert_into(tables);
    for (table, length, network, kind, target) in [
        (2, 0, [0; 4], Route::INTERNET_GATEWAY, 1),
        (2, 24, [203, 0, 113, 0], Route::NAT_GATEWAY, 0x500),
        (NAT_SUBNET, 16, [10, 0, 0, 0], Route::LOCAL, 0),
        (NAT_SUBNET, 0, [0; 4], Route::INTERNET_GATEWAY, 1),
    ] {
        let prefix_len = 96 + length;
        let key = RouteKey {
            prefix_len: TABLE_BITS + prefix_len,
            table: trie_id(table),
            addr: Addr::v4(network),
        };
        let route = Route {
            target,
            kind,
            prefix_len,
        };
        tables.routes.insert(key, route);
    }
    let (private, public) = ([10, 0, 2, 5], [198, 18, 0, 50]);
    let nat = NatRecord {
        vpc: 2,
        subnet: NAT_SUBNET,
        eni: 0x501,
        flags: NatRecord::PUBLIC,
        count: 1,
        private: [private; 8],
        public: [public; 8],
        draining: 0,
    };
    tables.nats.insert(0x500, nat);
    let interface = EniRecord {
        subnet: NAT_SUBNET,
        ifindex: 0,
        flags: EniRecord::NAT_GATEWAY,
        group_count: 0,
        ..tables.enis[&0x404]
    };
    tables.enis.insert(0x501, interface);
    let private = Addr::v4(private);
    let key = EndpointKey {
        vpc: 2,
        addr: private,
    };
    tables.endpoints.insert(key, Endpoint { eni: 0x501 });
    for (eni, private, public) in [
        (0x501, private, public),
        (0x404, Addr::v4([10, 0, 0, 10]), [198, 18, 0, 10]),
    ] {
        let addr = Addr::v4(public);
        let vpc = 2;
        let record = PublicRecord {
            vpc,
            eni,
            private,
            edge: 0,
        };
        tables.publics.insert(addr, record);
        let key = EndpointKey { vpc, addr: private };
        tables.public_of.insert(key, PublicOf { addr });
    }
    let key = PoolKey {
        prefix_len: 96 + 15,
        addr: Addr::v4([198, 18, 0, 0]),
    };
    tables.pools.insert(key, Pool::default());
}

fn add_subnet(tables: &mut TableSet, vpc: u64, subnet: u64, octet: u8) {
    let record = SubnetRecord {
        vpc,
        router: Addr::v4([10, 0, octet, 1]),
        cidr: Addr::v4([10, 0, octet, 0]),
        cidr_len: 120,
        router_v6: v6(0).masked(64),
        route_table: vpc,
        acl: 0,
        acl_egress: GATE_OPEN,
        acl_ingress: GATE_OPEN,
        router_mac: Mac([2, 0xff, 0, 0, 0, octet]),
        pad: [0; 6],
    };
    tables.subnets.insert(subnet, record);
    let local = [(112, Addr::v4([10, 0, 0, 0])), (16, v6(0).masked(16))];
    for (length, addr) in local {
        let key = RouteKey {
            prefix_len: TABLE_BITS + length,
            table: trie_id(vpc),
            addr,
        };
        let route = Route {
            target: 0,
            kind: Route::LOCAL,
            prefix_len: length,
        };
        tables.routes.insert(key, route);
    }
}

fn add_eni(tables: &mut TableSet, number: u8, eni: (u64, u64, u64, u8, bool, bool)) {
    let (vpc, subnet, group, last, has_device, is_checked) = eni;
    let id = 0x400 + u64::from(number);
    let ifindex = FIRST_DEVICE + u32::from(number);
    let mut groups = [0; GROUPS_MAX];
    groups[0] = group;
    let record = EniRecord {
        vpc,
        subnet,
        policy: group,
        instance: group,
        groups,
        ifindex: if has_device { ifindex } else { 0 },
        tcp_established_s: 600,
        udp_s: 30,
        udp_stream_s: 180,
        mac: Mac([2, 0, 0, 0, 0, 0x0a + number]),
        flags: if is_checked {
            EniRecord::SOURCE_DEST_CHECK
        } else {
            0
        },
        group_count: 1,
    };
    tables.enis.insert(id, record);
    if has_device {
        tables.devices.insert(ifindex, id);
    }
    let third = u8::from(subnet == 0x101);
    for addr in [Addr::v4([10, 0, third, last]), v6(0x0a + number)] {
        let key = EndpointKey { vpc, addr };
        tables.endpoints.insert(key, Endpoint { eni: id });
    }
}

/// An address of `fd00::/64`.
pub(crate) fn v6(last: u8) -> Addr {
    let mut octets = [0; 16];
    (octets[0], octets[15]) = (0xfd, last);
    Addr::v6(octets)
}

fn add_policy(tables: &mut TableSet, group: u64) {
    let mut id = group << 8;
    let mut rule = |peer, protocol, from, to| {
        id += 1;
        RuleSpec {
            id,
            peer,
            protocol,
            from,
            to,
        }
    };
    let everybody = ["0.0.0.0/0", "::/0"].map(|cidr| {
        // Unwrap: both are CIDR blocks.
        RulePeer::Cidr(cidr.parse::<IpNet>().expect("a CIDR block"))
    });
    let mut out = Vec::new();
    let mut into = Vec::new();
    for peer in everybody {
        out.push(rule(peer, None, 0, u16::MAX));
        match group {
            WEB => {
                into.push(rule(peer, Some(protocol::TCP), 80, 80));
                into.push(rule(peer, Some(protocol::ICMP), 0x0800, 0x08ff));
                into.push(rule(peer, Some(protocol::ICMP_V6), 0x8000, 0x80ff));
            }
            BASE => into.push(rule(peer, Some(protocol::TCP), 22, 22)),
            _ => into.push(rule(peer, None, 0, u16::MAX)),
        }
    }
    if group == BASE {
        into.push(rule(RulePeer::Group(WEB), Some(protocol::UDP), 53, 53));
    }
    let egress = gate::compile(group, Direction::Egress, &out);
    let ingress = gate::compile(group, Direction::Ingress, &into);
    let record = PolicyRecord {
        egress_gate: egress.id,
        ingress_gate: ingress.id,
        open: gate::open_bits(&egress, &ingress),
    };
    tables.policies.insert(group, record);
    egress.insert_into(tables);
    ingress.insert_into(tables);
}
