//! Random packets: some about recent ones, such as answers and errors, and what middleboxes send on.

use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::flow::tcp;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::OUTSIDE;
use ipnet::IpNet;

use super::{FAR_AWAY, FAR_AWAY_V6, PORTS, Random};
use crate::reading::Sender;
use crate::region::{Eni, FAR, NEAR, POOL, Region, on_link};

impl Random {
    /// A packet, and who sends it.
    pub fn packet<'a>(&mut self, region: &'a Region) -> (Sender<'a>, PacketBuilder) {
        if self.chance(55)
            && let Some(packet) = self.answer(region)
        {
            return packet;
        }
        if !region.balancers.is_empty() && self.chance(60) {
            return self.packet_to_node(region);
        }
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
        if self.chance(10) {
            let source = match self.below(100) {
                0..=1 => self.one(&[Addr::v4([127, 0, 0, 1]), Addr::v4([198, 18, 0, 11])]),
                _ => self.one(&FAR_AWAY),
            };
            let target = self.public(region);
            return self.send(
                region,
                Sender::Outside,
                PacketBuilder::new(source, target, transport),
            );
        }
        let eni = &region.enis[self.index(region.enis.len())];
        if self.chance(35) {
            return self.packet_v6(region, eni, transport);
        }
        let vpc = region.subnet_of(eni).vpc;
        let source = match self.below(100) {
            0..=1 => self.one(&[[10, 0, 0, 77], [10, 9, 9, 9], [127, 0, 0, 1]]),
            _ => self.one(&of_family(eni, true)).v4_octets(),
        };
        let of_vpc = |wanted: u64| addresses(region, wanted, true);
        let target = match self.below(100) {
            0..=3 => Addr::v4(self.one(&[
                [10, 0, 0, 1],
                [10, 0, 0, 200],
                [169, 254, 169, 254],
                [224, 0, 0, 1],
                [10, 0, 1, 5],
                [10, 0, 0, 5],
            ])),
            4..=14 => self.one(&FAR_AWAY),
            15..=25 => self.public(region),
            26..=35 => {
                let other = self.index(region.enis.len());
                self.one(&of_vpc(region.subnet_of(&region.enis[other]).vpc))
            }
            _ => self.one(&of_vpc(vpc)),
        };
        let packet = PacketBuilder::new(Addr::v4(source), target, transport);
        self.send(region, Sender::Eni(eni), packet)
    }

    /// An IPv6 packet that an interface sends, or that comes to it.
    fn packet_v6<'a>(
        &mut self,
        region: &'a Region,
        eni: &'a Eni,
        transport: Transport,
    ) -> (Sender<'a>, PacketBuilder) {
        let transport = match transport {
            Transport::Icmp { kind, rest, .. } => Transport::Icmp {
                kind: if kind == 8 { 128 } else { 129 },
                code: 0,
                rest,
                body: Vec::new(),
            },
            other => other,
        };
        let home = region.subnet_of(eni);
        if self.chance(15) {
            let source = match self.below(100) {
                0..=2 => self.one(&[home.v6(99), Addr::v6([0xfd; 16]), on_link(eni.mac)]),
                _ => self.one(&FAR_AWAY_V6),
            };
            let targets = [of_family(eni, false)[0], home.v6(98), home.v6(200)];
            let target = targets[if self.chance(80) { 0 } else { self.index(3) }];
            let packet = PacketBuilder::new(source, target, transport);
            return self.send(region, Sender::Outside, packet);
        }
        let source = match self.below(100) {
            0..=1 => self.one(&[home.v6(77), FAR_AWAY_V6[0], Addr::UNSPECIFIED]),
            2..=9 => on_link(eni.mac),
            _ => self.one(&of_family(eni, false)),
        };
        let other = &region.enis[self.index(region.enis.len())];
        let target = match self.below(100) {
            0..=3 => self.one(&[
                home.v6(1),
                home.v6(250),
                Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
                Addr::v6([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
                Addr::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
            ]),
            4..=24 => self.one(&FAR_AWAY_V6),
            25..=34 => on_link(other.mac),
            35..=44 => self.one(&of_family(other, false)),
            _ => self.one(&addresses(region, home.vpc, false)),
        };
        let packet = PacketBuilder::new(source, target, transport);
        self.send(region, Sender::Eni(eni), packet)
    }

    /// A public address: of an interface, of a NAT gateway, or of nobody.
    fn public(&mut self, region: &Region) -> Addr {
        let of_enis = region.enis.iter().filter_map(|eni| eni.public);
        let of_nats = region.nats.iter().flat_map(|nat| &nat.addresses);
        let mut all: Vec<Addr> = of_enis.collect();
        if self.chance(20) {
            all.extend(of_nats.filter_map(|(_, public)| *public));
        }
        all.push(Addr::v4([POOL[0], POOL[1], 7, 7]));
        self.one(&all)
    }

    /// Remembers a frame that arrived, so that it may be answered.
    pub fn reached(&mut self, region: &Region, frame: &[u8], packet: &PacketBuilder) {
        let mac = frame
            .first_chunk()
            .map_or_else(Mac::default, |mac| Mac(*mac));
        let receiver = if mac == FAR {
            OUTSIDE
        } else {
            match region.enis.iter().find(|eni| eni.mac == mac) {
                Some(eni) => eni.id,
                None => return,
            }
        };
        let packet = as_arrived(packet, frame);
        self.remember(receiver, packet);
    }

    fn remember(&mut self, receiver: u64, packet: PacketBuilder) {
        if self.recent.len() == 24 {
            let old = self.index(24);
            self.recent.swap_remove(old);
        }
        self.recent.push((receiver, packet));
    }

    /// Remembers a packet that was sent, so that it may be sent again.
    pub fn sent(&mut self, sender: Sender<'_>, packet: &PacketBuilder) {
        if self.again.len() == 24 {
            let old = self.index(24);
            self.again.swap_remove(old);
        }
        self.again.push((sender.id(), packet.clone()));
    }

    /// A packet about a recent one: its answer, an error about it, or the same again.
    fn answer<'a>(&mut self, region: &'a Region) -> Option<(Sender<'a>, PacketBuilder)> {
        let by_id = |id| {
            if id == OUTSIDE {
                return Some(Sender::Outside);
            }
            let eni = region.enis.iter().find(|eni| eni.id == id);
            eni.map(Sender::Eni)
        };
        if self.chance(30) && !self.again.is_empty() {
            let index = self.index(self.again.len());
            let (sender, packet) = self.again[index].clone();
            let transport = match packet.transport {
                Transport::Tcp { from, to, .. } => {
                    let flags = self.tcp_flags();
                    Transport::Tcp { from, to, flags }
                }
                same => same,
            };
            let packet = PacketBuilder::new(packet.source, packet.target, transport);
            return Some(self.send(region, by_id(sender)?, packet));
        }
        if self.recent.is_empty() {
            return None;
        }
        let index = self.index(self.recent.len());
        let (receiver, packet) = self.recent[index].clone();
        let is_v4 = packet.source.is_v4();
        // A middlebox sends on what is for others.
        if let Some(Sender::Eni(middlebox)) = by_id(receiver)
            && !middlebox.check
            && !of_family(middlebox, is_v4).contains(&packet.target)
            && self.chance(60)
        {
            return Some(self.send(region, Sender::Eni(middlebox), packet));
        }
        let (sender, source, target, transport) = if self.chance(25) {
            // An error, from whom the packet reached or from somebody else.
            let error = Transport::unreachable(&packet);
            if self.chance(70) {
                let is_router = receiver == OUTSIDE && self.chance(30);
                let source = if is_router {
                    if is_v4 { FAR_AWAY[2] } else { FAR_AWAY_V6[1] }
                } else {
                    packet.target
                };
                (by_id(receiver)?, source, packet.source, error)
            } else {
                let other = &region.enis[self.index(region.enis.len())];
                let source = self.one(&of_family(other, is_v4));
                (Sender::Eni(other), source, packet.source, error)
            }
        } else {
            let transport = match packet.transport {
                Transport::Tcp { from, to, .. } => Transport::Tcp {
                    from: to,
                    to: from,
                    flags: self.tcp_flags(),
                },
                Transport::Udp { from, to } => Transport::Udp { from: to, to: from },
                Transport::Icmp { kind: 8, rest, .. } => {
                    Transport::echo_reply(u16::from_be_bytes([rest[0], rest[1]]))
                }
                Transport::Icmp {
                    kind: 128, rest, ..
                } => Transport::Icmp {
                    kind: 129,
                    code: 0,
                    rest,
                    body: Vec::new(),
                },
                Transport::Icmp { .. } => return None,
                other => other,
            };
            (by_id(receiver)?, packet.target, packet.source, transport)
        };
        let packet = PacketBuilder::new(source, target, transport);
        Some(self.send(region, sender, packet))
    }

    /// With the MAC addresses that the sender gives it.
    pub(super) fn send<'a>(
        &mut self,
        region: &Region,
        sender: Sender<'a>,
        mut packet: PacketBuilder,
    ) -> (Sender<'a>, PacketBuilder) {
        if self.chance(8) {
            let length = self.one(self.lengths);
            packet.payload = length.saturating_sub(packet.packet().len());
        }
        let packet = match sender {
            Sender::Eni(eni) => self.with_macs(region, eni, packet),
            Sender::Outside => packet.macs(FAR, NEAR),
        };
        (sender, packet)
    }

    pub(super) fn tcp_flags(&mut self) -> u8 {
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

    fn with_macs(&mut self, region: &Region, eni: &Eni, packet: PacketBuilder) -> PacketBuilder {
        let subnet = region.subnet_of(eni);
        let receiver = region.owner_seen(eni.subnet, packet.target);
        let neighbour = receiver.filter(|receiver| receiver.subnet == eni.subnet);
        let to_mac = match (self.below(100), neighbour) {
            (0, _) => Mac([2, 0, 0, 0, 0, 99]),
            (1, _) => receiver.map_or_else(Mac::default, |receiver| receiver.mac),
            // A next hop of its own choice.
            (2..10, _) => region.enis[self.index(region.enis.len())].mac,
            (10..75, Some(neighbour)) => neighbour.mac,
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

/// A packet with the addresses and ports that its frame has by now.
#[must_use]
pub fn as_arrived(packet: &PacketBuilder, frame: &[u8]) -> PacketBuilder {
    let mut packet = packet.clone();
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let is_v4 = packet.source.is_v4();
    let transport = if is_v4 { 34 } else { 54 };
    if is_v4 {
        let addr = |at: usize| Addr::v4([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        (packet.source, packet.target) = (addr(26), addr(30));
    } else {
        // Unwrap: the slices have the arrays' length.
        let addr = |at: usize| Addr::v6(frame[at..at + 16].try_into().unwrap());
        (packet.source, packet.target) = (addr(22), addr(38));
    }
    match &mut packet.transport {
        Transport::Tcp { from, to, .. } | Transport::Udp { from, to } => {
            (*from, *to) = (word(transport), word(transport + 2));
        }
        Transport::Icmp {
            kind: 0 | 8, rest, ..
        } if is_v4 => rest[..2].copy_from_slice(&frame[38..40]),
        _ => {}
    }
    packet
}

/// The addresses of an interface of one family, and one of each prefix.
pub(super) fn of_family(eni: &Eni, is_v4: bool) -> Vec<Addr> {
    let of_prefix = |prefix: &IpNet| prefix.hosts().nth(3).map(Addr::from);
    let delegated = eni.prefixes.iter().filter_map(of_prefix);
    let all = eni.addresses.iter().copied().chain(delegated);
    all.filter(|addr| addr.is_v4() == is_v4).collect()
}

/// The addresses of the interfaces of a VPC.
fn addresses(region: &Region, vpc: u64, is_v4: bool) -> Vec<Addr> {
    let enis = region.enis.iter();
    let enis = enis.filter(|eni| region.subnet_of(eni).vpc == vpc);
    enis.flat_map(|eni| of_family(eni, is_v4)).collect()
}
