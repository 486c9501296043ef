//! What happens to a packet: compiled to BPF for the kernel and natively for everything else.
//!
//! [`egress`] is run once for each packet that leaves an ENI, and carries it through both gates to the
//! ENI that receives it. It is generic over its [`Tables`] and its [`Frame`]: kernel maps and an skb, or
//! ordinary memory ([`memory`], feature `memory`).
//!
//! Invariants:
//! - What cannot be parsed, found or finished is [`Verdict::Drop`] with a [`Reason`].
//! - Each loop has a constant bound; there is no recursion, no allocation, and no panic.
//! - A table or map type never has padding: its bytes are its meaning.
//!
//! Left to others: filling the tables (`enid-plan`), and removing what has ended from the flow table
//! (the flow sweep of `enid-host`).
#![cfg_attr(not(any(test, feature = "memory")), no_std)]
#![forbid(unsafe_code)]

pub mod bytes;
mod connection;
pub mod drops;
#[cfg(any(test, feature = "memory"))]
pub mod explain;
pub mod flow;
pub mod fragments;
pub mod frame;
#[cfg(test)]
mod ledger;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
mod packet;
#[cfg(any(test, feature = "memory"))]
pub mod packet_builder;
mod reason;
mod stage;
pub mod table;
#[cfg(any(test, feature = "memory"))]
pub mod table_set;
mod tables;
mod verdict;

pub use reason::{REASON_COUNTERS, Reason};
pub use stage::gate::Pass;
pub use tables::Tables;
pub use verdict::Verdict;

use flow::{FlowKey, FlowRecord};
use frame::Frame;
use packet::Packet;
use stage::{
    act, arp,
    flow_lookup::{self, Carried, Lookup},
    fragment,
    gate::{self, Question},
    parse, related,
    route::{self, Hop},
    spoof_guard,
};
use table::Direction;

/// A packet's working memory: too large for the kernel's stack, so there is one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    packet: Packet,
    key: FlowKey,
    quoted: FlowKey,
    carried: Carried,
    hop: Hop,
    question: Question,
    record: FlowRecord,
    now_ns: u64,
    generation: u64,
    source_eni: u64,
    target_eni: u64,
    ifindex: u32,
    has_key: bool,
    is_carried: bool,
}

impl Scratch {
    /// Ready for a first packet.
    pub fn new() -> Self {
        Self {
            packet: Packet::default(),
            key: FlowKey::default(),
            quoted: FlowKey::default(),
            carried: Carried::NOTHING,
            hop: Hop::default(),
            question: Question::EMPTY,
            record: FlowRecord::default(),
            now_ns: 0,
            generation: 0,
            source_eni: 0,
            target_eni: 0,
            ifindex: 0,
            has_key: false,
            is_carried: false,
        }
    }
}

impl Scratch {
    /// From now on a drop is recorded under the packet's key.
    #[inline(always)]
    fn known(&mut self) {
        self.source_eni = 0;
        self.target_eni = 0;
        self.has_key = true;
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Judges and rewrites a frame that leaves the ENI whose host-side device is `ifindex`, and records the
/// drop if it is one.
#[inline(always)]
pub fn egress<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.generation = tables.generation();
    scratch.now_ns = now_ns;
    scratch.ifindex = ifindex;
    scratch.has_key = false;
    match stages(tables, frame, scratch) {
        Ok(verdict) => verdict,
        Err(reason) => {
            record_drop(tables, reason, scratch);
            Verdict::Drop(reason)
        }
    }
}

/// The stages, in the order of the design: those that each packet meets, and those of a miss.
#[inline(always)]
fn stages<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<Verdict, Reason> {
    carry(tables, frame, scratch)?;
    if !scratch.is_carried {
        if scratch.packet.is_arp {
            arp::answer(tables, frame, scratch.ifindex, &scratch.packet)?;
            return Ok(Verdict::Reply);
        }
        judge(tables, frame, scratch)?;
    }
    Ok(Verdict::Forward {
        ifindex: scratch.ifindex,
    })
}

/// Parses a packet and carries it if the flow table knows it (`scratch.is_carried`). This and [`judge`] leave the index of the
/// target's device in `scratch.ifindex`; both are functions of their own in the kernel, where the stack
/// of a chain of calls is 512 bytes.
#[inline(never)]
fn carry<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    scratch.is_carried = false;
    parse::parse(frame, &mut scratch.packet)?;
    if scratch.packet.is_arp {
        return Ok(());
    }
    scratch.key = scratch.packet.key(scratch.ifindex);
    if scratch.packet.fragment != packet::Fragment::None {
        scratch.known();
        fragment::ports(tables, scratch.ifindex, &mut scratch.packet)?;
        scratch.key = scratch.packet.key(scratch.ifindex);
    }
    match flow_lookup::lookup(tables, scratch) {
        Lookup::Hit { leaves, ifindex } => {
            act::rewrite(frame, &scratch.packet, leaves)?;
            scratch.ifindex = ifindex;
            scratch.is_carried = true;
        }
        Lookup::Stale(carried) => scratch.carried = carried,
        Lookup::Miss => scratch.carried.clear(),
    }
    Ok(())
}

/// The stages of a miss: both gates, each with its own verdict.
#[inline(never)]
fn judge<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    scratch.known();
    let source = spoof_guard::check(
        tables,
        scratch.ifindex,
        &scratch.packet,
        &mut scratch.source_eni,
    )?;
    let remote = route::remote(tables, source.record, &scratch.packet)?;
    scratch.target_eni = remote.map_or(0, |remote| remote.eni);
    scratch.carried.keep_for(source.eni, scratch.target_eni);

    if !scratch.carried.is_something()
        && related::is_related(tables, frame, scratch, &source, remote.as_ref())
    {
        let target = route::route(tables, &source, remote, &scratch.packet, &mut scratch.hop)?;
        scratch.ifindex = target.record.ifindex;
        return act::rewrite(frame, &scratch.packet, scratch.hop.leaves);
    }

    let egress = match scratch.carried.egress() {
        Some(pass) => pass,
        None => gate::judge(
            tables,
            Direction::Egress,
            source.record,
            remote.map(|remote| remote.record),
            scratch,
        )?,
    };
    let target = route::route(tables, &source, remote, &scratch.packet, &mut scratch.hop)?;
    let ingress = match scratch.carried.ingress() {
        Some(pass) => pass,
        None => gate::judge(
            tables,
            Direction::Ingress,
            target.record,
            source.owns_address.then_some(source.record),
            scratch,
        )?,
    };

    let judged = act::Judged {
        source,
        target,
        egress,
        ingress,
    };
    if scratch.carried.is_something() {
        act::renew(tables, scratch, &judged)?;
    } else {
        act::open(tables, scratch, &judged)?;
    }
    scratch.ifindex = target.record.ifindex;
    act::rewrite(frame, &scratch.packet, scratch.hop.leaves)
}

/// Counts a drop by its reason and, if the packet had addresses, by its 5-tuple.
#[inline(always)]
fn record_drop<T: Tables>(tables: &T, reason: Reason, scratch: &Scratch) {
    if !scratch.has_key {
        tables.count(reason, 1);
        return;
    }
    tables.count(reason, u64::from(scratch.packet.segments));
    let Some(entry) = tables.dropped(&scratch.key) else {
        return;
    };
    if entry.first_seen_ns.get() == 0 {
        entry.first_seen_ns.set(scratch.now_ns);
    }
    entry.last_seen_ns.set(scratch.now_ns);
    entry.reason.set(reason as u64);
    entry.source_eni.set(scratch.source_eni);
    entry.target_eni.set(scratch.target_eni);
    tables.add(&entry.packets, u64::from(scratch.packet.segments));
    tables.add(&entry.bytes, u64::from(scratch.packet.bytes));
}
