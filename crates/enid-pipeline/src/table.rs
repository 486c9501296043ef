//! Keys and values of the tables that the plan fills and the pipeline reads.
//!
//! Every type is `#[repr(C)]` without padding: its bytes are what the kernel's maps hold. A change
//! of any size here changes [`LAYOUT`], and with it the directory in which the maps are pinned.
//!
//! - `devices`: ifindex → ENI. `enis`, `subnets`, `policies`, `nats`: id → record.
//! - `endpoints`: (VPC, address) → ENI, for every private address of every attached ENI, and of the
//!   interfaces of NAT gateways, which have no device. `prefixes`: the same for delegated prefixes.
//! - `routes`: longest prefix per route table.
//! - `publics`: public IPv4 address → the private one that it stands for, in VPCs with an internet
//!   gateway. `public_of`: the way back. `pools`: what belongs to this installation and never goes out;
//!   IPv6 addresses, which have no translation, find their VPC here.
//! - `services`: VPC → the device that leads to its link-local services. `service_devices`: the way back.
//!   `macs`: (VPC, MAC address) → ENI, for answers to who has no address yet.
//! - `allowances`: instance → what it may use, if that is enforced.
//! - `mirrors`: ENI → its mirror sessions, with their `mirror_filters`. `captures`: ENI → how much of each
//!   packet somebody captures there.
//! - `listeners`, `balancer_*`: where flows to the nodes of load balancers go, see
//!   [`balancer`](crate::balancer).
//! - `gate_*`: compiled rule sets. A *gate* is one direction of a policy; its id is a hash of its
//!   content, so a gate never changes, it is replaced. Each rule of a gate is a bit.

use core::mem::{offset_of, size_of};

use crate::bytes::{Addr, Mac};

/// The most rules that one gate can hold; AWS's product of rules and groups per ENI is 1,000.
pub const RULES_MAX: usize = 1024;
/// The most security groups of one ENI.
pub const GROUPS_MAX: usize = 16;
/// The gate that no rule belongs to: nothing passes it.
pub const GATE_CLOSED: u64 = 0;
/// The gate of a network ACL that allows everything in this direction: nobody asks it.
pub const GATE_OPEN: u64 = u64::MAX;
/// What stands for "the outside" where a flow names an ENI.
pub const OUTSIDE: u64 = u64::MAX;
/// The virtual router's link-local address, the same in every subnet: `fe80:ec2::1`.
pub const ROUTER_LINK_LOCAL: Addr =
    Addr::v6([0xfe, 0x80, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Set in the number of a device that is a tap. A device's number is its index, and this: whoever hands
/// a packet over sees from the number alone whether the guest is behind a peer or behind the device
/// itself. The kernel counts indexes from 1 and keeps them positive, so the bit is free.
pub const TAP: u32 = 1 << 31;

/// A network interface.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EniRecord {
    /// The VPC that the addresses live in.
    pub vpc: u64,
    /// The subnet.
    pub subnet: u64,
    /// The compiled set of its security groups; of the interface of a NAT gateway, the gateway.
    pub policy: u64,
    /// The instance that it is attached to; 0 if that is none.
    pub instance: u64,
    /// The ids of its security groups, the first `group_count` of them.
    pub groups: [u64; GROUPS_MAX],
    /// Index of its host-side device; 0 when it has none on this host.
    pub ifindex: u32,
    /// Idle timeout of established TCP flows.
    pub tcp_established_s: u32,
    /// Idle timeout of UDP flows of one direction or one exchange.
    pub udp_s: u32,
    /// Idle timeout of UDP flows of more than one exchange.
    pub udp_stream_s: u32,
    /// The MAC address of the instance's end.
    pub mac: Mac,
    /// [`EniRecord::SOURCE_DEST_CHECK`], [`EniRecord::NAT_GATEWAY`], [`EniRecord::PUBLIC`],
    /// [`EniRecord::BALANCER`], [`EniRecord::MIRRORED`], [`EniRecord::CAPTURED`], [`EniRecord::FAULTY`],
    /// [`EniRecord::METERED`].
    pub flags: u8,
    /// How many of `groups` count.
    pub group_count: u8,
}

impl EniRecord {
    /// Packets that leave must carry an address of the ENI, and so must those that a route hands to it.
    pub const SOURCE_DEST_CHECK: u8 = 1;
    /// The interface of a NAT gateway: it has addresses, and neither a device nor security groups.
    pub const NAT_GATEWAY: u8 = 2;
    /// A public IPv4 address stands for one of its private ones: an internet gateway's own route table can
    /// lead to it.
    pub const PUBLIC: u8 = 4;
    /// The interface of a load balancer's node: new flows to it go to targets.
    pub const BALANCER: u8 = 8;
    /// It has mirror sessions.
    pub const MIRRORED: u8 = 16;
    /// Somebody captures at it.
    pub const CAPTURED: u8 = 32;
    /// Copies of its packets are wanted.
    pub const WATCHED: u8 = Self::MIRRORED | Self::CAPTURED;
    /// An injected fault stops all its traffic.
    pub const FAULTY: u8 = 64;
    /// Its instance has an entry in `allowances`.
    pub const METERED: u8 = 128;
}

/// Key of `endpoints`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointKey {
    /// The VPC.
    pub vpc: u64,
    /// A private address in it.
    pub addr: Addr,
}

/// Value of `endpoints`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The ENI that has the address.
    pub eni: u64,
}

/// Key of `prefixes`: a longest-prefix trie whose keys start with the VPC.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PrefixKey {
    /// Bits of `vpc` and `addr` that count: [`TABLE_BITS`] and the prefix length.
    pub prefix_len: u32,
    /// The VPC's id, as [`trie_id`] writes it.
    pub vpc: [u32; 2],
    /// The delegated prefix.
    pub addr: Addr,
}

/// A subnet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubnetRecord {
    /// The VPC.
    pub vpc: u64,
    /// The virtual router's address: base + 1.
    pub router: Addr,
    /// The network address.
    pub cidr: Addr,
    /// The virtual router's IPv6 address: base + 1; `::` in a subnet without IPv6. It answers at
    /// [`ROUTER_LINK_LOCAL`] as well.
    pub router_v6: Addr,
    /// The route table that the subnet uses.
    pub route_table: u64,
    /// The network ACL that the subnet uses.
    pub acl: u64,
    /// The gate of its rules for what leaves the subnet; [`GATE_OPEN`] if that is everything.
    pub acl_egress: u64,
    /// The gate of its rules for what enters the subnet, likewise.
    pub acl_ingress: u64,
    /// The prefix length of `cidr`, counted in 128 bits.
    pub cidr_len: u32,
    /// The virtual router's MAC.
    pub router_mac: Mac,
    /// Always zero.
    pub pad: [u8; 6],
}

impl SubnetRecord {
    /// Whether an address is the virtual router's.
    #[inline(always)]
    pub fn is_router(&self, addr: &Addr) -> bool {
        *addr == self.router
            || self.router_v6 != Addr::UNSPECIFIED
                && (*addr == self.router_v6 || *addr == ROUTER_LINK_LOCAL)
    }
}

/// Key of `routes`: a longest-prefix trie whose keys start with the route table.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteKey {
    /// Bits of `table` and `addr` that count: [`TABLE_BITS`] and the prefix length.
    pub prefix_len: u32,
    /// The route table's id, as [`trie_id`] writes it.
    pub table: [u32; 2],
    /// The destination.
    pub addr: Addr,
}

/// A route's target.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Id of the target, by kind; 0 for [`Route::LOCAL`] and [`Route::BLACKHOLE`].
    pub target: u64,
    /// What kind of target.
    pub kind: u32,
    /// The prefix length of the destination, counted in 128 bits: says which route decided.
    pub prefix_len: u32,
}

impl Route {
    /// Kind and prefix length as one word: see [`Flow::route`](crate::flow::Flow::route).
    #[inline(always)]
    pub const fn word(&self) -> u64 {
        self.kind as u64 | (self.prefix_len as u64) << 32
    }

    /// No route: keeps an IPv6 route from holding for IPv4, whose addresses lie within `::/0`.
    pub const NONE: u32 = 0;
    /// Delivered inside the VPC.
    pub const LOCAL: u32 = 1;
    /// The target is gone: dropped.
    pub const BLACKHOLE: u32 = 2;
    /// Handed to the ENI `target`, whoever has the destination.
    pub const ENI: u32 = 3;
    /// To the outside through the VPC's internet gateway `target`.
    pub const INTERNET_GATEWAY: u32 = 4;
    /// Through the NAT gateway `target`, a key of `nats`.
    pub const NAT_GATEWAY: u32 = 5;
    /// To the VPC `target` (the peer's id, not the connection's).
    pub const PEERING: u32 = 6;
    /// To the outside through an egress-only internet gateway; IPv6 only.
    pub const EGRESS_ONLY: u32 = 7;
}

/// A NAT gateway.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatRecord {
    /// Its VPC.
    pub vpc: u64,
    /// Its subnet.
    pub subnet: u64,
    /// Its interface, a key of `enis`.
    pub eni: u64,
    /// [`NatRecord::PUBLIC`], [`NatRecord::EXHAUSTED`].
    pub flags: u32,
    /// How many of the addresses count.
    pub count: u32,
    /// Its private addresses.
    pub private: [[u8; 4]; NAT_ADDRESSES_MAX],
    /// The public address of each; zeros if the gateway is private.
    pub public: [[u8; 4]; NAT_ADDRESSES_MAX],
    /// Bit by bit which addresses are on their way out: they keep the connections that they have, and get no
    /// new ones. Never the first.
    pub draining: u64,
}

impl NatRecord {
    /// It has public addresses, and what leaves through an internet gateway carries one of them.
    pub const PUBLIC: u32 = 1;
    /// An injected fault: it has no port for a new connection.
    pub const EXHAUSTED: u32 = 2;
}

/// The most addresses of one NAT gateway.
pub const NAT_ADDRESSES_MAX: usize = 8;

/// Value of `publics`: whom a public IPv4 address stands for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicRecord {
    /// The VPC, which has an internet gateway.
    pub vpc: u64,
    /// The ENI; of a NAT gateway its interface.
    pub eni: u64,
    /// The private address.
    pub private: Addr,
    /// The internet gateway's own route table; 0 if it has none.
    pub edge: u64,
}

/// Value of `public_of`: the public IPv4 address of a private one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicOf {
    /// The public address.
    pub addr: Addr,
}

/// Key of `pools`: a longest-prefix trie of addresses.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PoolKey {
    /// Bits of `addr` that count, of 128.
    pub prefix_len: u32,
    /// The network.
    pub addr: Addr,
}

/// Value of `pools`: public addresses of this installation. A packet to one of them that nobody has is
/// dropped and never sent out, and none comes from outside with one of them as its source.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Pool {
    /// The VPC that has the block (IPv6); 0 for pools of public IPv4 addresses.
    pub vpc: u64,
    /// [`Pool::INTERNET_GATEWAY`], [`Pool::HOST`].
    pub flags: u64,
    /// The internet gateway's own route table; 0 if it has none.
    pub edge: u64,
}

impl Pool {
    /// The VPC has an internet gateway: its IPv6 addresses are reached from outside.
    pub const INTERNET_GATEWAY: u64 = 1;
    /// The outside's own address within the pool, a prefix of full length: it is sent to, and sends.
    pub const HOST: u64 = 2;
}

/// Value of `services`: the link-local services of a VPC.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServiceRecord {
    /// The resolver's address in the VPC's first block: base + 2.
    pub resolver: Addr,
    /// Index of the host-side device that leads to them.
    pub ifindex: u32,
    /// Always zero.
    pub pad: u32,
}

/// Key of `macs`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacKey {
    /// The VPC.
    pub vpc: u64,
    /// The MAC address of an ENI in it.
    pub mac: Mac,
    /// Always zero.
    pub pad: [u8; 2],
}

/// The two gates of a set of security groups.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyRecord {
    /// What may leave.
    pub egress_gate: u64,
    /// What may enter.
    pub ingress_gate: u64,
    /// Which directions are open to everybody on all ports, see [`open_bit`], and which have a gate for
    /// each family, see [`split_bit`].
    pub open: u64,
}

/// From the ENI's point of view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// Leaving the ENI.
    Egress,
    /// Entering the ENI.
    Ingress,
}

impl Direction {
    /// The other one.
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }
}

/// The bit of [`PolicyRecord::open`] that says "this direction has a rule for all ports of the
/// protocol to `0.0.0.0/0` (`::/0`)". Zero for protocols that are always tracked.
#[inline(always)]
pub const fn open_bit(direction: Direction, protocol: u8, is_v4: bool) -> u64 {
    let protocol = match protocol {
        protocol::TCP => 0,
        protocol::UDP => 1,
        _ => return 0,
    };
    let family = if is_v4 { 0 } else { 2 };
    let direction = match direction {
        Direction::Egress => 0,
        Direction::Ingress => 4,
    };
    1 << (protocol | family | direction)
}

/// The bit of [`PolicyRecord::open`] that says "the rules of this direction are more than one gate has
/// room for, and those for IPv6 packets are in a gate of their own", see [`gate_of_ipv6`].
#[inline(always)]
pub const fn split_bit(direction: Direction) -> u64 {
    match direction {
        Direction::Egress => 1 << 8,
        Direction::Ingress => 1 << 9,
    }
}

/// The gate for IPv6 packets beside the one that a policy names, and the other way around. Neither the
/// closed gate nor the open one is the other half of a gate that has rules.
#[inline(always)]
pub const fn gate_of_ipv6(gate: u64) -> u64 {
    !gate
}

/// One bit per rule of a gate.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RuleBits(pub [u64; RULES_MAX / 64]);

impl RuleBits {
    /// No rule.
    pub const NONE: Self = Self([0; RULES_MAX / 64]);

    /// Sets the bit of a rule. Bits beyond [`RULES_MAX`] do not exist.
    pub fn set(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Removes every rule.
    #[inline(always)]
    pub fn clear(&mut self) {
        for word in &mut self.0 {
            *word = 0;
        }
    }

    /// Adds another set of rules.
    #[inline(always)]
    pub fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0.iter()) {
            *word |= *more;
        }
    }
}

/// Key of `gate_remotes`: which CIDR rules match a remote address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GateRemoteKey {
    /// Bits of `gate` and `addr` that count.
    pub prefix_len: u32,
    /// The gate's id, as [`trie_id`] writes it.
    pub gate: [u32; 2],
    /// The remote address.
    pub addr: Addr,
}

/// Key of `gate_groups`: which rules match a remote because of its security group.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GateGroupKey {
    /// The gate.
    pub gate: u64,
    /// The remote's security group.
    pub group: u64,
}

/// Key of `gate_services`: which rules match a protocol and port (ICMP: type and code).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GateServiceKey {
    /// Bits of the rest that count: 64 for any protocol, 72 for a protocol, up to 88 for a port.
    pub prefix_len: u32,
    /// The gate's id, as [`trie_id`] writes it.
    pub gate: [u32; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port, or ICMP type and code, in network byte order.
    pub port: [u8; 2],
    /// Always zero, and never part of the prefix.
    pub pad: u8,
}

/// Bits of a trie key that hold the table's or gate's id.
pub const TABLE_BITS: u32 = 64;
/// Prefix length of a service key that names the protocol.
pub const PROTOCOL_BITS: u32 = 72;
/// Prefix length of a full service key.
pub const SERVICE_BITS: u32 = 88;
/// Prefix length of a key with a table or gate and a whole address.
pub const ADDR_BITS: u32 = TABLE_BITS + 128;

/// An id as it lies in a trie key.
#[inline(always)]
pub const fn trie_id(id: u64) -> [u32; 2] {
    let b = id.to_be_bytes();
    [
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    ]
}

/// The id that [`trie_id`] wrote.
#[inline(always)]
pub const fn trie_id_value(words: [u32; 2]) -> u64 {
    let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    u64::from_be_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

/// Key of `gate_rules`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GateRuleKey {
    /// The gate.
    pub gate: u64,
    /// The rule's bit.
    pub bit: u32,
    /// Always zero.
    pub pad: u32,
}

/// What a rule's bit stands for.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct GateRule {
    /// Id of the security group rule; number of the network ACL's entry.
    pub rule: u64,
    /// [`GateRule::ANY_PEER`], [`GateRule::DENY`].
    pub flags: u64,
}

impl GateRule {
    /// The rule's peer is `0.0.0.0/0` or `::/0`.
    pub const ANY_PEER: u64 = 1;
    /// What matches is denied; only in gates of network ACLs.
    pub const DENY: u64 = 2;
}

/// The one entry of `config`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Config {
    /// Stamp of the tables: raised after every change. Never zero once the tables are filled.
    pub generation: u64,
    /// The way to the outside.
    pub outside: Outside,
    /// Entries that the flow table can hold, as the agent chose; 0 if nobody has said.
    pub flow_entries_max: u64,
    /// Index of the device that copies are sent out of; 0 if there is none, and none are made.
    pub copies: u32,
    /// Always zero.
    pub pad: u32,
}

/// The device through which packets go to the outside and come from there.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Outside {
    /// Its index; 0 if there is none. Packets are sent out of it, and [`outside`](crate::outside) judges
    /// those that come in there.
    pub ifindex: u32,
    /// Destination MAC of frames that are sent out of it: the one of who is behind it.
    pub far_mac: Mac,
    /// Its own MAC.
    pub near_mac: Mac,
}

/// IP protocol numbers that the pipeline knows.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP_V6: u8 = 58;
}

/// Entries that each table can hold.
pub mod limit {
    /// Host-side devices.
    pub const DEVICES: u32 = 16_384;
    /// Network interfaces.
    pub const ENIS: u32 = 65_536;
    /// Private addresses.
    pub const ENDPOINTS: u32 = 262_144;
    /// Delegated prefixes.
    pub const PREFIXES: u32 = 65_536;
    /// Subnets.
    pub const SUBNETS: u32 = 16_384;
    /// Routes of all route tables.
    pub const ROUTES: u32 = 262_144;
    /// NAT gateways.
    pub const NATS: u32 = 16_384;
    /// Public IPv4 addresses.
    pub const PUBLICS: u32 = 131_072;
    /// Pools of public addresses, and IPv6 blocks of VPCs.
    pub const POOLS: u32 = 16_384;
    /// VPCs that have link-local services on this host.
    pub const SERVICES: u32 = 16_384;
    /// Sets of security groups.
    pub const POLICIES: u32 = 65_536;
    /// Remote prefixes of all gates.
    pub const GATE_REMOTES: u32 = 1_048_576;
    /// Security groups of all gates.
    pub const GATE_GROUPS: u32 = 262_144;
    /// Protocol and port prefixes of all gates.
    pub const GATE_SERVICES: u32 = 1_048_576;
    /// Rules of all gates.
    pub const GATE_RULES: u32 = 524_288;
    /// Flow entries, unless the agent asks for another number.
    pub const FLOWS: u32 = 262_144;
    /// Dropped flows that are remembered.
    pub const DROPS: u32 = 16_384;
    /// Counts of packets without a flow's entry, by 5-tuple and reason.
    pub const STRAYS: u32 = 65_536;
    /// Fragmented packets that are remembered.
    pub const FRAGMENTS: u32 = 8_192;
    /// Pairs of an address of a NAT gateway and a destination, as many as there may be connections.
    pub const NAT_PORTS: u32 = 1_048_576;
    /// Instances, their allowances, and what they use.
    pub const INSTANCES: u32 = 65_536;
    /// Flows of instances with allowances whose rate is known.
    pub const FLOW_BUCKETS: u32 = 16_384;
    /// Counters of ENIs.
    pub const ENI_COUNTERS: u32 = 262_144;
    /// ENIs with mirror sessions, and filters of these.
    pub const MIRRORS: u32 = 16_384;
    /// ENIs that somebody captures at.
    pub const CAPTURES: u32 = 1_024;
    /// Listeners of all nodes of load balancers.
    pub const LISTENERS: u32 = 16_384;
    /// Chunks of all Maglev tables.
    pub const BALANCER_SLOTS: u32 = 131_072;
    /// Targets of all Maglev tables.
    pub const BALANCER_TARGETS: u32 = 262_144;
    /// Targets of all target groups.
    pub const BALANCER_MEMBERS: u32 = 262_144;
}

/// Sizes of all keys and values, and the limits: part of the path of a pin. The number of flows is not,
/// it is the agent's choice.
pub const LAYOUT: [usize; 77] = [
    size_of::<EniRecord>(),
    size_of::<EndpointKey>(),
    size_of::<Endpoint>(),
    size_of::<PrefixKey>(),
    size_of::<SubnetRecord>(),
    size_of::<RouteKey>(),
    size_of::<Route>(),
    size_of::<NatRecord>(),
    size_of::<PublicRecord>(),
    size_of::<PublicOf>(),
    size_of::<PoolKey>(),
    size_of::<Pool>(),
    size_of::<ServiceRecord>(),
    size_of::<MacKey>(),
    size_of::<PolicyRecord>(),
    size_of::<RuleBits>(),
    size_of::<GateRemoteKey>(),
    size_of::<GateGroupKey>(),
    size_of::<GateServiceKey>(),
    size_of::<GateRuleKey>(),
    size_of::<GateRule>(),
    size_of::<Config>(),
    size_of::<crate::flow::FlowKey>(),
    size_of::<crate::flow::FlowRecord>(),
    size_of::<crate::drops::DropRecord>(),
    size_of::<crate::fragments::FragmentKey>(),
    size_of::<crate::fragments::FragmentRecord>(),
    crate::reason::REASON_COUNTERS as usize,
    offset_of!(EniRecord, mac),
    limit::DEVICES as usize,
    limit::ENIS as usize,
    limit::ENDPOINTS as usize,
    limit::PREFIXES as usize,
    limit::SUBNETS as usize,
    limit::ROUTES as usize,
    limit::NATS as usize,
    limit::PUBLICS as usize,
    limit::POOLS as usize,
    limit::SERVICES as usize,
    limit::POLICIES as usize,
    limit::GATE_REMOTES as usize,
    limit::GATE_GROUPS as usize,
    limit::GATE_SERVICES as usize,
    limit::GATE_RULES as usize,
    limit::DROPS as usize,
    limit::FRAGMENTS as usize,
    size_of::<crate::nat_counts::NatPortsKey>(),
    size_of::<crate::nat_counts::NatPortsRecord>(),
    size_of::<crate::nat_counts::NatCountsRecord>(),
    limit::NAT_PORTS as usize,
    size_of::<crate::allowance::Allowance>(),
    size_of::<crate::room::UseRecord>(),
    size_of::<crate::counter::CounterKey>(),
    limit::INSTANCES as usize,
    limit::ENI_COUNTERS as usize,
    limit::FLOW_BUCKETS as usize,
    size_of::<crate::mirror::MirrorRecord>(),
    size_of::<crate::mirror::MirrorFilter>(),
    size_of::<crate::capture::Capture>(),
    size_of::<crate::capture::Seen>(),
    limit::MIRRORS as usize,
    limit::CAPTURES as usize,
    size_of::<crate::strays::StrayKey>(),
    size_of::<crate::strays::StrayRecord>(),
    limit::STRAYS as usize,
    size_of::<crate::balancer::ListenerKey>(),
    size_of::<crate::balancer::ListenerRecord>(),
    size_of::<crate::balancer::Slots>(),
    size_of::<crate::balancer::TargetKey>(),
    size_of::<crate::balancer::TargetRecord>(),
    size_of::<crate::balancer::MemberKey>(),
    crate::balancer::SLOTS as usize,
    limit::LISTENERS as usize,
    limit::BALANCER_SLOTS as usize,
    limit::BALANCER_TARGETS as usize,
    limit::BALANCER_MEMBERS as usize,
    // Raised by hand when fields change their meaning, or maps their flags, and no size tells.
    4,
];

const _: () = {
    assert!(size_of::<EniRecord>() == 184);
    assert!(offset_of!(EniRecord, mac) == 176);
    assert!(size_of::<EndpointKey>() == 24);
    assert!(size_of::<PrefixKey>() == 28);
    assert!(size_of::<SubnetRecord>() == 104);
    assert!(size_of::<NatRecord>() == 104);
    assert!(size_of::<PublicRecord>() == 40);
    assert!(size_of::<PoolKey>() == 20);
    assert!(size_of::<Pool>() == 24);
    assert!(size_of::<ServiceRecord>() == 24);
    assert!(size_of::<MacKey>() == 16);
    assert!(size_of::<Config>() == 40);
    assert!(size_of::<RouteKey>() == 28);
    assert!(size_of::<Route>() == 16);
    assert!(size_of::<PolicyRecord>() == 24);
    assert!(size_of::<RuleBits>() == 128);
    assert!(size_of::<GateRemoteKey>() == 28);
    assert!(size_of::<GateGroupKey>() == 16);
    assert!(size_of::<GateServiceKey>() == 16);
    assert!(size_of::<GateRuleKey>() == 16);
    assert!(size_of::<GateRule>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_open_bit_is_its_own() {
        let mut seen = 0;
        for direction in [Direction::Egress, Direction::Ingress] {
            for number in [protocol::TCP, protocol::UDP] {
                for is_v4 in [true, false] {
                    let bit = open_bit(direction, number, is_v4);
                    assert_eq!(bit.count_ones(), 1);
                    assert_eq!(seen & bit, 0);
                    seen |= bit;
                }
            }
        }
        assert_eq!(open_bit(Direction::Egress, protocol::ICMP, true), 0);
    }

    #[test]
    fn a_trie_id_comes_back() {
        let id = 0x0123_4567_89ab_cdef;
        assert_eq!(trie_id_value(trie_id(id)), id);
        assert_eq!(trie_id(id)[0].to_ne_bytes(), [0x01, 0x23, 0x45, 0x67]);
    }
}
