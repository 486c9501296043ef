//! The stages' tests share a small world and a ledger: after each packet, everything that can be counted
//! is compared, and what did not change is asserted too.
//!
//! ```text
//!   VPC 1, subnet 11 (10.0.0.0/24)   A 10.0.0.10    B 10.0.0.20
//!   VPC 1, subnet 12 (10.0.1.0/24)   D 10.0.1.30
//!   VPC 2, subnet 21 (10.0.0.0/24)   C 10.0.0.20
//! ```

use std::collections::BTreeMap;

use crate::{
    Reason, Scratch, Verdict,
    bytes::{Addr, Mac},
    egress,
    flow::flag,
    frame::Bytes,
    memory::Memory,
    outside,
    packet_builder::{PacketBuilder, Transport},
    room, services,
    table::{
        Direction, Endpoint, EndpointKey, EniRecord, GATE_CLOSED, GATE_OPEN, GateGroupKey,
        GateRemoteKey, GateRule, GateRuleKey, GateServiceKey, MacKey, OUTSIDE, PolicyRecord, Route,
        RouteKey, RuleBits, SubnetRecord, TABLE_BITS, open_bit, protocol, trie_id,
    },
    table_set::TableSet,
};

/// ENIs; each one's device has the same number.
pub(crate) const A: u64 = 1;
pub(crate) const B: u64 = 2;
pub(crate) const C: u64 = 3;
pub(crate) const D: u64 = 4;

/// What a gate of an ENI lets through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nothing.
    Closed,
    /// Everything, by a rule for everybody in both families.
    Everybody,
    /// Everything of 10.0.0.0/8.
    Neighbours,
}

/// What changed by a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) flows: isize,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) related: u64,
    pub(crate) drops: isize,
    pub(crate) reasons: Vec<(Reason, u64)>,
}

impl Change {
    /// One packet was carried on entries that are there.
    pub(crate) fn carried(bytes: u64) -> Self {
        Self {
            packets: 1,
            bytes,
            ..Self::default()
        }
    }

    /// One packet was carried, and its entries were made.
    pub(crate) fn opened(flows: isize, bytes: u64) -> Self {
        Self {
            flows,
            ..Self::carried(bytes)
        }
    }

    /// One packet was dropped, the first of its 5-tuple.
    pub(crate) fn dropped(reason: Reason) -> Self {
        Self {
            drops: 1,
            reasons: vec![(reason, 1)],
            ..Self::default()
        }
    }

    /// One packet was dropped whose 5-tuple was dropped before, or that has none.
    pub(crate) fn dropped_again(reason: Reason) -> Self {
        Self {
            reasons: vec![(reason, 1)],
            ..Self::default()
        }
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) now_ns: u64,
}

impl World {
    /// All ENIs with these two gates.
    pub(crate) fn new(out: Gate, into: Gate) -> Self {
        let mut tables = TableSet::default();
        for (id, vpc, octet) in [(11, 1, 0), (12, 1, 1), (21, 2, 0)] {
            let record = SubnetRecord {
                vpc,
                router: Addr::v4([10, 0, octet, 1]),
                cidr: Addr::v4([10, 0, octet, 0]),
                cidr_len: 120,
                router_v6: Addr::UNSPECIFIED,
                route_table: vpc,
                acl: id,
                acl_egress: GATE_OPEN,
                acl_ingress: GATE_OPEN,
                router_mac: router_mac(id),
                pad: [0; 6],
            };
            tables.subnets.insert(id, record);
            let key = RouteKey {
                prefix_len: TABLE_BITS + 112,
                table: trie_id(vpc),
                addr: Addr::v4([10, 0, 0, 0]),
            };
            tables.routes.insert(
                key,
                Route {
                    target: 0,
                    kind: Route::LOCAL,
                    prefix_len: 112,
                },
            );
        }
        for eni in [A, B, C, D] {
            let (vpc, subnet) = home(eni);
            let record = EniRecord {
                vpc,
                subnet,
                policy: eni,
                instance: eni + 100,
                groups: [0; 16],
                ifindex: device(eni),
                tcp_established_s: 1000,
                udp_s: 30,
                udp_stream_s: 180,
                mac: mac(eni),
                flags: EniRecord::SOURCE_DEST_CHECK,
                group_count: 0,
            };
            tables.devices.insert(device(eni), eni);
            tables.enis.insert(eni, record);
            tables.endpoints.insert(
                EndpointKey {
                    vpc,
                    addr: addr(eni),
                },
                Endpoint { eni },
            );
            let key = MacKey {
                vpc,
                mac: mac(eni),
                pad: [0; 2],
            };
            tables.macs.insert(key, Endpoint { eni });
        }
        let mut world = Self {
            memory: Memory::new(tables),
            now_ns: 1_000_000_000,
        };
        for eni in [A, B, C, D] {
            world.policy(eni, out, into);
        }
        world
    }

    /// Gives an ENI other gates. The rules are `10 * ENI` (egress) and `10 * ENI + 1` (ingress).
    pub(crate) fn policy(&mut self, eni: u64, out: Gate, into: Gate) {
        let egress_gate = self.gate(out, 10 * eni);
        let ingress_gate = self.gate(into, 10 * eni + 1);
        let mut open = 0;
        for (gate, direction) in [(out, Direction::Egress), (into, Direction::Ingress)] {
            if gate == Gate::Everybody {
                for number in [protocol::TCP, protocol::UDP] {
                    open |= open_bit(direction, number, true);
                    open |= open_bit(direction, number, false);
                }
            }
        }
        let record = PolicyRecord {
            egress_gate,
            ingress_gate,
            open,
        };
        self.memory.tables.policies.insert(eni, record);
        self.memory.generation += 1;
    }

    fn gate(&mut self, gate: Gate, rule: u64) -> u64 {
        let (prefix_len, network, flags) = match gate {
            Gate::Closed => return GATE_CLOSED,
            Gate::Everybody => (96, [0; 4], GateRule::ANY_PEER),
            Gate::Neighbours => (104, [10, 0, 0, 0], 0),
        };
        let id = rule * 2 + u64::from(gate == Gate::Everybody);
        let mut bits = RuleBits::NONE;
        bits.set(0);
        let tables = &mut self.memory.tables;
        let key = GateRemoteKey {
            prefix_len: TABLE_BITS + prefix_len,
            gate: trie_id(id),
            addr: Addr::v4(network).masked(prefix_len),
        };
        // The root of IPv4 is a v4-mapped prefix.
        let key = if prefix_len == 96 {
            GateRemoteKey {
                addr: Addr::v4([0; 4]),
                ..key
            }
        } else {
            key
        };
        tables.gate_remotes.insert(key, bits);
        if gate == Gate::Everybody {
            let key = GateRemoteKey {
                prefix_len: TABLE_BITS,
                addr: Addr::UNSPECIFIED,
                ..key
            };
            tables.gate_remotes.insert(key, bits);
        }
        let key = GateServiceKey {
            prefix_len: TABLE_BITS,
            gate: trie_id(id),
            protocol: 0,
            port: [0; 2],
            pad: 0,
        };
        tables.gate_services.insert(key, bits);
        tables.gate_rules.insert(
            GateRuleKey {
                gate: id,
                bit: 0,
                pad: 0,
            },
            GateRule { rule, flags },
        );
        id
    }

    /// A gate for members of a group alone, on all ports. Its rule is 1234.
    pub(crate) fn gate_for_group(&mut self, group: u64) -> u64 {
        let gate = 99;
        let mut bits = RuleBits::NONE;
        bits.set(3);
        let tables = &mut self.memory.tables;
        tables
            .gate_groups
            .insert(GateGroupKey { gate, group }, bits);
        let key = GateServiceKey {
            prefix_len: TABLE_BITS,
            gate: trie_id(gate),
            protocol: 0,
            port: [0; 2],
            pad: 0,
        };
        tables.gate_services.insert(key, bits);
        let key = GateRuleKey {
            gate,
            bit: 3,
            pad: 0,
        };
        let rule = GateRule {
            rule: 1234,
            flags: 0,
        };
        tables.gate_rules.insert(key, rule);
        gate
    }

    /// Changes an ENI's record.
    pub(crate) fn change_eni(&mut self, eni: u64, change: impl FnOnce(&mut EniRecord)) {
        change(
            self.memory
                .tables
                .enis
                .get_mut(&eni)
                .expect("an ENI of the world"),
        );
        self.memory.generation += 1;
    }

    /// Lets time pass.
    pub(crate) fn wait_s(&mut self, seconds: u64) {
        self.now_ns += seconds * 1_000_000_000;
    }

    /// Sends a frame from an ENI and compares the whole ledger. The frame is left as it goes on.
    #[track_caller]
    pub(crate) fn send(&self, from: u64, frame: &mut [u8], change: &Change) -> Verdict {
        self.run(change, |scratch| {
            let mut bytes = Bytes::new(frame);
            let device = device(from);
            egress(&self.memory, &mut bytes, device, self.now_ns, scratch)
        })
    }

    /// The same for a frame from the outside.
    #[track_caller]
    pub(crate) fn send_in(&self, frame: &mut [u8], change: &Change) -> Verdict {
        self.run(change, |scratch| {
            let mut bytes = Bytes::new(frame);
            let device = self.memory.outside.ifindex;
            outside(&self.memory, &mut bytes, device, self.now_ns, scratch)
        })
    }

    /// The same for a frame from the link-local services, which have the device with this index.
    #[track_caller]
    pub(crate) fn send_service(&self, device: u32, frame: &mut [u8], change: &Change) -> Verdict {
        self.run(change, |scratch| {
            let mut bytes = Bytes::new(frame);
            services(&self.memory, &mut bytes, device, self.now_ns, scratch)
        })
    }

    #[track_caller]
    fn run(&self, change: &Change, run: impl FnOnce(&mut Scratch) -> Verdict) -> Verdict {
        let before = self.count();
        let verdict = run(&mut Scratch::new());
        let after = self.count();
        let mut found = Change {
            flows: after.flows - before.flows,
            packets: after.packets - before.packets,
            bytes: after.bytes - before.bytes,
            related: after.related - before.related,
            drops: after.drops - before.drops,
            reasons: Vec::new(),
        };
        for ((reason, after), (_, before)) in after.reasons.iter().zip(&before.reasons) {
            if after != before {
                found.reasons.push((*reason, after - before));
            }
        }
        assert_eq!(found, *change, "{verdict:?}");
        self.check_ports();
        self.assert_counted();
        verdict
    }

    /// The ports of NAT gateways that are counted as taken are those that entries hold, and of these the
    /// connections that are counted as active.
    #[track_caller]
    fn check_ports(&self) {
        let flows = self.memory.flows();
        let holding = flows
            .iter()
            .filter(|(_, flow)| flow.flags & flag::HOLDS_PORT != 0);
        let mut of_tcp = BTreeMap::new();
        for (key, flow) in holding.clone() {
            let is_tcp = key.protocol == protocol::TCP;
            *of_tcp.entry(flow.via).or_insert(0) += u64::from(is_tcp);
        }
        for (nat, count) in of_tcp {
            assert_eq!(self.memory.counts_of(nat).active, count, "active");
        }
        let taken: u64 = self.memory.ports().values().map(|ports| ports.taken).sum();
        assert_eq!(taken, holding.count() as u64, "ports");
    }

    /// What instances hold is what the flow table has of theirs.
    #[track_caller]
    fn assert_counted(&self) {
        let mut expected = BTreeMap::<u64, (u64, u64)>::new();
        for flow in self.memory.flows().values() {
            expected.entry(room::WHOLE).or_default().0 += 1;
            if flow.holder != room::WHOLE {
                let counted = expected.entry(flow.holder).or_default();
                counted.0 += 1;
                let is_tracked = flow.flags & flag::TRACKED_AT_SOURCE != 0;
                let is_outside = flow.source_eni == OUTSIDE;
                assert_eq!(flow.flags & flag::COUNTED != 0, is_tracked && !is_outside);
                counted.1 += u64::from(flow.flags & flag::COUNTED != 0);
            }
        }
        let found = self.memory.uses().into_iter();
        let found = found.map(|(instance, usage)| (instance, (usage.entries, usage.tracked)));
        let found: BTreeMap<_, _> = found.filter(|(_, counted)| *counted != (0, 0)).collect();
        assert_eq!(found, expected);
    }

    /// Sends a packet that must arrive, and says whether it was carried or made its entries.
    #[track_caller]
    pub(crate) fn passes(&self, from: u64, to: u64, transport: Transport, flows: isize) {
        let packet = packet(from, to, transport);
        let bytes = packet.packet().len() as u64;
        let mut frame = packet.frame();
        let verdict = self.send(from, &mut frame, &Change::opened(flows, bytes));
        assert_eq!(
            verdict,
            Verdict::Forward {
                ifindex: device(to)
            }
        );
        assert_eq!(frame[..6], mac(to).0);
    }

    /// Sends a packet that must be dropped, the first of its 5-tuple.
    #[track_caller]
    pub(crate) fn drops(&self, from: u64, to: u64, transport: Transport, reason: Reason) {
        let mut frame = packet(from, to, transport).frame();
        let verdict = self.send(from, &mut frame, &Change::dropped(reason));
        assert_eq!(verdict, Verdict::Drop(reason));
    }

    fn count(&self) -> Change {
        let flows = self.memory.flows();
        let signed = |count: usize| isize::try_from(count).expect("a small number");
        Change {
            flows: signed(flows.len()),
            packets: flows.values().map(|flow| flow.packets).sum(),
            bytes: flows.values().map(|flow| flow.bytes).sum(),
            related: flows
                .values()
                .map(|flow| u64::from(flow.related_packets()))
                .sum(),
            drops: signed(self.memory.drops().len()),
            reasons: Reason::ALL
                .iter()
                .map(|r| (*r, self.memory.dropped_for(*r)))
                .collect(),
        }
    }
}

/// VPC and subnet of an ENI.
pub(crate) fn home(eni: u64) -> (u64, u64) {
    match eni {
        C => (2, 21),
        D => (1, 12),
        _ => (1, 11),
    }
}

pub(crate) fn device(eni: u64) -> u32 {
    u32::try_from(eni).expect("a small number")
}

pub(crate) fn mac(eni: u64) -> Mac {
    Mac([2, 0, 0, 0, 0, u8::try_from(eni).expect("a small number")])
}

pub(crate) fn router_mac(subnet: u64) -> Mac {
    Mac([
        2,
        0xff,
        0,
        0,
        0,
        u8::try_from(subnet).expect("a small number"),
    ])
}

pub(crate) fn addr(eni: u64) -> Addr {
    match eni {
        A => Addr::v4([10, 0, 0, 10]),
        D => Addr::v4([10, 0, 1, 30]),
        _ => Addr::v4([10, 0, 0, 20]),
    }
}

/// A packet with the MAC addresses that a real sender would use.
pub(crate) fn packet(from: u64, to: u64, transport: Transport) -> PacketBuilder {
    let to_mac = if home(from) == home(to) {
        mac(to)
    } else {
        router_mac(home(from).1)
    };
    PacketBuilder::new(addr(from), addr(to), transport).macs(mac(from), to_mac)
}

/// A UDP packet from port 1000 to port 53.
pub(crate) fn query() -> Transport {
    Transport::Udp { from: 1000, to: 53 }
}

/// Its answer.
pub(crate) fn reply() -> Transport {
    Transport::Udp { from: 53, to: 1000 }
}
