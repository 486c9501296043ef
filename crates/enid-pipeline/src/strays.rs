//! Packets without a flow's entry, by 5-tuple and reason: those that were dropped, and those that passed as
//! errors about flows or as answers by another way. What no entry counts is counted here, so that the agent
//! can account for every packet.
//!
//! Unlike [`drops`](crate::drops), which remembers the latest for people, this table forgets nothing: the
//! agent removes what it has accounted for and what has been quiet since. When it is full a packet is counted
//! at its ENI and nowhere else, and the account says how many these are.
//!
//! Limit: a 5-tuple whose receiver changes between two readings counts for the latest one.

use core::{cell::Cell, mem::size_of};

use crate::{
    Reason, Scratch,
    flow::{FlowKey, tcp},
    table::OUTSIDE,
    tables::Tables,
};

/// Key of `strays`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StrayKey {
    /// The packet's own.
    pub flow: FlowKey,
    /// The number of the [`Reason`] why it was dropped; 0 if it passed.
    pub reason: u32,
}

/// What is counted. `W` as in [`Flow`](crate::flow::Flow).
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stray<W> {
    /// Packets of the wire.
    pub packets: W,
    /// Bytes from the IP header on.
    pub bytes: W,
    /// When the first came.
    pub first_seen_ns: W,
    /// When the last came.
    pub last_seen_ns: W,
    /// The sending ENI, 0 if unknown.
    pub source_eni: W,
    /// The ENI that has the destination, 0 if none or not yet known.
    pub target_eni: W,
    /// TCP flags of all of them; ACK only of those with SYN.
    pub tcp_flags: W,
    /// The network ACL that refused it, if that is the reason.
    pub acl: W,
    /// The number of its entry, likewise, in the lower half; 32767 if no entry matched. In the upper half 1 if
    /// that was at the edge of a NAT gateway's subnet, on the gateway's own side of the way.
    pub acl_entry: W,
    /// The NAT gateway that it came to, 0 if none.
    pub via: W,
}

/// As the tables hold it.
pub type StrayEntry = Stray<Cell<u64>>;
/// As user space reads it.
pub type StrayRecord = Stray<u64>;

const _: () = assert!(size_of::<StrayKey>() == 48);
const _: () = assert!(size_of::<StrayRecord>() == 80);

/// What stands for no reason in [`StrayKey::reason`].
pub const PASSED: u32 = 0;

/// At which end a packet was refused, as flow logs see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It did not leave the sending ENI, or its subnet: a security group or network ACL refused it there.
    AtSource,
    /// It left the sending ENI, and a security group or network ACL refused it at the receiving one.
    AtTarget,
    /// It left the sending ENI, and was lost for another reason.
    OnTheWay,
    /// It came to no gate: no network interface would tell of it.
    Unjudged,
}

impl Refusal {
    /// Where a packet is refused for a reason.
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::EgressRule | Reason::AclEgress => Self::AtSource,
            Reason::IngressRule | Reason::AclIngress => Self::AtTarget,
            Reason::NoRoute
            | Reason::NoEndpoint
            | Reason::TargetDown
            | Reason::FlowTableFull
            | Reason::Blackhole
            | Reason::DestinationCheck
            | Reason::NoPublicAddress
            | Reason::NoInternetGateway
            | Reason::NoOutside
            | Reason::UnassignedAddress
            | Reason::NatUnsolicited
            | Reason::NatProtocol
            | Reason::NatFragment
            | Reason::NatPortAllocation
            | Reason::NatRoute
            | Reason::PrivateAddress
            | Reason::TooBig
            | Reason::MiddleboxAddress
            | Reason::NatReset
            | Reason::FlowShare
            | Reason::BandwidthInAllowance
            | Reason::BandwidthOutAllowance
            | Reason::PacketAllowance
            | Reason::ConntrackAllowance
            | Reason::FlowAllowance => Self::OnTheWay,
            _ => Self::Unjudged,
        }
    }
}

/// Counts a packet that was dropped for a reason, or that passed ([`PASSED`]). A function of its own in the
/// kernel: it is far from every fast path, and has its own stack.
#[inline(never)]
pub(crate) fn note<T: Tables>(tables: &T, reason: u32, scratch: &mut Scratch) {
    let (source, target) = if reason == PASSED {
        (scratch.source_eni, scratch.journey.eni)
    } else {
        (scratch.source_eni, scratch.target_eni)
    };
    if (source == 0 || source == OUTSIDE) && (target == 0 || target == OUTSIDE) {
        return;
    }
    scratch.stray.flow = scratch.key;
    scratch.stray.reason = reason;
    let Some(entry) = tables.stray(&scratch.stray) else {
        return;
    };
    if entry.first_seen_ns.get() == 0 {
        entry.first_seen_ns.set(scratch.now_ns);
    }
    entry.source_eni.set(source);
    entry.target_eni.set(target);
    entry.via.set(scratch.journey.nat);
    let flags = scratch.packet.tcp_flags;
    let mask = if flags & tcp::SYN == 0 { !tcp::ACK } else { !0 };
    let flags = u64::from(flags & mask);
    if flags & !entry.tcp_flags.get() != 0 {
        tables.set(&entry.tcp_flags, flags);
    }
    if reason == Reason::AclEgress as u32 || reason == Reason::AclIngress as u32 {
        entry.acl.set(scratch.refused_acl);
        entry
            .acl_entry
            .set(u64::from(scratch.is_refused_at_gateway) << 32 | scratch.refused_entry);
    }
    // The counts before the time: what was quiet for long is counted whole.
    tables.add(&entry.packets, u64::from(scratch.packet.segments));
    tables.add(&entry.bytes, u64::from(scratch.packet.bytes));
    entry.last_seen_ns.set(scratch.now_ns);
}

impl<W> Stray<W> {
    /// The same with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> Stray<V> {
        Stray {
            packets: f(&self.packets),
            bytes: f(&self.bytes),
            first_seen_ns: f(&self.first_seen_ns),
            last_seen_ns: f(&self.last_seen_ns),
            source_eni: f(&self.source_eni),
            target_eni: f(&self.target_eni),
            tcp_flags: f(&self.tcp_flags),
            acl: f(&self.acl),
            acl_entry: f(&self.acl_entry),
            via: f(&self.via),
        }
    }
}

impl StrayRecord {
    /// The number of the entry of the network ACL that refused it, if that is the reason.
    pub fn acl_entry_number(&self) -> Option<u16> {
        let [a, b, ..] = self.acl_entry.to_le_bytes();
        (self.acl != 0).then(|| u16::from_le_bytes([a, b]))
    }

    /// Whether a network ACL refused it where it was about to come to the gateway's interface, or had left it.
    pub fn is_refused_at_gateway(&self) -> bool {
        self.acl != 0 && self.acl_entry >> 32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tcp;
    use crate::ledger::{A, B, Change, Gate, World, packet, query};
    use crate::packet_builder::Transport;

    fn tcp(flags: u8) -> Transport {
        Transport::Tcp {
            from: 1000,
            to: 80,
            flags,
        }
    }

    #[test]
    fn what_is_dropped_is_counted_by_its_reason_with_its_flags() {
        let mut world = World::new(Gate::Everybody, Gate::Closed);
        world.drops(A, B, tcp(tcp::SYN), Reason::IngressRule);
        let again = |flags, reason| {
            let mut frame = packet(A, B, tcp(flags)).frame();
            let _ = world.send(A, &mut frame, &Change::dropped_again(reason));
        };
        again(tcp::ACK, Reason::IngressRule);
        world.policy(A, Gate::Closed, Gate::Closed);
        let again = |flags, reason| {
            let mut frame = packet(A, B, tcp(flags)).frame();
            let _ = world.send(A, &mut frame, &Change::dropped_again(reason));
        };
        again(tcp::SYN | tcp::ACK, Reason::EgressRule);
        let strays = world.memory.strays();
        assert_eq!(strays.len(), 2);
        let of = |reason: Reason| {
            let mut found = strays.iter();
            found.find(|(key, _)| key.reason == reason as u32)
        };
        let (_, ingress) = of(Reason::IngressRule).expect("an entry");
        assert_eq!((ingress.packets, ingress.tcp_flags), (2, 0x02));
        assert!(ingress.source_eni != 0 && ingress.target_eni != 0);
        let (_, egress) = of(Reason::EgressRule).expect("an entry");
        assert_eq!((egress.packets, egress.tcp_flags), (1, 0x12));
    }

    #[test]
    fn what_a_flow_counts_is_not_counted_here() {
        let mut world = World::new(Gate::Everybody, Gate::Everybody);
        world.passes(A, B, query(), 2);
        world.passes(A, B, query(), 0);
        assert!(world.memory.strays().is_empty());
        world.policy(B, Gate::Everybody, Gate::Closed);
        world.drops(A, B, query(), Reason::IngressRule);
        assert_eq!(world.memory.strays().len(), 1);
    }
}
