//! What happens to a packet: compiled to BPF for the kernel and natively for everything else.
//!
//! [`egress`] is run once for each packet that leaves an ENI, and carries it through both gates to the
//! ENI that receives it, or to the outside; [`outside`] for each packet that comes from there, and
//! [`services`] for each that comes from the link-local services of a VPC. [`copy`] says which packets are
//! copied, [`mirror`] and [`capture`] what becomes of the copies. All of it is generic over its
//! [`Tables`] and its [`Frame`]: kernel maps and an skb, or ordinary memory ([`memory`], feature `memory`).
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

pub mod allowance;
pub mod balancer;
pub mod bucket;
pub mod bytes;
pub mod capture;
mod connection;
pub mod copy;
pub mod counter;
pub mod drops;
#[cfg(any(test, feature = "memory"))]
pub mod explain;
pub mod flow;
pub mod fragments;
pub mod frame;
mod journey;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod ledger_balance;
#[cfg(test)]
mod ledger_nat;
#[cfg(test)]
mod ledger_wide;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod mirror;
pub mod nat_counts;
mod owner;
mod packet;
#[cfg(any(test, feature = "memory"))]
pub mod packet_builder;
mod reason;
pub mod release;
pub mod room;
pub mod sequence;
pub mod service;
mod stage;
pub mod strays;
pub mod table;
#[cfg(any(test, feature = "memory"))]
pub mod table_set;
mod tables;
mod verdict;

pub use reason::{REASON_COUNTERS, Reason};
pub use stage::acl::LAST_ENTRY;
pub use stage::gate::Pass;
pub use tables::Tables;
pub use verdict::Verdict;

use copy::Note;
use flow::{FlowKey, FlowRecord, flag};
use frame::Frame;
use journey::Journey;
use packet::{Asks, Packet};
use stage::{
    acl, act, arp, balance,
    flow_lookup::{self, Carried, Lookup},
    fragment,
    gate::{self, Question},
    gateway, nat, nat_count, nat_port, nd, parse, related, reply, route, service as services_stage,
    spoof_guard, translate, unfinished,
};
use table::{Direction, OUTSIDE};

/// A packet's working memory: too large for the kernel's stack, so there is one for each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    packet: Packet,
    key: FlowKey,
    quoted: FlowKey,
    /// The key of the answers, if `has_answer`.
    answer: FlowKey,
    carried: Carried,
    journey: Journey,
    question: Question,
    /// The key of a packet that no flow counts.
    stray: strays::StrayKey,
    record: FlowRecord,
    /// What goes with a copy of the packet.
    pub note: Note,
    egress: Pass,
    ingress: Pass,
    now_ns: u64,
    generation: u64,
    source_eni: u64,
    target_eni: u64,
    /// The instances of both, of a miss and where they have allowances; 0 if there is none.
    source_instance: u64,
    target_instance: u64,
    /// The ENI at which a drop is counted, if that is not clear from the reason; else 0.
    blamed_eni: u64,
    timeouts: u64,
    acl_entries: u64,
    /// The bits of the flow's flags that say which ends are watched.
    watched: u64,
    refused_acl: u64,
    refused_entry: u64,
    ifindex: u32,
    quoted_transport: u32,
    /// The number that a new TCP connection begins with.
    sequence: u32,
    /// What stands in the way, to be reported after the gates that lie before. Kept in memory: the kernel's
    /// verifier would follow each reason through the gates on its own.
    way: Result<(), Reason>,
    course: Course,
    /// Why a packet of a known flow is not carried.
    refused: Reason,
    has_key: bool,
    has_answer: bool,
    /// Whether one of the ends has allowances.
    is_metered: bool,
    owns_address: bool,
    is_quoting: bool,
    is_related: bool,
    /// Whether the ACL that refused it was asked at a NAT gateway's own edge.
    is_refused_at_gateway: bool,
    /// Whether the packet passes as an error about a live flow, whatever the gates say.
    is_passed: bool,
    /// Whether it passes as an answer that the receiver knows by a flow of its own, whose entries stay as
    /// they are.
    is_answer: bool,
}

/// What has become of a packet so far.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// To be judged.
    Open = 0,
    /// On its way to an ENI.
    Inside = 1,
    /// On its way to the outside.
    Outside = 2,
    /// On its way to the link-local services.
    Service = 3,
    /// On its way to the outside, and in again.
    Again = 4,
}

impl Scratch {
    /// Ready for a first packet.
    pub fn new() -> Self {
        let nothing = Pass {
            rule: 0,
            is_tracked: false,
        };
        Self {
            packet: Packet::default(),
            key: FlowKey::default(),
            quoted: FlowKey::default(),
            answer: FlowKey::default(),
            carried: Carried::NOTHING,
            journey: Journey::NOWHERE,
            question: Question::EMPTY,
            stray: strays::StrayKey::default(),
            record: FlowRecord::default(),
            note: Note::NONE,
            egress: nothing,
            ingress: nothing,
            now_ns: 0,
            generation: 0,
            source_eni: 0,
            target_eni: 0,
            source_instance: 0,
            target_instance: 0,
            blamed_eni: 0,
            timeouts: 0,
            acl_entries: 0,
            watched: 0,
            refused_acl: 0,
            refused_entry: 0,
            ifindex: 0,
            quoted_transport: 0,
            sequence: 0,
            way: Ok(()),
            course: Course::Open,
            refused: Reason::Incomplete,
            has_key: false,
            has_answer: false,
            is_metered: false,
            owns_address: false,
            is_quoting: false,
            is_related: false,
            is_refused_at_gateway: false,
            is_passed: false,
            is_answer: false,
        }
    }
}

impl Scratch {
    /// From now on a drop is recorded under the packet's key.
    #[inline(always)]
    fn known(&mut self) {
        self.source_eni = 0;
        self.target_eni = 0;
        self.journey.nat = 0;
        self.journey.balancer = 0;
        self.has_key = true;
    }

    #[inline(always)]
    fn begin(&mut self, generation: u64, ifindex: u32, now_ns: u64) {
        self.generation = generation;
        self.now_ns = now_ns;
        self.ifindex = ifindex;
        self.has_key = false;
        self.blamed_eni = 0;
    }

    #[inline(always)]
    const fn verdict(&self) -> Verdict {
        let ifindex = self.ifindex;
        match self.course {
            Course::Outside => Verdict::Outside { ifindex },
            Course::Again => Verdict::Again { ifindex },
            Course::Service => Verdict::Punt { ifindex },
            _ => Verdict::Forward { ifindex },
        }
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
    scratch.begin(tables.generation(), ifindex, now_ns);
    let judged = stages(tables, frame, scratch);
    match judged.and_then(|verdict| unfinished::check(frame, &scratch.packet, verdict)) {
        Ok(verdict) => verdict,
        Err(reason) => {
            record_drop(tables, reason, scratch);
            copy::dropped(tables, frame, reason, scratch);
            let is_answered = reply::answer(tables, frame, reason, scratch);
            nat_count::refused(tables, reason, is_answered, scratch);
            if is_answered {
                Verdict::Reply
            } else {
                Verdict::Drop(reason)
            }
        }
    }
}

/// The same for a frame that comes from the outside, through the device `ifindex`.
#[inline(always)]
pub fn outside<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.begin(tables.generation(), ifindex, now_ns);
    let judged = outside_stages(tables, frame, scratch);
    match judged.and_then(|verdict| unfinished::check(frame, &scratch.packet, verdict)) {
        Ok(verdict) => verdict,
        Err(reason) => {
            record_drop(tables, reason, scratch);
            copy::dropped(tables, frame, reason, scratch);
            let is_answered =
                reason == Reason::BalancerReset && reply::answer(tables, frame, reason, scratch);
            nat_count::refused(tables, reason, is_answered, scratch);
            if is_answered && scratch.journey.is_turned {
                Verdict::Again { ifindex }
            } else if is_answered {
                Verdict::Reply
            } else {
                Verdict::Drop(reason)
            }
        }
    }
}

/// The same for a frame that comes from the link-local services, through the device `ifindex`. It has no
/// 5-tuple that would be remembered.
#[inline(always)]
pub fn services<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.begin(tables.generation(), ifindex, now_ns);
    scratch.course = Course::Open;
    let parsed = parse::parse(frame, &mut scratch.packet);
    match parsed.and_then(|()| services_stage::answer(tables, frame, scratch)) {
        Ok(()) => scratch.verdict(),
        Err(reason) => {
            tables.count(reason, 1);
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
    if scratch.course == Course::Open {
        match scratch.packet.asks {
            Asks::Arp => arp::answer(tables, frame, scratch.ifindex, &scratch.packet)?,
            Asks::Configuration => {
                services_stage::ask_all(tables, scratch)?;
                copy::asked(tables, frame, scratch);
                return Ok(scratch.verdict());
            }
            Asks::Neighbour => nd::answer(tables, frame, scratch.ifindex, &scratch.packet)?,
            Asks::Nothing => {
                judge(tables, frame, scratch)?;
                if scratch.course == Course::Open {
                    admit(tables, frame, scratch)?;
                } else {
                    copy::asked(tables, frame, scratch);
                }
                return Ok(scratch.verdict());
            }
        }
        return Ok(Verdict::Reply);
    }
    Ok(scratch.verdict())
}

/// The same for what comes from the outside.
#[inline(always)]
fn outside_stages<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<Verdict, Reason> {
    carry(tables, frame, scratch)?;
    if scratch.course == Course::Open {
        match scratch.packet.asks {
            Asks::Arp => {
                arp::answer_outside(tables, frame, &scratch.packet)?;
                return Ok(Verdict::Reply);
            }
            Asks::Configuration => return Err(Reason::Multicast),
            // The far end knows the device without asking.
            Asks::Neighbour => return Err(Reason::NdUnanswered),
            Asks::Nothing => {
                judge_outside(tables, frame, scratch)?;
                admit(tables, frame, scratch)?;
            }
        }
    }
    Ok(scratch.verdict())
}

/// Parses a packet and carries it if the flow table knows it (`scratch.course`). This and [`judge`] leave
/// the index of the target's device in `scratch.ifindex`; both are functions of their own in the kernel,
/// where the stack of a chain of calls is 512 bytes.
#[inline(never)]
fn carry<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    scratch.course = Course::Open;
    parse::parse(frame, &mut scratch.packet)?;
    if scratch.packet.asks != Asks::Nothing {
        return Ok(());
    }
    scratch.key = scratch.packet.key(scratch.ifindex);
    if scratch.packet.fragment != packet::Fragment::None {
        scratch.known();
        fragment::ports(tables, scratch.ifindex, &mut scratch.packet)?;
        scratch.key = scratch.packet.key(scratch.ifindex);
    }
    match flow_lookup::lookup(tables, scratch) {
        Lookup::Hit {
            leaves,
            ifindex,
            is_special,
        } => {
            scratch.course = Course::Inside;
            if is_special {
                carry_on(tables, frame, scratch)?;
            }
            act::rewrite(frame, &scratch.packet, leaves)?;
            scratch.ifindex = ifindex;
        }
        Lookup::Refused => {
            scratch.has_key = true;
            scratch.journey.nat = 0;
            // What comes too late the node refuses, and says so; an allowance is nothing of its.
            if scratch.refused != Reason::BalancerReset {
                scratch.journey.balancer = 0;
            }
            return Err(scratch.refused);
        }
        Lookup::Stale => {}
        Lookup::Miss => scratch.carried.clear(),
    }
    Ok(())
}

/// The rest of a hit of a flow that is translated, goes to the outside, or is copied.
#[inline(never)]
fn carry_on<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    if scratch.carried.is_watched_at_source() {
        let eni = scratch.carried.source_eni();
        copy::sent(tables, frame, eni, 0, scratch);
    }
    let Scratch {
        packet, carried, ..
    } = scratch;
    if carried.is_to_outside() {
        scratch.course = course_out(carried.is_turned());
    }
    if carried.via != 0 {
        nat_count::carried(tables, carried.via, carried.is_reply(), packet);
        translate::clamp_mss(frame, packet, carried.mtu())?;
    }
    if carried.is_translated() {
        translate::packet(frame, packet, &carried.translation)?;
    }
    Ok(())
}

/// The course of what leaves for the outside.
#[inline(always)]
const fn course_out(is_turned: bool) -> Course {
    if is_turned {
        Course::Again
    } else {
        Course::Outside
    }
}

/// The stages of a miss: the link-local services, or else both gates, each with its own verdict, and the
/// network ACLs between them.
#[inline(never)]
fn judge<T: Tables, F: Frame>(tables: &T, frame: &F, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.known();
    spoof_guard::check(tables, scratch)?;
    if services_stage::is_port(&scratch.packet) {
        services_stage::ask(tables, scratch)?;
        if scratch.course == Course::Service {
            return Ok(());
        }
    }
    scratch.carried.keep_for_source(scratch.source_eni);
    related::prepare(tables, frame, scratch);
    balance::prepare(frame, scratch);
    scratch.way = if scratch.carried.is_from_target {
        route::from_target(tables, scratch)
    } else if scratch.carried.is_to_proxy() && !scratch.is_related {
        balance::to_proxy(tables, scratch)
    } else {
        route::from_eni(tables, scratch)
    };
    pass_node(tables, scratch);
    arrive(tables, scratch);
    if !scratch.is_passed {
        scratch.egress = match scratch.carried.egress() {
            Some(pass) => pass,
            None => gate_of_source(tables, scratch)?,
        };
    }
    acl::judge(tables, scratch)?;
    scratch.way
}

/// The stages of a miss from the outside: there is no gate before the receiver's.
#[inline(never)]
fn judge_outside<T: Tables, F: Frame>(
    tables: &T,
    frame: &F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    scratch.known();
    scratch.source_eni = OUTSIDE;
    scratch.owns_address = true;
    scratch.carried.keep_for_source(OUTSIDE);
    related::prepare(tables, frame, scratch);
    balance::prepare(frame, scratch);
    scratch.way = gateway::from_outside(tables, scratch);
    pass_node(tables, scratch);
    arrive(tables, scratch);
    scratch.egress = Pass::OUTSIDE;
    acl::judge(tables, scratch)?;
    scratch.way
}

/// Goes on from the node of a load balancer, if the way has come to one.
#[inline(always)]
fn pass_node<T: Tables>(tables: &T, scratch: &mut Scratch) {
    if scratch.way.is_ok() && scratch.journey.is_at_node {
        scratch.way = balance::arrive(tables, scratch);
    }
}

/// Notes who gets the packet, as far as that is known, and whether it is an error about a live flow.
#[inline(always)]
fn arrive<T: Tables>(tables: &T, scratch: &mut Scratch) {
    scratch.target_eni = if scratch.journey.eni == 0 {
        scratch.journey.remote
    } else {
        scratch.journey.eni
    };
    scratch.carried.keep_for_target(scratch.target_eni);
    scratch.is_passed = related::is_related(tables, scratch);
    if scratch.journey.must_be_related && !scratch.is_passed && scratch.way.is_ok() {
        scratch.way = Err(if scratch.journey.balancer == 0 {
            Reason::NoInternetGateway
        } else {
            Reason::BalancerProtocol
        });
    }
}

/// The sender's gate.
#[inline(always)]
fn gate_of_source<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<Pass, Reason> {
    let source = tables.eni(scratch.source_eni).ok_or(Reason::Incomplete)?;
    let remote = tables.eni(scratch.journey.remote);
    gate::judge(tables, Direction::Egress, source, remote, scratch)
}

/// The receiver's gate.
#[inline(always)]
fn gate_of_target<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<Pass, Reason> {
    let target = tables.eni(scratch.journey.eni).ok_or(Reason::Incomplete)?;
    // Behind a load balancer it is the balancer's groups that a rule may name.
    let member = if scratch.journey.is_balanced {
        tables.eni(scratch.journey.via)
    } else if scratch.journey.is_member {
        tables.eni(scratch.source_eni)
    } else {
        None
    };
    match gate::judge(tables, Direction::Ingress, target, member, scratch) {
        Ok(pass) => Ok(pass),
        // It may answer a packet of the receiver's that went another way, through a middlebox. What has yet to
        // get a port answers nothing.
        Err(_) if !scratch.journey.needs_port && act::is_answered(tables, scratch) => {
            Ok(scratch.ingress)
        }
        Err(reason) => Err(reason),
    }
}

/// The end of the way: the receiver's gate, the flow table, and the frame as it goes on.
#[inline(never)]
fn admit<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    act::meet_ends(tables, scratch)?;
    if scratch.is_passed {
        limit(tables, scratch)?;
        related::count(tables, scratch);
        count_carried(tables, scratch);
    } else {
        scratch.is_answer = false;
        scratch.ingress = match scratch.carried.ingress() {
            Some(pass) => pass,
            None if scratch.journey.is_to_outside => Pass::OUTSIDE,
            None => gate_of_target(tables, scratch)?,
        };
        let is_new = !scratch.carried.is_something() && !scratch.is_answer;
        if is_new {
            make_room(tables, scratch)?;
        }
        limit(tables, scratch)?;
        act::prepare_answers(scratch);
        nat_port::take_port(tables, scratch)?;
        nat::find_answer(scratch);
        if scratch.carried.is_something() {
            act::renew(tables, scratch)?;
        } else if is_new {
            if scratch.journey.is_balanced {
                balance::note_new(tables, scratch);
            }
            act::open(tables, scratch)?;
        } else {
            count_carried(tables, scratch);
        }
    }
    nat_count::carried(
        tables,
        scratch.journey.via,
        scratch.journey.is_back,
        &scratch.packet,
    );
    if scratch.watched & flag::WATCHED_AT_SOURCE != 0 {
        copy::sent(tables, frame, scratch.source_eni, 0, scratch);
    }
    go_on(frame, scratch)
}

/// Whether a new connection may be added: by the allowances of its ends, and by what they hold already.
#[inline(never)]
fn make_room<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.is_metered {
        allowance::check_tracking(tables, scratch)?;
    }
    room::check(tables, scratch)
}

/// Takes a judged packet out of the allowances of its ends, if they have any.
#[inline(always)]
fn limit<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.is_metered {
        allowance::judge(tables, scratch)
    } else {
        Ok(())
    }
}

/// Counts a packet that no flow's entry counts, at the ENIs of both ends.
#[inline(never)]
fn count_carried<T: Tables>(tables: &T, scratch: &mut Scratch) {
    counter::carried(
        tables,
        scratch.source_eni,
        scratch.journey.eni,
        u64::from(scratch.packet.segments),
        u64::from(scratch.packet.bytes),
    );
    strays::note(tables, strays::PASSED, scratch);
}

/// Rewrites a frame as its journey says.
#[inline(never)]
fn go_on<F: Frame>(frame: &mut F, scratch: &mut Scratch) -> Result<(), Reason> {
    if scratch.journey.via != 0 {
        translate::clamp_mss(frame, &scratch.packet, scratch.journey.mtu)?;
    }
    if scratch.journey.is_translated(&scratch.packet) {
        translate::packet(frame, &scratch.packet, &translate::of_journey(scratch))?;
    }
    // Of IPv6 only a load balancer translates: what is on its way to one stays as it is.
    if scratch.is_related && (scratch.packet.source.is_v4() || scratch.journey.via != 0) {
        translate::quoted(frame, scratch, &scratch.carried.translation)?;
    }
    scratch.course = if scratch.journey.is_to_outside {
        course_out(scratch.journey.is_turned)
    } else {
        Course::Inside
    };
    scratch.ifindex = scratch.journey.ifindex;
    if scratch.watched & flag::WATCHED_AT_TARGET != 0 {
        scratch.ifindex |= copy::WATCHED;
    }
    act::rewrite(frame, &scratch.packet, scratch.journey.hop.leaves)
}

/// The ENI at which a packet was dropped.
#[inline(always)]
fn dropped_at(reason: Reason, scratch: &Scratch) -> u64 {
    let is_at_target = matches!(reason, Reason::IngressRule | Reason::AclIngress);
    if scratch.blamed_eni != 0 {
        scratch.blamed_eni
    } else if reason.is_of_balancer() {
        scratch.journey.balancer
    } else if is_at_target || scratch.source_eni == OUTSIDE {
        scratch.target_eni
    } else {
        scratch.source_eni
    }
}

/// Counts a drop by its reason, at the ENI where it was, and, if the packet had addresses, by its 5-tuple.
#[inline(never)]
fn record_drop<T: Tables>(tables: &T, reason: Reason, scratch: &mut Scratch) {
    if !scratch.has_key {
        tables.count(reason, 1);
        let eni = tables.device(scratch.ifindex).unwrap_or(0);
        if eni != 0 {
            tables.count_at(eni, reason as u32, 1);
        }
        return;
    }
    let segments = u64::from(scratch.packet.segments);
    tables.count(reason, segments);
    let eni = dropped_at(reason, scratch);
    if eni != 0 && eni != OUTSIDE {
        tables.count_at(eni, reason as u32, segments);
    }
    strays::note(tables, reason as u32, scratch);
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
    let is_acl = matches!(reason, Reason::AclEgress | Reason::AclIngress);
    let (acl, acl_entry) = if is_acl {
        (scratch.refused_acl, scratch.refused_entry)
    } else {
        (0, 0)
    };
    entry.acl.set(acl);
    entry.acl_entry.set(acl_entry);
    tables.add(&entry.packets, u64::from(scratch.packet.segments));
    tables.add(&entry.bytes, u64::from(scratch.packet.bytes));
}
