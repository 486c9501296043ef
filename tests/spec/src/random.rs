//! Random regions, changes and packets. Everything comes from few values, so that things meet: packets
//! answer each other, rules match some and not others, addresses are the same in both VPCs.

mod balancers;
mod packet;

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::packet_builder::PacketBuilder;
use enid_pipeline::table::protocol;
use enid_plan::gate::{AclEntry, RulePeer, RuleSpec};
use ipnet::IpNet;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

pub use packet::as_arrived;

use crate::region::{Eni, Group, HOST, Nat, POOL, Region, Subnet, Way};

/// Interfaces of a random region; the tests have a device for each.
pub const ENIS: usize = 8;
/// How many regions a test tries: as many as usual, or more for a long night.
///
/// # Panics
/// If `ENID_SPEC_REGIONS` is no number.
#[must_use]
pub fn regions(usual: u64) -> u64 {
    let wanted = std::env::var("ENID_SPEC_REGIONS").ok();
    wanted.map_or(usual, |number| {
        number.parse().expect("ENID_SPEC_REGIONS is a number")
    })
}

/// Two VPCs with the same addresses, and a third that is the first one's peer: VPC and network. The last one is
/// there for load balancers.
const SUBNETS: [(u64, [u8; 3]); 6] = [
    (1, [10, 0, 0]),
    (1, [10, 0, 1]),
    (2, [10, 0, 0]),
    (2, [10, 0, 1]),
    (3, [10, 9, 0]),
    (1, [10, 0, 2]),
];
/// How many of these every region has.
const USUAL: usize = 5;
const GROUPS_PER_VPC: usize = 4;
/// Who is outside; the first is the far end of the device itself.
const FAR_AWAY: [Addr; 3] = [
    HOST,
    Addr::v4([203, 0, 113, 9]),
    Addr::v4([203, 0, 113, 10]),
];
/// The same of IPv6.
const FAR_AWAY_V6: [Addr; 2] = [
    Addr::v6([0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
    Addr::v6([0x3f, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]),
];
const PORTS: [u16; 5] = [53, 80, 443, 1024, 40_000];

/// A source of everything random in a test run.
#[derive(Debug)]
pub struct Random {
    rng: StdRng,
    next_rule: u64,
    /// Lengths of packets that are longer than most.
    pub lengths: &'static [usize],
    recent: Vec<(u64, PacketBuilder)>,
    again: Vec<(u64, PacketBuilder)>,
}

impl Random {
    /// From a seed, which is the whole of a test run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            next_rule: 1,
            lengths: &[1500, 1501, 3000],
            recent: Vec::new(),
            again: Vec::new(),
        }
    }

    /// True in `n` of a hundred cases.
    pub fn chance(&mut self, n: u32) -> bool {
        self.rng.random_range(0..100) < n
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        // Unwrap: no caller gives an empty list.
        *of.choose(&mut self.rng).unwrap()
    }

    fn index(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// A region whose interfaces have these devices.
    pub fn region(&mut self, ifindexes: &[u32; ENIS]) -> Region {
        self.region_of(ifindexes, &SUBNETS[..USUAL])
    }

    /// The same with these subnets.
    fn region_of(&mut self, ifindexes: &[u32; ENIS], subnets: &[(u64, [u8; 3])]) -> Region {
        let mut region = Region::default();
        let base = u64::from(self.rng.next_u32()) << 16;
        for (number, (vpc, network)) in (0..).zip(subnets.iter().copied()) {
            region.subnets.push(Subnet {
                id: base + 0x1000 + 0x10 * number,
                vpc: base + vpc,
                network,
                routes: Vec::new(),
                acl_egress: self.allow_all().to_vec(),
                acl_ingress: self.allow_all().to_vec(),
            });
        }
        region.gateways = vec![base + 1, base + 3];
        let subnets = &region.subnets;
        let public = |number: u8| Some(Addr::v4([POOL[0], POOL[1], 1, number]));
        region.nats = vec![
            Nat {
                id: base + 0x2000,
                eni: base + 0x2001,
                subnet: 1,
                addresses: vec![
                    (subnets[1].addr(5), public(5)),
                    (subnets[1].addr(6), public(6)),
                ],
            },
            Nat {
                id: base + 0x2002,
                eni: base + 0x2003,
                subnet: 2,
                addresses: vec![(subnets[2].addr(5), None)],
            },
        ];
        for number in 0..GROUPS_PER_VPC * 3 {
            let id = base + 0x100 + number as u64;
            region.groups.push(Group {
                id,
                egress: Vec::new(),
                ingress: Vec::new(),
            });
        }
        for (number, ifindex) in ifindexes.iter().enumerate() {
            let subnet = self.index(region.subnets.len());
            let home = &region.subnets[subnet];
            let host = u8::try_from(10 + number).unwrap_or(0);
            let has_public = region.gateways.contains(&home.vpc) && self.chance(70);
            let eni = Eni {
                id: base + 0x200 + number as u64,
                subnet,
                addresses: vec![home.addr(host), home.v6(host)],
                prefixes: Vec::new(),
                public: has_public.then(|| Addr::v4([POOL[0], POOL[1], 0, host])),
                groups: Vec::new(),
                mac: Mac([2, 0, 0, 0, 0, host]),
                check: self.chance(70),
                ifindex: *ifindex,
                is_up: self.chance(95),
            };
            region.enis.push(eni);
            self.change_groups(&mut region, number);
        }
        for group in 0..region.groups.len() {
            self.change_rules(&mut region, group);
        }
        for number in 0..region.subnets.len() {
            self.change_routes(&mut region, number);
            self.change_acl(&mut region, number);
        }
        for vpc in region.gateways.clone() {
            self.change_edge(&mut region, vpc);
        }
        self.recent.clear();
        self.again.clear();
        region
    }

    /// Changes something of the region.
    pub fn change(&mut self, region: &mut Region) {
        let number = self.index(region.enis.len());
        match self.below(18) {
            10..=12 => {
                let subnet = self.index(region.subnets.len());
                self.change_routes(region, subnet);
            }
            13..=14 => {
                let subnet = self.index(region.subnets.len());
                self.change_acl(region, subnet);
            }
            15 => {
                let vpc = region.subnet_of(&region.enis[number]).vpc;
                let host = u8::try_from(10 + number).unwrap_or(0);
                let has_public = region.gateways.contains(&vpc) && self.chance(60);
                region.enis[number].public =
                    has_public.then(|| Addr::v4([POOL[0], POOL[1], 0, host]));
            }
            16 => {
                let vpc = self.one(&region.gateways);
                self.change_edge(region, vpc);
            }
            17 => self.change_prefixes(region, number),
            0..=5 => {
                let group = self.index(region.groups.len());
                self.change_rules(region, group);
            }
            6..=7 => self.change_groups(region, number),
            8 => {
                // A second address that only this interface ever has, in its subnet.
                let host = u8::try_from(100 + number).unwrap_or(0);
                let second = region.subnet_of(&region.enis[number]).addr(host);
                let eni = &mut region.enis[number];
                if eni.addresses.len() == 2 {
                    eni.addresses.push(second);
                } else {
                    eni.addresses.truncate(2);
                }
            }
            _ => region.enis[number].check = self.chance(65),
        }
    }

    /// Delegates blocks that only this interface ever has, or takes them back.
    fn change_prefixes(&mut self, region: &mut Region, number: usize) {
        let home = region.subnet_of(&region.enis[number]);
        // 16 addresses each, from the middle of the subnet on.
        let first = u8::try_from(128 + 16 * number).unwrap_or(0);
        // Unwrap: both are prefix lengths of their families.
        let ipv4 = IpNet::new(home.addr(first).into(), 28).unwrap();
        let ipv6 = IpNet::new(home.v6(first).into(), 124).unwrap();
        region.enis[number].prefixes = match self.below(3) {
            0 => Vec::new(),
            1 => vec![ipv4],
            _ => vec![ipv4, ipv6],
        };
    }

    fn change_groups(&mut self, region: &mut Region, number: usize) {
        let eni = &region.enis[number];
        // The groups of a VPC lie together.
        let vpc = usize::try_from(SUBNETS[eni.subnet].0 - 1).unwrap_or(0);
        let first = vpc * GROUPS_PER_VPC;
        let mut groups: Vec<usize> = (first..first + GROUPS_PER_VPC).collect();
        groups.retain(|_| self.chance(40));
        if groups.is_empty() {
            groups.push(first);
        }
        region.enis[number].groups = groups;
    }

    fn change_rules(&mut self, region: &mut Region, group: usize) {
        // The first VPC and the third are peers and know each other's groups.
        let ids: Vec<u64> = region.groups.iter().map(|group| group.id).collect();
        for is_egress in [true, false] {
            if self.chance(30) {
                continue;
            }
            let count = self.below(4);
            let mut rules: Vec<RuleSpec> = (0..count).map(|_| self.rule(&ids)).collect();
            if is_egress && self.chance(40) {
                // What every new group has.
                rules.push(self.rule_of("0.0.0.0/0", None));
                rules.push(self.rule_of("::/0", None));
            }
            let group = &mut region.groups[group];
            *if is_egress {
                &mut group.egress
            } else {
                &mut group.ingress
            } = rules;
        }
    }

    /// What a subnet's route table has beside the local route.
    fn change_routes(&mut self, region: &mut Region, number: usize) {
        let (vpc, network) = SUBNETS[number];
        let base = region.subnets[number].vpc - vpc;
        let mut routes: Vec<(IpNet, Way)> = Vec::new();
        let mut add = |net: [u8; 4], length: u8, way: Option<Way>| {
            // Unwrap: callers give constants.
            let net = IpNet::new(std::net::Ipv4Addr::from(net).into(), length).unwrap();
            routes.extend(way.map(|way| (net, way)));
        };
        let vpc_id = region.subnets[number].vpc;
        let middlebox = self.middlebox(region, vpc_id);
        let everywhere = match vpc {
            1 => [
                Way::InternetGateway,
                Way::InternetGateway,
                Way::Nat(0),
                Way::Nat(0),
            ],
            2 => [
                Way::Nat(1),
                Way::Nat(1),
                Way::Blackhole,
                Way::InternetGateway,
            ],
            _ => [Way::InternetGateway; 4],
        };
        let everywhere = match middlebox {
            Some(way) if self.chance(25) => way,
            _ => self.one(&everywhere),
        };
        add([0; 4], 0, self.chance(85).then_some(everywhere));
        let peer = match vpc {
            1 => Some(([10, 9, 0, 0], Way::Peer(base + 3))),
            3 => Some(([10, 0, 0, 0], Way::Peer(base + 1))),
            _ => None,
        };
        if let Some((net, way)) = peer {
            let way = if vpc == 1 && self.chance(25) {
                Way::Nat(0)
            } else {
                way
            };
            add(net, 16, self.chance(85).then_some(way));
        }
        add(
            [203, 0, 113, 10],
            32,
            self.chance(15).then_some(Way::Blackhole),
        );
        // More specific than the local route: to the neighbouring subnet by NAT, or not at all.
        let [a, b, c] = network;
        let inner = match vpc {
            1 => self.one(&[Way::Nat(0), Way::Blackhole]),
            2 => self.one(&[Way::Nat(1), Way::Blackhole]),
            _ => Way::Blackhole,
        };
        let inner = match middlebox {
            Some(way) if self.chance(50) => way,
            _ => inner,
        };
        add(
            [a, b, 1 - c.min(1), 0],
            24,
            self.chance(25).then_some(inner),
        );
        // The local route itself, replaced.
        add([a, b, 0, 0], 16, middlebox.filter(|_| self.chance(4)));
        self.add_v6_routes(region, number, middlebox, &mut routes);
        region.subnets[number].routes = routes;
    }

    /// The same for IPv6.
    fn add_v6_routes(
        &mut self,
        region: &Region,
        number: usize,
        middlebox: Option<Way>,
        routes: &mut Vec<(IpNet, Way)>,
    ) {
        let subnet = &region.subnets[number];
        let (vpc, _) = SUBNETS[number];
        let base = subnet.vpc - vpc;
        let everywhere = self.one(&[
            Way::InternetGateway,
            Way::InternetGateway,
            Way::EgressOnly,
            Way::EgressOnly,
            middlebox.unwrap_or(Way::Blackhole),
        ]);
        if self.chance(85) {
            // Unwrap: everybody's length is zero.
            let all = IpNet::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0).unwrap();
            routes.push((all, everywhere));
        }
        let peer = match vpc {
            1 => Some(3),
            3 => Some(1),
            _ => None,
        };
        let peer = peer.and_then(|peer| region.subnets.iter().find(|it| it.vpc == base + peer));
        if let Some(peer) = peer.filter(|_| self.chance(85)) {
            routes.push((peer.locals()[1], Way::Peer(peer.vpc)));
        }
        let other = region.subnets.iter().enumerate();
        let mut other = other.filter(|(other, it)| *other != number && it.vpc == subnet.vpc);
        if let Some((_, other)) = other.next().filter(|_| self.chance(25)) {
            routes.push((other.blocks()[1], middlebox.unwrap_or(Way::Blackhole)));
        }
        if let Some(way) = middlebox.filter(|_| self.chance(4)) {
            routes.push((subnet.locals()[1], way));
        }
    }

    /// An interface of a VPC, as the target of a route.
    fn middlebox(&mut self, region: &Region, vpc: u64) -> Option<Way> {
        let enis = region.enis.iter().enumerate();
        let of_vpc = enis.filter(|(_, eni)| region.subnet_of(eni).vpc == vpc);
        let of_vpc: Vec<usize> = of_vpc.map(|(number, _)| number).collect();
        (!of_vpc.is_empty()).then(|| Way::Eni(self.one(&of_vpc)))
    }

    /// Gives the internet gateway of a VPC a route table, or takes it away.
    fn change_edge(&mut self, region: &mut Region, vpc: u64) {
        region.edges.retain(|(of, _)| *of != vpc);
        if self.chance(40) {
            return;
        }
        let subnets = region.subnets.iter().filter(|subnet| subnet.vpc == vpc);
        let mut blocks: Vec<IpNet> = subnets.clone().flat_map(Subnet::blocks).collect();
        blocks.extend(subnets.take(1).flat_map(Subnet::locals));
        let mut routes = Vec::new();
        for block in blocks {
            let way = match self.middlebox(region, vpc) {
                Some(way) if self.chance(90) => way,
                _ => Way::Blackhole,
            };
            if self.chance(35) {
                routes.push((block, way));
            }
        }
        region.edges.push((vpc, routes));
    }

    fn allow_all(&mut self) -> [AclEntry; 2] {
        [("0.0.0.0/0", 100), ("::/0", 101)].map(|(cidr, id)| {
            let rule = self.rule_of(cidr, None);
            AclEntry {
                allows: true,
                rule: RuleSpec { id, ..rule },
            }
        })
    }

    /// A network ACL: as a rule the one that allows everything.
    fn change_acl(&mut self, region: &mut Region, number: usize) {
        for is_egress in [true, false] {
            let mut entries = Vec::new();
            if self.chance(40) {
                for id in 1..=self.below(4) {
                    entries.push(self.acl_entry(10 * id));
                }
            }
            if self.chance(90) {
                entries.extend(self.allow_all());
            }
            let subnet = &mut region.subnets[number];
            *if is_egress {
                &mut subnet.acl_egress
            } else {
                &mut subnet.acl_ingress
            } = entries;
        }
    }

    fn acl_entry(&mut self, id: u64) -> AclEntry {
        // No block holds some addresses of a NAT gateway and not others: which one a packet gets, only
        // the gateway knows.
        let cidr = self.one(&[
            "0.0.0.0/0",
            "10.0.0.0/16",
            "10.0.1.0/24",
            "10.0.0.8/29",
            "10.9.0.0/16",
            "198.18.0.0/24",
            "198.18.1.0/24",
            "203.0.113.9/32",
            "::/0",
            "2001:db8:0:100::/56",
            "2001:db8:0:101::/64",
            "3fff::/20",
        ]);
        let number = self.one(&[None, Some(6), Some(17), Some(1), Some(58)]);
        let mut rule = self.rule_of(cidr, number);
        rule.id = id;
        if matches!(number, Some(6 | 17)) && self.chance(50) {
            (rule.from, rule.to) = self.one(&[(53, 53), (0, 1023), (1024, u16::MAX)]);
        }
        AclEntry {
            allows: self.chance(40),
            rule,
        }
    }

    fn rule_of(&mut self, cidr: &str, number: Option<u8>) -> RuleSpec {
        self.next_rule += 1;
        RuleSpec {
            id: self.next_rule,
            // Unwrap: callers give constants.
            peer: RulePeer::Cidr(cidr.parse().unwrap()),
            protocol: number,
            from: 0,
            to: u16::MAX,
        }
    }

    fn rule(&mut self, groups: &[u64]) -> RuleSpec {
        let number = self.one(&[
            None,
            Some(6),
            Some(6),
            Some(17),
            Some(17),
            Some(1),
            Some(58),
            Some(47),
        ]);
        let cidr = self.one(&[
            "0.0.0.0/0",
            "0.0.0.0/0",
            "0.0.0.0/0",
            "10.0.0.0/16",
            "10.0.0.0/24",
            "10.0.1.0/24",
            "10.0.0.12/32",
            "10.0.0.8/29",
            "::/0",
            "::/0",
            "2001:db8:0:100::/64",
            "2001:db8:0:300::/56",
            "3fff::9/128",
            "10.9.0.0/24",
            "198.18.0.0/15",
            "203.0.113.0/24",
        ]);
        let mut rule = self.rule_of(cidr, number);
        if self.chance(35) {
            rule.peer = RulePeer::Group(self.one(groups));
        }
        if matches!(number, Some(6 | 17)) && self.chance(70) {
            let (a, b) = (self.one(&PORTS), self.one(&PORTS));
            (rule.from, rule.to) = match self.below(3) {
                0 => (a, a),
                1 => (a.min(b), a.max(b)),
                _ => (1, u16::MAX),
            };
        }
        if number == Some(protocol::ICMP) && self.chance(60) {
            (rule.from, rule.to) =
                self.one(&[(0x0800, 0x08ff), (0x0800, 0x0800), (0x0300, 0x03ff)]);
        }
        rule
    }
}
