//! The second program: a copy's way to its target.

use super::{MTU, WRAPPING};
use crate::{
    Course, Scratch, Verdict, allowance,
    bytes::MacPair,
    copy::WATCHED,
    counter, dropped_at,
    frame::Frame,
    reason::Reason,
    stage::{
        acl, act, gate,
        parse::{self, ETHERNET},
        route,
    },
    table::{Direction, EniRecord},
    tables::Tables,
};

/// Judges and rewrites a copy that the kernel has made single packets of.
#[inline(always)]
pub fn mirrored<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Verdict {
    scratch.begin(tables.generation(), 0, now_ns);
    scratch.known();
    match deliver(tables, frame, scratch) {
        Ok(()) => {
            let (segments, bytes) = (scratch.packet.segments, scratch.packet.bytes);
            let (segments, bytes) = (u64::from(segments), u64::from(bytes));
            tables.count_at(scratch.source_eni, counter::MIRRORED_PACKETS, segments);
            tables.count_at(scratch.source_eni, counter::MIRRORED_BYTES, bytes);
            tables.count_at(scratch.journey.eni, counter::PACKETS_IN, segments);
            tables.count_at(scratch.journey.eni, counter::BYTES_IN, bytes);
            scratch.verdict()
        }
        Err(reason) => {
            // Not among the dropped flows: no flow log and no list of flows shows what was mirrored.
            tables.count(reason, 1);
            let eni = dropped_at(reason, scratch);
            if eni != 0 {
                tables.count_at(eni, reason as u32, 1);
            }
            Verdict::Drop(reason)
        }
    }
}

/// The stages; each is a function of its own in the kernel, for the sake of the stack.
#[inline(always)]
fn deliver<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    take(tables, frame, scratch)?;
    read(frame, scratch)?;
    scratch.packet.macs = scratch.journey.hop.leaves;
    find_way(tables, scratch)?;
    judge(tables, frame, scratch)
}

/// Makes the ENI whose copy it is the sender, and cuts the copy. The journey has the MAC addresses that the
/// ENI would have sent it with.
#[inline(never)]
fn take<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let head = frame.load::<14>(0).ok_or(Reason::Malformed)?.0;
    let eni = u64::from_ne_bytes([
        head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7],
    ]);
    let packet_length = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    let record = tables.eni(eni).ok_or(Reason::UnknownDevice)?;
    // A session that has ended meanwhile sends nothing any more.
    if record.flags & EniRecord::MIRRORED == 0 {
        return Err(Reason::Incomplete);
    }
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    scratch.journey.hop.leaves = MacPair::new(subnet.router_mac, record.mac);
    scratch.source_eni = eni;
    scratch.owns_address = true;
    scratch.carried.clear();
    scratch.is_related = false;
    scratch.is_quoting = false;
    cut(frame, packet_length)
}

#[inline(never)]
fn read<F: Frame>(frame: &F, scratch: &mut Scratch) -> Result<(), Reason> {
    parse::parse(frame, &mut scratch.packet)
}

/// Route tables and network ACLs.
#[inline(never)]
fn find_way<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.way = route::from_eni(tables, scratch);
    scratch.target_eni = scratch.journey.eni;
    acl::judge(tables, scratch)?;
    scratch.way
}

/// The receiver's gate, the allowances, and the frame as it goes on. Nothing but the local route, a peering
/// connection and routes to an ENI lead to a target.
#[inline(never)]
fn judge<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let is_translated = scratch.journey.is_translated(&scratch.packet);
    let is_balanced = scratch.journey.is_at_node;
    if scratch.journey.is_to_outside || is_balanced || is_translated || scratch.journey.needs_port {
        return Err(Reason::NoEndpoint);
    }
    act::meet_ends(tables, scratch)?;
    let target = tables.eni(scratch.journey.eni).ok_or(Reason::Incomplete)?;
    let member = if scratch.journey.is_member {
        tables.eni(scratch.source_eni)
    } else {
        None
    };
    let is_captured = target.flags & EniRecord::CAPTURED != 0;
    let _ = gate::judge(tables, Direction::Ingress, target, member, scratch)?;
    if scratch.is_metered {
        allowance::judge(tables, scratch)?;
    }
    scratch.course = Course::Inside;
    scratch.ifindex = scratch.journey.ifindex;
    if is_captured {
        scratch.ifindex |= WATCHED;
    }
    act::rewrite(frame, &scratch.packet, scratch.journey.hop.leaves)
}

/// Cuts what is longer than the session wants, or than a packet can be, and says so in the new headers.
#[inline(always)]
fn cut<F: Frame>(frame: &mut F, packet_length: u32) -> Result<(), Reason> {
    let wanted = WRAPPING.saturating_add(packet_length);
    let most = if packet_length == 0 || wanted > MTU {
        MTU
    } else {
        wanted
    };
    if frame.len() <= most + ETHERNET {
        return Ok(());
    }
    let old = frame.load::<4>(IP).ok_or(Reason::Malformed)?.0;
    if !frame.cut(most + ETHERNET) {
        return Err(Reason::Rewrite);
    }
    let [_, _, ip @ ..] = most.to_be_bytes();
    let [_, _, udp @ ..] = (most - 20).to_be_bytes();
    let new = [old[0], old[1], ip[0], ip[1]];
    let is_written = frame.store(IP_LENGTH, &ip)
        && frame.update_ip_checksum(IP_CHECKSUM, old, new)
        && frame.store(UDP_LENGTH, &udp);
    if is_written {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// Offsets in a VXLAN packet's frame.
const IP: u32 = ETHERNET;
const IP_LENGTH: u32 = 16;
const IP_CHECKSUM: u32 = 24;
const UDP_LENGTH: u32 = 38;
