//! Copies: what goes with the packets of an ENI that mirror sessions or captures want.
//!
//! A copy is taken where a packet has been judged and is not rewritten yet: as its ENI sends it. What an
//! ENI gets is copied where it is handed over, as the ENI gets it; the index of the device says that it is
//! wanted ([`WATCHED`]), so that all others pay nothing for it. A packet of a known flow tells by its entry's
//! flags. Dropped packets are copied as they were when they were dropped.
//!
//! A copy goes to a device of its own, where other programs do the rest: [`seen`](crate::capture::seen)
//! tells whoever captures, [`headers`](crate::mirror::headers) wraps it for a mirror session. The [`Note`]
//! tells them what they cannot see.
//!
//! Limit: what the virtual router answers itself, ARP and neighbour discovery, is copied only if it is dropped,
//! and its answers are not, "fragmentation needed" among them.

use core::mem::size_of;

use crate::{
    Scratch, dropped_at,
    flow::flag,
    frame::Frame,
    reason::Reason,
    table::{EniRecord, OUTSIDE},
    tables::Tables,
};

/// Set in the index of a device that a packet is handed to if a copy of it is wanted. The bit is as free
/// as [`TAP`](crate::table::TAP)'s.
pub const WATCHED: u32 = 1 << 30;

/// What goes with a copy.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Note {
    /// The ENI that the packet is copied for.
    pub eni: u64,
    /// The ENI that sends it; [`OUTSIDE`]; 0 if unknown or none.
    pub source_eni: u64,
    /// The ENI that gets it, or would have; likewise.
    pub target_eni: u64,
    /// The security group rule that let it out; 0 if none did, or that is not known.
    pub egress_rule: u64,
    /// The one that let it in, likewise.
    pub ingress_rule: u64,
    /// The entries of network ACLs that let it pass, as [`Flow::acl_entries`](crate::flow::Flow).
    pub acl_entries: u64,
    /// The route that decided, as [`Flow::route`](crate::flow::Flow).
    pub route: u64,
    /// The NAT gateway that it passes, or if it is [`kind::BALANCED`] the node of a load balancer; 0 if none.
    pub via: u64,
    /// The network ACL that refused it, and the number of its entry; zeros if none did.
    pub acl: u64,
    /// See `acl`.
    pub acl_entry: u64,
    /// The number of the [`Reason`] why it was dropped; 0 if it was not.
    pub reason: u32,
    /// [`kind`] bits.
    pub kind: u32,
}

const _: () = assert!(size_of::<Note>() == 88);

/// Bits of [`Note::kind`].
pub mod kind {
    /// The ENI gets it; without this bit, it sends it.
    pub const INGRESS: u32 = 1;
    /// To the link-local services or from there.
    pub const SERVICE: u32 = 2;
    /// It was dropped at this ENI, not behind it.
    pub const DROPPED_HERE: u32 = 4;
    /// It is itself a copy that a mirror session sends.
    pub const MIRRORED: u32 = 8;
    /// It goes to the outside, or would have.
    pub const TO_OUTSIDE: u32 = 16;
    /// It passes the node of a load balancer.
    pub const BALANCED: u32 = 32;
}

impl Note {
    /// No copy.
    pub const NONE: Self = Self {
        eni: 0,
        source_eni: 0,
        target_eni: 0,
        egress_rule: 0,
        ingress_rule: 0,
        acl_entries: 0,
        route: 0,
        via: 0,
        acl: 0,
        acl_entry: 0,
        reason: 0,
        kind: 0,
    };

    /// Begins anew.
    #[inline(always)]
    fn begin(&mut self, eni: u64, kind: u32) {
        self.eni = eni;
        self.source_eni = 0;
        self.target_eni = 0;
        self.egress_rule = 0;
        self.ingress_rule = 0;
        self.acl_entries = 0;
        self.route = 0;
        self.via = 0;
        self.acl = 0;
        self.acl_entry = 0;
        self.reason = 0;
        self.kind = kind;
    }
}

/// Whether copies of an ENI's packets are wanted.
#[inline(always)]
pub(crate) const fn is_watched(eni: &EniRecord) -> bool {
    eni.flags & EniRecord::WATCHED != 0
}

/// The bits of a flow's flags that say which of its ends are watched, seen from the other end.
#[inline(always)]
pub(crate) const fn seen_from_target(flags: u64) -> u64 {
    let mut bits = 0;
    if flags & flag::WATCHED_AT_SOURCE != 0 {
        bits |= flag::WATCHED_AT_TARGET;
    }
    if flags & flag::WATCHED_AT_TARGET != 0 {
        bits |= flag::WATCHED_AT_SOURCE;
    }
    bits
}

/// Copies a packet that is about to go on, as its ENI sends it.
#[inline(never)]
pub(crate) fn sent<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    eni: u64,
    kind: u32,
    scratch: &mut Scratch,
) {
    note_carried(tables, scratch, eni, kind);
    tables.copy(frame, &mut scratch.note);
}

/// The same for a question to the link-local services.
#[inline(never)]
pub(crate) fn asked<T: Tables, F: Frame>(tables: &T, frame: &mut F, scratch: &mut Scratch) {
    let eni = scratch.source_eni;
    if tables.has_copies() && tables.eni(eni).is_some_and(is_watched) {
        sent(tables, frame, eni, kind::SERVICE, scratch);
    }
}

/// Copies a packet that is handed to the device with this index, as the device gets it: for whoever has
/// been told so by [`WATCHED`]. The scratch record is the one that it was judged with.
#[inline(never)]
pub fn received<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    kind: u32,
    scratch: &mut Scratch,
) {
    let Some(eni) = tables.device(ifindex) else {
        return;
    };
    note_carried(tables, scratch, eni, kind | kind::INGRESS);
    tables.copy(frame, &mut scratch.note);
}

/// Copies a packet that is dropped, for both ends that it has come to.
#[inline(never)]
pub(crate) fn dropped<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    reason: Reason,
    scratch: &mut Scratch,
) {
    if !tables.has_copies() {
        return;
    }
    let (source, target, at) = if scratch.has_key {
        let at = dropped_at(reason, scratch);
        (scratch.source_eni, scratch.target_eni, at)
    } else {
        let source = tables.device(scratch.ifindex).unwrap_or(0);
        (source, 0, source)
    };
    // Where it was dropped at the sender, the receiver never heard of it.
    for (eni, direction) in [(source, 0), (target, kind::INGRESS)] {
        let is_here = eni == at;
        let has_come = direction == 0 || is_here;
        if eni == 0 || eni == OUTSIDE || !has_come || !tables.eni(eni).is_some_and(is_watched) {
            continue;
        }
        let here = if is_here { kind::DROPPED_HERE } else { 0 };
        let note = &mut scratch.note;
        note.begin(eni, direction | here);
        note.source_eni = source;
        note.target_eni = target;
        note.reason = reason as u32;
        if matches!(reason, Reason::AclEgress | Reason::AclIngress) {
            note.acl = scratch.refused_acl;
            note.acl_entry = scratch.refused_entry;
        }
        tables.copy(frame, note);
    }
}

/// Notes what is known of a packet that is carried: its flow's entry knows most, and what has none is an
/// error about a flow, or an answer that comes another way than the question went.
#[inline(never)]
fn note_carried<T: Tables>(tables: &T, scratch: &mut Scratch, eni: u64, kind: u32) {
    let note = &mut scratch.note;
    note.begin(eni, kind);
    if kind & (kind::SERVICE | kind::MIRRORED) != 0 {
        return;
    }
    if let Some(entry) = tables.flow(&scratch.key) {
        note.source_eni = entry.source_eni.get();
        note.target_eni = entry.target_eni.get();
        note.egress_rule = entry.egress_rule.get();
        note.ingress_rule = entry.ingress_rule.get();
        note.acl_entries = entry.acl_entries.get();
        note.route = entry.route.get();
        note.via = entry.via.get();
        if entry.flags.get() & flag::TO_OUTSIDE != 0 {
            note.kind |= kind::TO_OUTSIDE;
        }
        if entry.flags.get() & flag::BALANCED != 0 {
            note.kind |= kind::BALANCED;
        }
        return;
    }
    note.source_eni = scratch.source_eni;
    note.target_eni = scratch.journey.eni;
    note.acl_entries = scratch.acl_entries;
    note.route = scratch.journey.route;
    note.via = scratch.journey.via;
    if scratch.journey.is_balanced {
        note.kind |= kind::BALANCED;
    }
    if scratch.journey.is_to_outside {
        note.kind |= kind::TO_OUTSIDE;
    }
}
