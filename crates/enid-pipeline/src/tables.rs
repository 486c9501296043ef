//! What the pipeline asks of its tables: bound to kernel maps, or to ordinary memory.

use core::{cell::Cell, ops::Deref};

use crate::{
    bytes::Addr,
    drops::DropEntry,
    flow::{FlowEntry, FlowKey, FlowRecord},
    fragments::{FragmentKey, FragmentRecord},
    reason::Reason,
    table::{
        EndpointKey, EniRecord, GateGroupKey, GateRemoteKey, GateRule, GateRuleKey, GateServiceKey,
        NatRecord, NeighbourKey, Outside, PolicyRecord, Pool, PoolKey, PrefixKey, PublicOf,
        PublicRecord, Route, RouteKey, RuleBits, SubnetRecord,
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

    /// The present generation.
    fn generation(&self) -> u64;
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
    /// The ENI that has a MAC in a subnet.
    fn neighbour(&self, key: &NeighbourKey) -> Option<u64>;
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

    /// The entry of a dropped flow, made empty if it is missing. None if it cannot be made.
    fn dropped(&self, key: &FlowKey) -> Option<Self::Drop<'_>>;
    /// Counts dropped packets by reason.
    fn count(&self, reason: Reason, packets: u64);

    /// Adds to a word of an entry; sums of several CPUs never get lost.
    fn add(&self, word: &Cell<u64>, amount: u64);
    /// Sets bits of a word of an entry, likewise.
    fn set(&self, word: &Cell<u64>, bits: u64);
}
