//! Random regions, changes and packets. Everything comes from few values, so that things meet: packets
//! answer each other, rules match some and not others, addresses are the same in both VPCs.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::flow::tcp;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::protocol;
use enid_plan::gate::{RulePeer, RuleSpec};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

use crate::region::{Eni, Group, Region, Subnet};

/// Interfaces of a random region; the tests have a device for each.
pub const ENIS: usize = 8;
const SUBNETS_PER_VPC: usize = 2;
const GROUPS_PER_VPC: usize = 4;
const PORTS: [u16; 5] = [53, 80, 443, 1024, 40_000];

/// A source of everything random in a test run.
#[derive(Debug)]
pub struct Random {
    rng: StdRng,
    next_rule: u64,
    recent: Vec<(u64, PacketBuilder)>,
}

impl Random {
    /// From a seed, which is the whole of a test run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            next_rule: 1,
            recent: Vec::new(),
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
        let mut region = Region::default();
        // Two VPCs with the same addresses.
        let base = u64::from(self.rng.next_u32()) << 16;
        for vpc in [base + 1, base + 2] {
            for octet in 0..SUBNETS_PER_VPC {
                let octet = u8::try_from(octet).unwrap_or(0);
                let id = (vpc << 8) + u64::from(octet);
                region.subnets.push(Subnet { id, vpc, octet });
            }
        }
        for number in 0..GROUPS_PER_VPC * 2 {
            let id = base + 0x100 + number as u64;
            region.groups.push(Group {
                id,
                egress: Vec::new(),
                ingress: Vec::new(),
            });
        }
        for (number, ifindex) in ifindexes.iter().enumerate() {
            let subnet = self.index(region.subnets.len());
            let octet = region.subnets[subnet].octet;
            let host = u8::try_from(10 + number).unwrap_or(0);
            let eni = Eni {
                id: base + 0x200 + number as u64,
                subnet,
                addresses: vec![Addr::v4([10, 0, octet, host])],
                groups: Vec::new(),
                mac: Mac([2, 0, 0, 0, 0, host]),
                check: self.chance(85),
                ifindex: *ifindex,
                is_up: self.chance(95),
            };
            region.enis.push(eni);
            self.change_groups(&mut region, number);
        }
        for group in 0..region.groups.len() {
            self.change_rules(&mut region, group);
        }
        self.recent.clear();
        region
    }

    /// Changes something of the region.
    pub fn change(&mut self, region: &mut Region) {
        let number = self.index(region.enis.len());
        match self.below(10) {
            0..=5 => {
                let group = self.index(region.groups.len());
                self.change_rules(region, group);
            }
            6..=7 => self.change_groups(region, number),
            8 => {
                // A second address that only this interface ever has, in its subnet.
                let octet = region.subnet_of(&region.enis[number]).octet;
                let eni = &mut region.enis[number];
                let host = u8::try_from(100 + number).unwrap_or(0);
                if eni.addresses.len() == 1 {
                    eni.addresses.push(Addr::v4([10, 0, octet, host]));
                } else {
                    eni.addresses.truncate(1);
                }
            }
            _ => region.enis[number].check = self.chance(80),
        }
    }

    fn change_groups(&mut self, region: &mut Region, number: usize) {
        let eni = &region.enis[number];
        // The groups of a VPC are one half of all.
        let is_second = eni.subnet >= SUBNETS_PER_VPC;
        let first = if is_second { GROUPS_PER_VPC } else { 0 };
        let mut groups: Vec<usize> = (first..first + GROUPS_PER_VPC).collect();
        groups.retain(|_| self.chance(40));
        if groups.is_empty() {
            groups.push(first);
        }
        region.enis[number].groups = groups;
    }

    fn change_rules(&mut self, region: &mut Region, group: usize) {
        let second = group >= GROUPS_PER_VPC;
        let range = if second {
            GROUPS_PER_VPC..GROUPS_PER_VPC * 2
        } else {
            0..GROUPS_PER_VPC
        };
        let ids: Vec<u64> = region.groups[range].iter().map(|group| group.id).collect();
        for is_egress in [true, false] {
            if self.chance(30) {
                continue;
            }
            let count = self.below(4);
            let mut rules: Vec<RuleSpec> = (0..count).map(|_| self.rule(&ids)).collect();
            if is_egress && self.chance(40) {
                // What every new group has.
                rules.push(self.rule_of("0.0.0.0/0", None));
            }
            let group = &mut region.groups[group];
            *if is_egress {
                &mut group.egress
            } else {
                &mut group.ingress
            } = rules;
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

    /// A packet, and the number of the interface that sends it.
    pub fn packet(&mut self, region: &Region) -> (usize, PacketBuilder) {
        if self.chance(55)
            && let Some(packet) = self.answer(region)
        {
            return packet;
        }
        let number = self.index(region.enis.len());
        let eni = &region.enis[number];
        let vpc = region.subnet_of(eni).vpc;
        let source = match self.below(100) {
            0..=1 => self.one(&[[10, 0, 0, 77], [10, 9, 9, 9], [127, 0, 0, 1]]),
            _ => self.one(&eni.addresses).v4_octets(),
        };
        let others: Vec<Addr> = region
            .enis
            .iter()
            .filter(|other| region.subnet_of(other).vpc == vpc)
            .flat_map(|other| other.addresses.iter().copied())
            .collect();
        let target = match self.below(100) {
            0..=3 => Addr::v4(self.one(&[
                [10, 0, 0, 1],
                [10, 0, 0, 200],
                [169, 254, 169, 254],
                [224, 0, 0, 1],
                [8, 8, 8, 8],
            ])),
            _ => self.one(&others),
        };
        let transport = match self.below(10) {
            0..=3 => Transport::Tcp {
                from: self.one(&PORTS),
                to: self.one(&PORTS),
                flags: self.tcp_flags(),
            },
            4..=6 => Transport::Udp {
                from: self.one(&PORTS),
                to: self.one(&PORTS),
            },
            7 => Transport::Other(47),
            8 => Transport::echo_reply(self.one(&[1, 2])),
            _ => Transport::echo(self.one(&[1, 2])),
        };
        let packet = PacketBuilder::new(Addr::v4(source), target, transport);
        (number, self.with_macs(region, number, packet))
    }

    /// Remembers a packet that reached an interface, so that it may be answered.
    pub fn reached(&mut self, region: &Region, mac: Mac, packet: &PacketBuilder) {
        let Some(eni) = region.enis.iter().find(|eni| eni.mac == mac) else {
            return;
        };
        if self.recent.len() == 24 {
            let old = self.index(24);
            self.recent.swap_remove(old);
        }
        self.recent.push((eni.id, packet.clone()));
    }

    /// A packet about a recent one: its answer, an error about it, or the same again.
    fn answer(&mut self, region: &Region) -> Option<(usize, PacketBuilder)> {
        if self.recent.is_empty() {
            return None;
        }
        let index = self.index(self.recent.len());
        let (receiver, packet) = self.recent[index].clone();
        let by_id = |id| region.enis.iter().position(|eni| eni.id == id);
        let (number, source, target, transport) = match self.below(10) {
            0..=1 => {
                // An error, from whom the packet reached or from somebody else.
                let error = Transport::unreachable(&packet);
                if self.chance(70) {
                    (by_id(receiver)?, packet.target, packet.source, error)
                } else {
                    let other = self.index(region.enis.len());
                    let source = self.one(&region.enis[other].addresses);
                    (other, source, packet.source, error)
                }
            }
            2..=4 => {
                let mac = packet.from_mac;
                let sender = region.enis.iter().position(|eni| eni.mac == mac)?;
                let transport = match packet.transport {
                    Transport::Tcp { from, to, .. } => {
                        let flags = self.tcp_flags();
                        Transport::Tcp { from, to, flags }
                    }
                    same => same,
                };
                (sender, packet.source, packet.target, transport)
            }
            _ => {
                let transport = match packet.transport {
                    Transport::Tcp { from, to, .. } => {
                        let flags = self.tcp_flags();
                        Transport::Tcp {
                            from: to,
                            to: from,
                            flags,
                        }
                    }
                    Transport::Udp { from, to } => Transport::Udp { from: to, to: from },
                    Transport::Icmp { kind: 8, rest, .. } => {
                        Transport::echo_reply(u16::from_be_bytes([rest[0], rest[1]]))
                    }
                    Transport::Icmp { .. } => return None,
                    other => other,
                };
                (by_id(receiver)?, packet.target, packet.source, transport)
            }
        };
        let packet = PacketBuilder::new(source, target, transport);
        Some((number, self.with_macs(region, number, packet)))
    }

    fn tcp_flags(&mut self) -> u8 {
        self.one(&[
            tcp::SYN,
            tcp::SYN,
            tcp::SYN | tcp::ACK,
            tcp::ACK,
            tcp::ACK,
            tcp::ACK,
            tcp::FIN | tcp::ACK,
            tcp::RST,
        ])
    }

    fn with_macs(
        &mut self,
        region: &Region,
        number: usize,
        packet: PacketBuilder,
    ) -> PacketBuilder {
        let eni = &region.enis[number];
        let subnet = region.subnet_of(eni);
        let receiver = region.owner(subnet.vpc, packet.target);
        let neighbour = receiver.filter(|receiver| receiver.subnet == eni.subnet);
        let to_mac = match (self.below(100), neighbour) {
            (0, _) => Mac([2, 0, 0, 0, 0, 99]),
            (1, _) => receiver.map_or_else(Mac::default, |receiver| receiver.mac),
            (2..70, Some(neighbour)) => neighbour.mac,
            _ => subnet.router_mac(),
        };
        let from_mac = if self.chance(99) {
            eni.mac
        } else {
            Mac([2, 0, 0, 0, 0, 98])
        };
        packet.macs(from_mac, to_mac)
    }
}
