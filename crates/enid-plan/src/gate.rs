//! The gate compiler: security group rules to the bit vectors of one gate.
//!
//! A rule is a bit. Three tables say which bits a packet has: by its remote address, by the security
//! groups of the remote ENI, and by protocol and port. Prefixes are closed over shorter ones: an
//! entry holds the bits of every rule that contains the whole prefix, so the longest match says all.
//!
//! The entries of a network ACL make a gate likewise, but in their order, and an entry may deny: the lowest
//! bit that a packet has is the first entry that matches.
//!
//! A gate's id is a hash of its owner and its rules. A changed rule set is a new gate, whose entries can
//! be put beside the old ones before a policy is switched over.

use std::collections::{BTreeMap, BTreeSet};

use enid_pipeline::bytes::Addr;
use enid_pipeline::table::{
    ADDR_BITS, Direction, GATE_CLOSED, GATE_OPEN, GateGroupKey, GateRemoteKey, GateRule,
    GateRuleKey, GateServiceKey, PROTOCOL_BITS, RULES_MAX, RuleBits, TABLE_BITS, gate_of_ipv6,
    open_bit, protocol, split_bit, trie_id,
};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use crate::tables::Tables;

/// Who a rule lets in or out to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RulePeer {
    /// Addresses.
    Cidr(IpNet),
    /// The ENIs of a security group.
    Group(u64),
}

/// One rule of one direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleSpec {
    /// Id of the security group rule.
    pub id: u64,
    /// The other side.
    pub peer: RulePeer,
    /// IP protocol number; `None` is all of them.
    pub protocol: Option<u8>,
    /// First port, or ICMP type and code (type × 256 + code).
    pub from: u16,
    /// Last port, likewise.
    pub to: u16,
}

impl RuleSpec {
    /// Whether the peer is everybody: `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_any_peer(&self) -> bool {
        matches!(self.peer, RulePeer::Cidr(cidr) if cidr.prefix_len() == 0)
    }
}

/// A compiled gate.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Gate {
    /// Its id; [`GATE_CLOSED`] if it has no rules.
    pub id: u64,
    /// What of it is open to everybody on all ports, as
    /// [`PolicyRecord::open`](enid_pipeline::table::PolicyRecord::open) has it.
    pub open: u64,
    remotes: BTreeMap<GateRemoteKey, RuleBits>,
    groups: BTreeMap<GateGroupKey, RuleBits>,
    services: BTreeMap<GateServiceKey, RuleBits>,
    rules: BTreeMap<GateRuleKey, GateRule>,
}

impl Gate {
    /// Adds the gate's entries to the tables.
    pub fn insert_into(self, tables: &mut Tables) {
        tables.gate_remotes.extend(self.remotes);
        tables.gate_groups.extend(self.groups);
        tables.gate_services.extend(self.services);
        tables.gate_rules.extend(self.rules);
    }
}

/// Compiles the rules of one direction of a policy.
///
/// The policy is part of the gate's id: no two policies share a gate, so each can remove its own.
///
/// A gate has [`RULES_MAX`] rules. Where those of both families are more, IPv6 packets have a gate of
/// their own beside it, whose entries come along. Limit: rules of one family beyond [`RULES_MAX`] let
/// nothing pass. The control plane allows 1,000 of each family.
#[must_use]
pub fn compile(policy: u64, direction: Direction, rules: &[RuleSpec]) -> Gate {
    let rules: BTreeSet<RuleSpec> = rules.iter().copied().collect();
    let mut rules: Vec<RuleSpec> = rules.into_iter().collect();
    // Rules for everybody come first: the lowest bit decides, and theirs may leave a flow untracked.
    rules.sort_by_key(|rule| (!rule.is_any_peer(), rule.id, *rule));
    if rules.is_empty() {
        return Gate {
            id: GATE_CLOSED,
            ..Gate::default()
        };
    }
    let id = content_id(&[0], policy, direction, &rules);
    if rules.len() <= RULES_MAX {
        return of_rules(id, direction, &rules);
    }
    let family = |is_v4: bool| -> Vec<RuleSpec> {
        let concerns = |rule: &&RuleSpec| match rule.peer {
            RulePeer::Cidr(cidr) => matches!(cidr, IpNet::V4(_)) == is_v4,
            RulePeer::Group(_) => true,
        };
        let rules = rules.iter().filter(concerns);
        rules.copied().take(RULES_MAX).collect()
    };
    let mut gate = of_rules(id, direction, &family(true));
    let ipv6 = of_rules(gate_of_ipv6(id), direction, &family(false));
    gate.open |= ipv6.open | split_bit(direction);
    gate.remotes.extend(ipv6.remotes);
    gate.groups.extend(ipv6.groups);
    gate.services.extend(ipv6.services);
    gate.rules.extend(ipv6.rules);
    gate
}

/// The gate of rules that fit, in their order.
fn of_rules(id: u64, direction: Direction, rules: &[RuleSpec]) -> Gate {
    Gate {
        id,
        open: open(direction, rules),
        remotes: remotes(id, rules),
        groups: groups(id, rules),
        services: services(id, rules),
        rules: rule_entries(id, rules),
    }
}

/// One entry of a network ACL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AclEntry {
    /// Whether it allows what matches.
    pub allows: bool,
    /// The entry as a rule: its number is the id, its peer is always a block of addresses.
    pub rule: RuleSpec,
}

/// Compiles the entries of one direction of a network ACL, given in any order. What no entry matches
/// is denied. An ACL that allows everything of both families is [`GATE_OPEN`], without entries;
/// `has_ipv6` says whether its VPC has IPv6 addresses at all.
#[must_use]
pub fn compile_acl(acl: u64, direction: Direction, entries: &[AclEntry], has_ipv6: bool) -> Gate {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.rule.id);
    entries.truncate(RULES_MAX);
    let is_open = |is_v4: bool| {
        let mut family = entries.iter().filter(
            |entry| matches!(entry.rule.peer, RulePeer::Cidr(cidr) if matches!(cidr, IpNet::V4(_)) == is_v4),
        );
        family.next().is_some_and(|entry| {
            entry.allows && entry.rule.is_any_peer() && entry.rule.protocol.is_none()
        })
    };
    if is_open(true) && (is_open(false) || !has_ipv6) {
        return Gate {
            id: GATE_OPEN,
            ..Gate::default()
        };
    }
    if entries.is_empty() {
        return Gate {
            id: GATE_CLOSED,
            ..Gate::default()
        };
    }
    let rules: Vec<RuleSpec> = entries.iter().map(|entry| entry.rule).collect();
    let kind: Vec<u8> = entries.iter().map(|entry| u8::from(entry.allows)).collect();
    let id = content_id(&[&[1], kind.as_slice()].concat(), acl, direction, &rules);
    let mut gate = Gate {
        id,
        open: 0,
        remotes: remotes(id, &rules),
        groups: BTreeMap::new(),
        services: services(id, &rules),
        rules: rule_entries(id, &rules),
    };
    for (entry, rule) in entries.iter().zip(gate.rules.values_mut()) {
        rule.flags = if entry.allows { 0 } else { GateRule::DENY };
    }
    gate
}

/// The bits of a policy with these gates.
#[must_use]
pub fn open_bits(egress: &Gate, ingress: &Gate) -> u64 {
    egress.open | ingress.open
}

fn content_id(kind: &[u8], owner: u64, direction: Direction, rules: &[RuleSpec]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update(owner.to_be_bytes());
    hash.update([u8::from(direction == Direction::Ingress)]);
    for rule in rules {
        hash.update(rule.id.to_be_bytes());
        match rule.peer {
            RulePeer::Cidr(cidr) => {
                hash.update([1, cidr.prefix_len()]);
                hash.update(Addr::from(cidr.network()).octets());
            }
            RulePeer::Group(group) => {
                hash.update([2, 0]);
                hash.update(group.to_be_bytes());
            }
        }
        hash.update(rule.protocol.map_or([0, 0], |number| [1, number]));
        hash.update(rule.from.to_be_bytes());
        hash.update(rule.to.to_be_bytes());
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hash.finalize());
    // Zero is the closed gate and the largest the open one; two hashes in 2^64 give way to them.
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).clamp(1, GATE_OPEN - 1)
}

fn open(direction: Direction, rules: &[RuleSpec]) -> u64 {
    let mut open = 0;
    for rule in rules.iter().filter(|rule| rule.is_any_peer()) {
        let is_v4 = matches!(rule.peer, RulePeer::Cidr(IpNet::V4(_)));
        for number in [protocol::TCP, protocol::UDP] {
            let is_all_ports = rule.protocol.is_none()
                || rule.protocol == Some(number) && (rule.from, rule.to) == (0, u16::MAX);
            if is_all_ports {
                open |= open_bit(direction, number, is_v4);
            }
        }
    }
    open
}

/// The prefix length among the 128 bits of an address.
pub(crate) fn address_bits(cidr: &IpNet) -> u32 {
    match cidr {
        IpNet::V4(cidr) => 96 + u32::from(cidr.prefix_len()),
        IpNet::V6(cidr) => u32::from(cidr.prefix_len()),
    }
}

/// Whether a block of IPv6 addresses is where tables keep IPv4 ones. No packet has such an address.
pub(crate) fn is_ipv4_mapped(block: &IpNet) -> bool {
    matches!(block, IpNet::V6(block) if block.prefix_len() >= 96
        && block.network().to_ipv4_mapped().is_some())
}

fn remotes(gate: u64, rules: &[RuleSpec]) -> BTreeMap<GateRemoteKey, RuleBits> {
    let mut cidrs: BTreeSet<IpNet> = BTreeSet::new();
    for rule in rules {
        if let RulePeer::Cidr(cidr) = rule.peer
            && !is_ipv4_mapped(&cidr)
        {
            cidrs.insert(cidr.trunc());
        }
    }
    // IPv4 addresses lie inside ::/0 as the trie sees it. Their own root keeps IPv6 rules away from them.
    if cidrs.iter().any(|cidr| matches!(cidr, IpNet::V6(_))) {
        cidrs.insert(IpNet::V4(ipnet::Ipv4Net::default()));
    }
    let entry = |cidr: IpNet| {
        let mut bits = RuleBits::NONE;
        for (bit, rule) in rules.iter().enumerate() {
            // `contains` of different families is false.
            if matches!(rule.peer, RulePeer::Cidr(peer) if peer.trunc().contains(&cidr)) {
                bits.set(bit);
            }
        }
        let key = GateRemoteKey {
            prefix_len: TABLE_BITS + address_bits(&cidr),
            gate: trie_id(gate),
            addr: Addr::from(cidr.network()),
        };
        (key, bits)
    };
    cidrs.into_iter().map(entry).collect()
}

fn groups(gate: u64, rules: &[RuleSpec]) -> BTreeMap<GateGroupKey, RuleBits> {
    let mut groups = BTreeMap::new();
    for (bit, rule) in rules.iter().enumerate() {
        if let RulePeer::Group(group) = rule.peer {
            groups
                .entry(GateGroupKey { gate, group })
                .or_insert(RuleBits::NONE)
                .set(bit);
        }
    }
    groups
}

/// A prefix of protocol and port: `bits` of the 24 count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ServicePrefix {
    protocol: Option<u8>,
    port: u16,
    port_bits: u32,
}

impl ServicePrefix {
    fn last_port(self) -> u16 {
        if self.port_bits == 16 {
            self.port
        } else {
            self.port | (u16::MAX >> self.port_bits)
        }
    }

    fn is_within(self, rule: &RuleSpec) -> bool {
        match rule.protocol {
            None => true,
            Some(number) => {
                self.protocol == Some(number)
                    && rule.from <= self.port
                    && self.last_port() <= rule.to
            }
        }
    }

    fn key(self, gate: u64) -> GateServiceKey {
        let prefix_len = match self.protocol {
            None => TABLE_BITS,
            Some(_) => PROTOCOL_BITS + self.port_bits,
        };
        GateServiceKey {
            prefix_len,
            gate: trie_id(gate),
            protocol: self.protocol.unwrap_or(0),
            port: self.port.to_be_bytes(),
            pad: 0,
        }
    }
}

fn services(gate: u64, rules: &[RuleSpec]) -> BTreeMap<GateServiceKey, RuleBits> {
    let mut prefixes = BTreeSet::new();
    for rule in rules {
        match rule.protocol {
            None => {
                prefixes.insert(ServicePrefix {
                    protocol: None,
                    port: 0,
                    port_bits: 0,
                });
            }
            Some(number) => {
                for (port, port_bits) in port_prefixes(rule.from, rule.to) {
                    prefixes.insert(ServicePrefix {
                        protocol: Some(number),
                        port,
                        port_bits,
                    });
                }
            }
        }
    }
    let entry = |prefix: ServicePrefix| {
        let mut bits = RuleBits::NONE;
        for (bit, rule) in rules.iter().enumerate() {
            if prefix.is_within(rule) {
                bits.set(bit);
            }
        }
        (prefix.key(gate), bits)
    };
    prefixes.into_iter().map(entry).collect()
}

/// The fewest prefixes (first port, bits that count) that cover a range.
fn port_prefixes(from: u16, to: u16) -> Vec<(u16, u32)> {
    let mut prefixes = Vec::new();
    let (mut next, end) = (u32::from(from), u32::from(to) + 1);
    while next < end {
        // The largest block that starts here and does not pass the end.
        let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
        let fitting = (end - next).ilog2();
        let free = aligned.min(fitting).min(16);
        let port = u16::try_from(next).unwrap_or(u16::MAX);
        prefixes.push((port, 16 - free));
        next += 1 << free;
    }
    prefixes
}

fn rule_entries(gate: u64, rules: &[RuleSpec]) -> BTreeMap<GateRuleKey, GateRule> {
    let entries = (0..).zip(rules).map(|(bit, rule)| {
        let flags = if rule.is_any_peer() {
            GateRule::ANY_PEER
        } else {
            0
        };
        (
            GateRuleKey { gate, bit, pad: 0 },
            GateRule {
                rule: rule.id,
                flags,
            },
        )
    });
    entries.collect()
}

const _: () = assert!(ADDR_BITS == TABLE_BITS + 128);

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(id: u64, cidr: &str, protocol: Option<u8>, from: u16, to: u16) -> RuleSpec {
        let peer = RulePeer::Cidr(cidr.parse().expect("a CIDR"));
        RuleSpec {
            id,
            peer,
            protocol,
            from,
            to,
        }
    }

    fn bits_of(bits: &RuleBits) -> Vec<usize> {
        (0..RULES_MAX)
            .filter(|bit| bits.0[bit / 64] & 1 << (bit % 64) != 0)
            .collect()
    }

    fn remote(gate: &Gate, network: &str) -> Option<Vec<usize>> {
        let net: IpNet = network.parse().expect("a CIDR");
        let key = GateRemoteKey {
            prefix_len: TABLE_BITS + address_bits(&net),
            gate: trie_id(gate.id),
            addr: Addr::from(net.network()),
        };
        gate.remotes.get(&key).map(bits_of)
    }

    fn egress(rules: &[RuleSpec]) -> Gate {
        compile(7, Direction::Egress, rules)
    }

    #[test]
    fn no_rules_are_the_closed_gate() {
        let gate = egress(&[]);
        assert_eq!(gate.id, GATE_CLOSED);
        assert!(gate.rules.is_empty() && gate.services.is_empty());
    }

    #[test]
    fn a_longer_prefix_holds_the_rules_of_the_shorter() {
        let gate = egress(&[
            cidr(5, "10.1.2.0/24", None, 0, 65535),
            cidr(4, "10.0.0.0/8", None, 0, 65535),
            cidr(9, "0.0.0.0/0", None, 0, 65535),
        ]);
        // Everybody's rule is bit 0, then by id: 4, 5.
        assert_eq!(remote(&gate, "0.0.0.0/0"), Some(vec![0]));
        assert_eq!(remote(&gate, "10.0.0.0/8"), Some(vec![0, 1]));
        assert_eq!(remote(&gate, "10.1.2.0/24"), Some(vec![0, 1, 2]));
    }

    #[test]
    fn an_ipv6_rule_for_everybody_has_no_ipv4_address() {
        let gate = egress(&[cidr(1, "::/0", None, 0, 65535)]);
        assert_eq!(remote(&gate, "::/0"), Some(vec![0]));
        assert_eq!(remote(&gate, "0.0.0.0/0"), Some(vec![]));
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        assert_eq!(port_prefixes(0, 65535), [(0, 0)]);
        assert_eq!(port_prefixes(80, 80), [(80, 16)]);
        assert_eq!(port_prefixes(1, 4), [(1, 16), (2, 15), (4, 16)]);
        assert_eq!(port_prefixes(65535, 65535), [(65535, 16)]);
        for (from, to) in [(1, 65535), (0, 65534), (1024, 2047), (1000, 40_000)] {
            let prefixes = port_prefixes(from, to);
            let ports: u32 = prefixes.iter().map(|(_, bits)| 1 << (16 - bits)).sum();
            assert_eq!(ports, u32::from(to) - u32::from(from) + 1);
            assert!(prefixes.len() <= 30);
        }
    }

    #[test]
    fn a_port_holds_the_rules_of_its_protocol_and_of_all() {
        let gate = egress(&[
            cidr(1, "10.0.0.0/8", None, 0, 65535),
            cidr(2, "10.0.0.0/8", Some(6), 0, 65535),
            cidr(3, "10.0.0.0/8", Some(6), 443, 443),
            cidr(4, "10.0.0.0/8", Some(17), 443, 443),
        ]);
        let of = |protocol, port, port_bits| {
            let prefix = ServicePrefix {
                protocol,
                port,
                port_bits,
            };
            gate.services.get(&prefix.key(gate.id)).map(bits_of)
        };
        assert_eq!(of(None, 0, 0), Some(vec![0]));
        assert_eq!(of(Some(6), 0, 0), Some(vec![0, 1]));
        assert_eq!(of(Some(6), 443, 16), Some(vec![0, 1, 2]));
        assert_eq!(of(Some(17), 443, 16), Some(vec![0, 3]));
        assert_eq!(of(Some(17), 0, 0), None);
    }

    #[test]
    fn what_is_open_to_everybody_is_said_by_protocol_and_family() {
        let all = egress(&[cidr(1, "0.0.0.0/0", None, 0, 65535)]);
        assert_eq!(all.open.count_ones(), 2);
        assert_ne!(
            all.open & open_bit(Direction::Egress, protocol::TCP, true),
            0
        );
        assert_eq!(
            all.open & open_bit(Direction::Egress, protocol::TCP, false),
            0
        );
        let some = egress(&[cidr(1, "0.0.0.0/0", Some(6), 1, 65535)]);
        assert_eq!(some.open, 0);
        let near = egress(&[cidr(1, "10.0.0.0/8", None, 0, 65535)]);
        assert_eq!(near.open, 0);
    }

    #[test]
    fn the_id_follows_the_content_and_the_owner() {
        let rule = cidr(1, "10.0.0.0/8", Some(6), 80, 80);
        let id = egress(&[rule]).id;
        assert_eq!(id, egress(&[rule, rule]).id);
        assert_ne!(id, egress(&[RuleSpec { to: 81, ..rule }]).id);
        assert_ne!(id, compile(8, Direction::Egress, &[rule]).id);
        assert_ne!(id, compile(7, Direction::Ingress, &[rule]).id);
    }

    #[test]
    fn the_entries_of_an_acl_keep_their_order() {
        let entry = |allows, number, network| AclEntry {
            allows,
            rule: cidr(number, network, None, 0, 65535),
        };
        let acl =
            |entries: &[AclEntry], has_ipv6| compile_acl(3, Direction::Ingress, entries, has_ipv6);
        let allow = entry(true, 100, "0.0.0.0/0");
        let deny = entry(false, 90, "10.1.0.0/16");
        let gate = acl(&[allow, deny], false);
        assert_eq!(remote(&gate, "10.1.0.0/16"), Some(vec![0, 1]));
        assert_eq!(remote(&gate, "0.0.0.0/0"), Some(vec![1]));
        let flags: Vec<u64> = gate.rules.values().map(|rule| rule.flags).collect();
        assert_eq!(flags, [GateRule::DENY, 0]);
        // The same entries that deny and allow the other way round are another gate.
        let other = acl(
            &[
                entry(false, 100, "0.0.0.0/0"),
                entry(true, 90, "10.1.0.0/16"),
            ],
            false,
        );
        assert_ne!(gate.id, other.id);

        assert_eq!(acl(&[], false).id, GATE_CLOSED);
        // Everything is allowed before anything is denied.
        let late = entry(false, 200, "10.1.0.0/16");
        assert_eq!(acl(&[late, allow], false).id, GATE_OPEN);
        assert_ne!(acl(&[late, allow], true).id, GATE_OPEN);
        assert_eq!(acl(&[allow, entry(true, 101, "::/0")], true).id, GATE_OPEN);
    }

    #[test]
    fn a_gate_holds_no_more_rules_than_it_has_bits() {
        let rules: Vec<RuleSpec> = (0..2000)
            .map(|id| cidr(id, "10.0.0.0/8", Some(6), 80, 80))
            .collect();
        assert_eq!(egress(&rules).rules.len(), RULES_MAX);
    }

    #[test]
    fn each_family_has_a_gate_where_one_does_not_hold_both() {
        let v4 = |id| cidr(id, "10.0.0.0/8", Some(6), 80, 80);
        let v6 = |id| cidr(id, "fd00::/8", Some(6), 80, 80);
        let group = RuleSpec {
            id: 5000,
            peer: RulePeer::Group(7),
            protocol: None,
            from: 0,
            to: 65535,
        };
        let both = |count: u64| -> Vec<RuleSpec> {
            let rules = (0..count).flat_map(|id| [v4(id), v6(2000 + id)]);
            rules
                .chain([cidr(4000, "::/0", None, 0, 65535), group])
                .collect()
        };
        let one = egress(&both(500));
        assert_eq!(one.open & split_bit(Direction::Egress), 0);
        assert_eq!(one.rules.len(), 1002);

        let gate = egress(&both(999));
        assert_ne!(gate.open & split_bit(Direction::Egress), 0);
        assert_eq!(gate.open & split_bit(Direction::Ingress), 0);
        assert_ne!(
            gate.open & open_bit(Direction::Egress, protocol::TCP, false),
            0
        );
        let ipv6 = gate_of_ipv6(gate.id);
        let ids = |gate_id: u64| -> BTreeSet<u64> {
            let rules = gate.rules.iter().filter(|(key, _)| key.gate == gate_id);
            rules.map(|(_, rule)| rule.rule).collect()
        };
        // Not one rule of either family is left out, and none is in the other's gate.
        assert_eq!(ids(gate.id), (0..999).chain([5000]).collect());
        assert_eq!(ids(ipv6), (2000..2999).chain([4000, 5000]).collect());
        for id in [gate.id, ipv6] {
            let key = GateGroupKey { gate: id, group: 7 };
            assert!(gate.groups.contains_key(&key));
        }
        assert_eq!(remote(&gate, "fd00::/8"), None);
        assert_eq!(
            remote(&gate, "10.0.0.0/8").map(|bits| bits.len()),
            Some(999)
        );
        let halves = gate.rules.len();
        assert_eq!(halves, 1000 + 1001);
        // The rules of one family alone do not make room for more of it.
        let many: Vec<RuleSpec> = (0..1500).map(v4).collect();
        assert_eq!(egress(&many).rules.len(), RULES_MAX);
    }
}
