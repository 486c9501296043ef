//! What the pipeline asks of its tables: bound to kernel maps, or to ordinary memory.

use core::{cell::Cell, ops::Deref};

use crate::{
    allowance::Allowance,
    balancer::{
        ListenerKey, ListenerRecord, Member, MemberKey, Slots, SlotsKey, TargetKey, TargetRecord,
    },
    bytes::Addr,
    capture::Capture,
    copy::Note,
    drops::DropEntry,
    flow::{FlowEntry, FlowKey, FlowRecord},
    fragments::{FragmentKey, FragmentRecord},
    frame::Frame,
    mirror::{MirrorFilter, MirrorRecord},
    nat_counts::{NatCountsEntry, NatPortsEntry, NatPortsKey},
    reason::Reason,
    room::UseEntry,
    strays::{StrayEntry, StrayKey},
    table::{
        EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey, GateServiceKey,
        MacKey, NatRecord, Outside, PolicyRecord, Pool, PoolKey, PrefixKey, PublicOf, PublicRecord,
        Route, RouteKey, RuleBits, ServiceRecord, SubnetRecord,
    },
};

/// The tables of one host. Lookups of a [`PrefixKey`], [`RouteKey`], [`PoolKey`], [`GateRemoteKey`] or
/// [`GateServiceKey`] find the longest prefix; all others are exact.
pub trait Tables {
    /// A flow's entry; it stays readable while it is held, even if it is removed meanwhile.
    type Flow<'a>: Deref<Target = FlowEntry>
    where
        Self: 'a;
    /// A dropped flow's entry, likewise.
    type Drop<'a>: Deref<Target = DropEntry>
    where
        Self: 'a;
    /// What is counted of packets without a flow's entry, likewise.
    type Stray<'a>: Deref<Target = StrayEntry>
    where
        Self: 'a;
    /// A token bucket's word, likewise.
    type Word<'a>: Deref<Target = Cell<u64>>
    where
        Self: 'a;
    /// The ports that a NAT gateway has given, likewise.
    type Ports<'a>: Deref<Target = NatPortsEntry>
    where
        Self: 'a;
    /// What a NAT gateway counts, likewise.
    type Counts<'a>: Deref<Target = NatCountsEntry>
    where
        Self: 'a;

    /// What an instance uses up, likewise.
    type Use<'a>: Deref<Target = UseEntry>
    where
        Self: 'a;

    /// The present generation.
    fn generation(&self) -> u64;
    /// The time to the microsecond, of which the caller knows what it was at the last tick of the clock.
    fn exact_ns(&self, tick_ns: u64) -> u64;
    /// The way to the outside, if this host has one.
    fn outside(&self) -> Option<&Outside>;
    /// The ENI of a host-side device.
    fn device(&self, ifindex: u32) -> Option<u64>;
    /// An ENI.
    fn eni(&self, eni: u64) -> Option<&EniRecord>;
    /// The ENI that has an address.
    fn endpoint(&self, key: &EndpointKey) -> Option<u64>;
    /// The ENI that has the delegated prefix of an address.
    fn prefix(&self, key: &PrefixKey) -> Option<u64>;
    /// A subnet.
    fn subnet(&self, subnet: u64) -> Option<&SubnetRecord>;
    /// A route.
    fn route(&self, key: &RouteKey) -> Option<&Route>;
    /// A NAT gateway.
    fn nat(&self, nat: u64) -> Option<&NatRecord>;
    /// Whom a public IPv4 address stands for.
    fn public(&self, addr: &Addr) -> Option<&PublicRecord>;
    /// The public IPv4 address of a private one.
    fn public_of(&self, key: &EndpointKey) -> Option<&PublicOf>;
    /// The pool of this installation that an address belongs to.
    fn pool(&self, key: &PoolKey) -> Option<&Pool>;
    /// The link-local services of a VPC.
    fn service(&self, vpc: u64) -> Option<&ServiceRecord>;
    /// The VPC of a device that leads to link-local services.
    fn service_device(&self, ifindex: u32) -> Option<u64>;
    /// The ENI that has a MAC address.
    fn mac(&self, key: &MacKey) -> Option<u64>;
    /// The bucket of what an ENI asks link-local services, made full if it is missing. None if it cannot be
    /// made.
    fn link_local(&self, eni: u64) -> Option<Self::Word<'_>>;
    /// A policy.
    fn policy(&self, policy: u64) -> Option<&PolicyRecord>;
    /// The CIDR rules of a gate that match an address.
    fn gate_remote(&self, key: &GateRemoteKey) -> Option<&RuleBits>;
    /// The rules of a gate that match a security group.
    fn gate_group(&self, key: &GateGroupKey) -> Option<&RuleBits>;
    /// The rules of a gate that match a protocol and port.
    fn gate_service(&self, key: &GateServiceKey) -> Option<&RuleBits>;
    /// What a bit of a gate stands for.
    fn gate_rule(&self, key: &GateRuleKey) -> Option<&GateRule>;

    /// A listener of a load balancer's node.
    fn listener(&self, key: &ListenerKey) -> Option<&ListenerRecord>;
    /// Slots of a Maglev table.
    fn balancer_slots(&self, key: &SlotsKey) -> Option<&Slots>;
    /// A target that such slots name.
    fn balancer_target(&self, key: &TargetKey) -> Option<&TargetRecord>;
    /// What becomes of the flows of a target.
    fn balancer_member(&self, key: &MemberKey) -> Option<&Member>;

    /// The mirror sessions of an ENI.
    fn mirror(&self, eni: u64) -> Option<&MirrorRecord>;
    /// A filter of such sessions.
    fn mirror_filter(&self, filter: u64) -> Option<&MirrorFilter>;
    /// What is captured of an ENI's packets.
    fn capture(&self, eni: u64) -> Option<&Capture>;
    /// Whether copies can be made at all.
    fn has_copies(&self) -> bool;
    /// Makes a copy of a frame as it is now, with a note, if copies can be made. One that fails is counted
    /// at the note's ENI.
    fn copy<F: Frame>(&self, frame: &mut F, note: &mut Note);

    /// What an instance may use, if that is enforced.
    fn allowance(&self, instance: u64) -> Option<&Allowance>;
    /// What an instance uses up: nothing at first. None if there is no room to count it.
    fn usage(&self, instance: u64) -> Option<Self::Use<'_>>;
    /// The bucket of a single flow, a full one if it is missing. The one used longest ago gives way when
    /// there is no room.
    fn flow_bucket(&self, key: &FlowKey) -> Option<Self::Word<'_>>;
    /// How many flow entries there may be.
    fn flow_entries_max(&self) -> u64;

    /// A flow's entry.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// Adds an entry. False if the table is full or the key is there already.
    #[must_use]
    fn insert_flow(&self, key: &FlowKey, record: &FlowRecord) -> bool;
    /// Removes an entry.
    fn remove_flow(&self, key: &FlowKey);

    /// The ports of a fragmented packet.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentRecord>;
    /// Remembers the ports of a fragmented packet. The oldest gives way when there is no room.
    fn insert_fragment(&self, key: &FragmentKey, record: &FragmentRecord);

    /// The ports that a NAT gateway has given towards a destination.
    fn nat_ports(&self, key: &NatPortsKey) -> Option<Self::Ports<'_>>;
    /// Adds an entry without ports. None is lost if there is one already.
    fn insert_nat_ports(&self, key: &NatPortsKey);
    /// What a NAT gateway counts.
    fn nat_counts(&self, nat: u64) -> Option<Self::Counts<'_>>;
    /// Adds an entry of zeros. None is lost if there is one already.
    fn insert_nat_counts(&self, nat: u64);

    /// The entry of a dropped flow, made empty if it is missing. None if it cannot be made.
    fn dropped(&self, key: &FlowKey) -> Option<Self::Drop<'_>>;
    /// The count of packets without a flow's entry, zero at first. None if there is no room.
    fn stray(&self, key: &StrayKey) -> Option<Self::Stray<'_>>;
    /// Counts dropped packets by reason.
    fn count(&self, reason: Reason, packets: u64);

    /// Counts something at an ENI: see [`CounterKey`](crate::counter::CounterKey). What there is no room for
    /// is not counted.
    fn count_at(&self, eni: u64, what: u32, amount: u64);

    /// Adds to a word of an entry; sums of several CPUs never get lost.
    fn add(&self, word: &Cell<u64>, amount: u64);
    /// The same, and says what the word was before.
    fn fetch_add(&self, word: &Cell<u64>, amount: u64) -> u64;
    /// Sets bits of a word of an entry, likewise.
    fn set(&self, word: &Cell<u64>, bits: u64);
    /// Writes a word if it still is what it was. False if another CPU wrote it first.
    #[must_use]
    fn replace(&self, word: &Cell<u64>, seen: u64, new: u64) -> bool;
    /// The same, and says what the word was before.
    fn fetch_set(&self, word: &Cell<u64>, bits: u64) -> u64;
}
