//! Network load balancers: a new flow to a node gets a target, and goes straight to it.
//!
//! The way from the client to the node is an ordinary one, with its gates: what the client may send, network
//! ACLs, and the node's security groups if it has any. There the flow's hash chooses a target in the node's
//! Maglev table, and the way goes on from the node: its groups again, the ACLs between its subnet and the
//! target's, and the target's gate, which sees the client's address or the node's. All of it is one program
//! run where the packet enters; the flow's entries say both ways what packets become, and what answers goes
//! back past the node without asking the target's routes.
//!
//! Only new flows choose. A flow that is judged again keeps its target, until the target's flows are ended
//! ([`Member::ENDS`]) or the node has forgotten it: a TCP packet without a connection is answered with a
//! reset.
//!
//! A node has a device as well: what it begins itself, health checks, leaves by the ordinary way, and the
//! answers to that are delivered there. So are connections whose bytes the daemon changes
//! ([`ListenerRecord::DELIVERED`]): the node receives them as any interface does, and asks its own gate. Errors of
//! ICMP about these go there too, and about nothing else.
//!
//! What a NAT gateway of this installation sends to a node goes out and comes in again before:
//! [`gateway`](super::gateway).
//!
//! A target's packet of a connection that was idle for too long is reset as the client's is. Limit: only for
//! as long again ([`LAPSED_S`](crate::flow::LAPSED_S)); then it goes to the client as an ordinary one, unless the
//! target knows the node alone.
//!
//! IPv6 goes to targets of IPv6: each family has listeners of its own. Of what comes from the internet by IPv6
//! a listener may take nothing ([`ListenerRecord::NO_INTERNET`]), as those of internal load balancers do.

mod proxied;

pub(crate) use self::proxied::to_proxy;

use crate::{
    Scratch,
    balancer::{
        CHUNK, FIRST_PORT, ListenerKey, ListenerRecord, Member, MemberKey, SHARES_MAX, SLOTS,
        Share, SlotsKey, TargetKey, TargetRecord,
    },
    bytes::{Addr, Be16},
    connection::has_ended,
    flow::flag,
    frame::Frame,
    journey::Journey,
    owner::owner,
    reason::Reason,
    stage::{
        flow_lookup::Carried,
        gate::ask,
        gateway::public_of,
        nat::is_cut,
        nat_count,
        nat_port::mixed,
        route::{find, hand_over},
    },
    table::{Direction, EniRecord, OUTSIDE, Route, gate_of_ipv6, protocol, split_bit},
    tables::Tables,
};

/// Offset of the sequence number in a TCP header.
const SEQUENCE: u32 = 4;

/// Reads what the hash of a new connection wants of its first packet beside the 5-tuple.
#[inline(never)]
pub(crate) fn prepare<F: Frame>(frame: &F, scratch: &mut Scratch) {
    scratch.sequence = 0;
    if scratch.packet.opens_tcp()
        && let Some(number) = frame.load::<4>(scratch.packet.transport + SEQUENCE)
    {
        scratch.sequence = u32::from_be_bytes(number.0);
    }
}

/// Takes what has come to a node: answers to what it began itself stay there, everything else leaves as a
/// flow of a target's.
#[inline(never)]
pub(crate) fn arrive<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let id = scratch.journey.eni;
    let node = tables.eni(id).ok_or(Reason::Incomplete)?;
    let journey = &mut scratch.journey;
    journey.balancer = id;
    if node.subnet != journey.subnet {
        let inner = tables.subnet(node.subnet).ok_or(Reason::Incomplete)?;
        journey.enter(inner)?;
    }
    journey.subnet = node.subnet;
    if node.flags & EniRecord::FAULTY != 0 {
        return Err(Reason::Fault);
    }
    let carried = &scratch.carried;
    if carried.is_answer() && carried.via == 0 {
        if carried.target_eni() == id {
            return hand_over(tables, scratch);
        }
        // Somebody else has asked, under the node's address.
        scratch.carried.clear();
    }
    if scratch.is_quoting && !(scratch.is_related && scratch.carried.via == id) {
        // An error about what ends at the node's device, or about nothing that it knows.
        scratch.journey.must_be_related = true;
        return hand_over(tables, scratch);
    }
    let journey = &scratch.journey;
    let is_its_kind = match scratch.packet.protocol {
        protocol::TCP | protocol::UDP => true,
        protocol::ICMP | protocol::ICMP_V6 => scratch.is_related,
        _ => false,
    };
    if !is_its_kind || is_cut(&scratch.packet) {
        return Err(Reason::BalancerProtocol);
    }
    // What is said on the link is the neighbour's, and no router carries it on (RFC 4291, section 2.5.6).
    if journey.source.is_link_local() || journey.target.is_link_local() {
        return Err(Reason::LinkLocal);
    }
    if journey.via != 0 {
        return Err(Reason::BalancerRoute);
    }
    let flags = delivered(tables, scratch, id);
    if flags != 0 {
        check_internet(scratch, flags)?;
        return hand_over(tables, scratch);
    }
    let carried = &scratch.carried;
    let is_begun = carried.is_something() && !carried.is_reply();
    if carried.via == id && (scratch.is_related || is_begun) {
        if !keep(tables, scratch, id)? {
            // A datagram whose target is gone: the flow begins anew.
            scratch.carried.clear();
            choose(tables, scratch, node, id)?;
        }
    } else {
        choose(tables, scratch, node, id)?;
    }
    leave(tables, scratch, node, id)?;
    hand_over(tables, scratch)
}

/// The flags of the listener whose packet goes to the node's device, or 0: its connections end there, but for
/// those that were balanced before it became one of that kind.
#[inline(never)]
fn delivered<T: Tables>(tables: &T, scratch: &Scratch, id: u64) -> u32 {
    if scratch.packet.protocol != protocol::TCP || scratch.carried.via == id {
        return 0;
    }
    let key = listener_key(id, &scratch.journey, protocol::TCP);
    match tables.listener(&key) {
        Some(listener) if listener.flags & ListenerRecord::DELIVERED != 0 => listener.flags,
        _ => 0,
    }
}

/// Keeps the target of a flow that has one. False if the flow is to begin anew; of TCP it is reset.
#[inline(never)]
fn keep<T: Tables>(tables: &T, scratch: &mut Scratch, id: u64) -> Result<bool, Reason> {
    let to = scratch.carried.translation;
    let target = scratch.carried.target_eni();
    let is_tcp = scratch.packet.protocol == protocol::TCP;
    let key = listener_key(id, &scratch.journey, scratch.packet.protocol);
    let vpc = tables.eni(target).map_or(0, |target| target.vpc);
    let is_there = owner(tables, vpc, &to.target) == target;
    if !is_there || !scratch.is_related && is_over(tables, &key, &to.target, to.target_port) {
        return if is_tcp {
            Err(Reason::BalancerReset)
        } else {
            Ok(false)
        };
    }
    let idle_s = match tables.listener(&key) {
        Some(listener) => {
            check_internet(scratch, listener.flags)?;
            listener.idle_s
        }
        None => 0,
    };
    let journey = &mut scratch.journey;
    journey.source = to.source;
    journey.target = to.target;
    journey.vpc = vpc;
    journey.eni = target;
    journey.idle_s = idle_s;
    if !scratch.is_related {
        journey.source_port = to.source_port;
        journey.target_port = to.target_port;
    }
    Ok(true)
}

/// The key of the listener that a packet asks for.
#[inline(always)]
const fn listener_key(node: u64, journey: &Journey, number: u8) -> ListenerKey {
    ListenerKey {
        node,
        port: journey.target_port,
        protocol: number,
        is_v6: !journey.target.is_v4() as u8,
        pad: [0; 4],
    }
}

/// Whether the flows of a listener to a target end.
#[inline(never)]
fn is_over<T: Tables>(tables: &T, key: &ListenerKey, address: &Addr, port: Be16) -> bool {
    let Some(listener) = tables.listener(key) else {
        return true;
    };
    for index in 0..SHARES_MAX {
        if index >= listener.count as usize {
            break;
        }
        let key = MemberKey {
            group: listener.shares[index].group,
            address: *address,
            port,
            pad: [0; 6],
        };
        if let Some(member) = tables.balancer_member(&key) {
            return member.flags & Member::ENDS != 0;
        }
    }
    listener.flags & ListenerRecord::FORGETS != 0
}

/// Chooses the target of a new flow.
#[inline(never)]
fn choose<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    node: &EniRecord,
    id: u64,
) -> Result<(), Reason> {
    let key = listener_key(id, &scratch.journey, scratch.packet.protocol);
    let is_tcp = scratch.packet.protocol == protocol::TCP;
    let is_late = is_tcp && !scratch.packet.opens_tcp();
    let Some(listener) = tables.listener(&key) else {
        // At a port that the node sends from it is a target's.
        let is_targets = is_late && scratch.journey.target_port.value() >= FIRST_PORT;
        return Err(if is_targets {
            Reason::BalancerReset
        } else {
            Reason::NoListener
        });
    };
    if is_late {
        return Err(Reason::BalancerReset);
    }
    check_internet(scratch, listener.flags)?;
    ask_groups(tables, scratch, node, Direction::Ingress)?;
    let is_sticky = listener.flags & ListenerRecord::STICKY != 0;
    let share = share_of(listener, hash(scratch, is_sticky)).ok_or(Reason::BalancerTarget)?;
    let is_sticky = share.flags & Share::STICKY != 0;
    if share.table == 0 {
        return Err(Reason::BalancerTarget);
    }
    let target = pick(tables, share.table, hash(scratch, is_sticky)).ok_or(Reason::Incomplete)?;
    let journey = &mut scratch.journey;
    if target.address.is_v4() != journey.target.is_v4() {
        // A target of the other family is the proxy's alone.
        return Err(Reason::BalancerTarget);
    }
    journey.target = target.address;
    journey.target_port = target.port;
    journey.vpc = target.vpc;
    journey.eni = owner(tables, target.vpc, &journey.target);
    journey.idle_s = listener.idle_s;
    journey.is_fail_open = share.flags & Share::FAIL_OPEN != 0;
    if journey.eni == 0 {
        return Err(Reason::NoEndpoint);
    }
    if share.flags & Share::PRESERVES == 0 {
        journey.source = listener.address;
        journey.needs_port = true;
    } else if journey.eni == scratch.source_eni {
        return Err(Reason::BalancerHairpin);
    }
    ask_groups(tables, scratch, node, Direction::Egress)
}

/// Refuses what comes from the internet to a listener that is not there for it.
#[inline(always)]
const fn check_internet(scratch: &Scratch, flags: u32) -> Result<(), Reason> {
    if scratch.journey.is_entering && flags & ListenerRecord::NO_INTERNET != 0 {
        Err(Reason::BalancerRoute)
    } else {
        Ok(())
    }
}

/// The target group that gets a flow with this hash.
#[inline(always)]
fn share_of(listener: &ListenerRecord, hash: u64) -> Option<&Share> {
    let weights = listener.weights;
    if weights == 0 {
        return None;
    }
    // Other bits than those that choose the slot.
    let number = (hash >> 40) as u32 % weights;
    for index in 0..SHARES_MAX {
        if index >= listener.count as usize {
            break;
        }
        if number < listener.shares[index].below {
            return Some(&listener.shares[index]);
        }
    }
    None
}

/// The target that a Maglev table has for a hash.
#[inline(never)]
fn pick<T: Tables>(tables: &T, table: u64, hash: u64) -> Option<&TargetRecord> {
    #[expect(clippy::cast_possible_truncation, reason = "a small remainder")]
    let slot = (hash % SLOTS as u64) as u32;
    let key = SlotsKey {
        table,
        chunk: slot / CHUNK,
        pad: 0,
    };
    let slots = tables.balancer_slots(&key)?;
    let number = slots.0[(slot % CHUNK) as usize];
    let key = TargetKey {
        table,
        number: u32::from(number),
        pad: 0,
    };
    tables.balancer_target(&key)
}

/// A flow's hash: of its 5-tuple as it is at the node, and for TCP of the first sequence number, so that a
/// client that uses a port again may get another target. Of the source alone if it is sticky.
#[inline(never)]
fn hash(scratch: &Scratch, is_sticky: bool) -> u64 {
    let journey = &scratch.journey;
    let source = number_of(&journey.source);
    if is_sticky {
        return mixed(mixed(source));
    }
    let target = number_of(&journey.target);
    let (p, q) = (journey.source_port.bytes(), journey.target_port.bytes());
    let ports = u64::from_be_bytes([0, 0, 0, scratch.packet.protocol, p[0], p[1], q[0], q[1]]);
    let first = mixed(source << 32 | target).wrapping_add(ports);
    mixed(mixed(first).wrapping_add(u64::from(scratch.sequence)))
}

/// An address as a number of 32 bits, for the hash; of IPv6 one that all of its bits change.
#[inline(always)]
const fn number_of(address: &Addr) -> u64 {
    if address.is_v4() {
        return u32::from_be_bytes(address.v4_octets()) as u64;
    }
    let [a, b, c, d] = address.words();
    let network = mixed((a as u64) << 32 | b as u64);
    mixed(network.wrapping_add((c as u64) << 32 | d as u64)) >> 32
}

/// Asks the node's security groups, if it has any, about what comes to it or what it sends on.
#[inline(never)]
fn ask_groups<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    node: &EniRecord,
    direction: Direction,
) -> Result<(), Reason> {
    if node.group_count == 0 {
        return Ok(());
    }
    let policy = tables.policy(node.policy).ok_or(Reason::Incomplete)?;
    let Scratch {
        packet,
        question,
        journey,
        ..
    } = scratch;
    let (remote, refused) = match direction {
        Direction::Ingress => {
            question.gate = policy.ingress_gate;
            question.remote = journey.source;
            let member = if journey.is_member {
                scratch.source_eni
            } else {
                0
            };
            (member, Reason::BalancerIngressRule)
        }
        Direction::Egress => {
            question.gate = policy.egress_gate;
            question.remote = journey.target;
            (journey.eni, Reason::BalancerEgressRule)
        }
    };
    if policy.open & split_bit(direction) != 0 && !packet.source.is_v4() {
        question.gate = gate_of_ipv6(question.gate);
    }
    question.protocol = packet.protocol;
    question.port = journey.target_port.bytes();
    if ask(tables, tables.eni(remote), question) {
        Ok(())
    } else {
        Err(refused)
    }
}

/// Goes on from the node to the target, which the journey has.
#[inline(never)]
fn leave<T: Tables>(
    tables: &T,
    scratch: &mut Scratch,
    node: &EniRecord,
    id: u64,
) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    journey.via = id;
    journey.is_balanced = true;
    journey.is_member = false;
    let target = tables.eni(journey.eni).ok_or(Reason::Incomplete)?;
    if target.flags & (EniRecord::BALANCER | EniRecord::NAT_GATEWAY) != 0 {
        return Err(Reason::BalancerRoute);
    }
    if target.subnet != node.subnet {
        let inner = tables.subnet(node.subnet).ok_or(Reason::Incomplete)?;
        journey.leave(inner)?;
        let to = journey.target;
        if !leads(tables, node, &to, target.vpc) {
            return Err(Reason::BalancerRoute);
        }
    }
    if target.vpc != node.vpc {
        journey.subnet = 0;
    }
    Ok(())
}

/// Whether the routes of an interface's subnet lead to an address in a VPC: its own or a peer.
#[inline(never)]
fn leads<T: Tables>(tables: &T, from: &EniRecord, to: &Addr, vpc: u64) -> bool {
    if from.vpc == vpc {
        return true;
    }
    let Some(subnet) = tables.subnet(from.subnet) else {
        return false;
    };
    match find(tables, subnet.route_table, to) {
        Some(route) => route.kind == Route::PEERING && route.target == vpc,
        None => false,
    }
}

/// Brings what a target answers back to the node that chose it, from where it goes on to the client by the
/// routes of the node's subnet.
#[inline(never)]
pub(crate) fn back<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let sender = tables.eni(scratch.source_eni).ok_or(Reason::Incomplete)?;
    let id = scratch.carried.via;
    let new = scratch.carried.translation;
    let journey = &mut scratch.journey;
    journey.begin(&scratch.packet, sender.vpc, sender.subnet);
    journey.balancer = id;
    journey.is_back = true;
    let node = tables.eni(id).ok_or(Reason::BalancerReset)?;
    if node.flags & EniRecord::BALANCER == 0 {
        return Err(Reason::BalancerReset);
    }
    if node.flags & EniRecord::FAULTY != 0 {
        return Err(Reason::Fault);
    }
    if is_cut(&scratch.packet) {
        return Err(Reason::BalancerProtocol);
    }
    // An error about the connection speaks another protocol than it.
    let number = if scratch.is_related {
        scratch.quoted.protocol
    } else {
        scratch.packet.protocol
    };
    let key = ListenerKey {
        port: new.source_port,
        ..listener_key(id, journey, number)
    };
    let listener = tables.listener(&key).ok_or(Reason::BalancerReset)?;
    let packet = &scratch.packet;
    if !scratch.is_related && is_over(tables, &key, &packet.source, packet.source_port) {
        return Err(Reason::BalancerReset);
    }
    if sender.subnet != node.subnet {
        let outer = tables.subnet(sender.subnet).ok_or(Reason::Incomplete)?;
        journey.leave(outer)?;
        let inner = tables.subnet(node.subnet).ok_or(Reason::Incomplete)?;
        journey.enter(inner)?;
        if !leads(tables, sender, &listener.address, node.vpc) {
            return Err(Reason::BalancerRoute);
        }
    }
    let address = listener.address;
    if journey.target == address {
        // The target knows the node alone, and its entry who asked.
        let client = seen_client(tables, &scratch.carried, &address)?;
        scratch.journey.target = client;
    }
    let journey = &mut scratch.journey;
    journey.source = address;
    if !scratch.is_related {
        journey.source_port = new.source_port;
        journey.target_port = new.target_port;
    }
    journey.vpc = node.vpc;
    journey.subnet = node.subnet;
    journey.via = id;
    journey.idle_s = listener.idle_s;
    journey.is_balanced = true;
    journey.is_routed_on = true;
    Ok(())
}

/// The client of a flow as the node sees it: to the node's public address it has come by an internet gateway,
/// under its own public one.
#[inline(never)]
fn seen_client<T: Tables>(tables: &T, carried: &Carried, node: &Addr) -> Result<Addr, Reason> {
    let new = &carried.translation;
    let client = carried.target_eni();
    if new.source == *node || client == OUTSIDE {
        return Ok(new.target);
    }
    let client = tables.eni(client).ok_or(Reason::Incomplete)?;
    public_of(tables, client.vpc, &new.target)
}

/// Gives an answer the addresses that its client expects, when its way is found.
#[inline(always)]
pub(crate) fn end_back(scratch: &mut Scratch) {
    let new = &scratch.carried.translation;
    scratch.journey.source = new.source;
    scratch.journey.target = new.target;
}

/// Counts a flow that begins, unless its first packet is sent again.
#[inline(never)]
pub(crate) fn note_new<T: Tables>(tables: &T, scratch: &Scratch) {
    let is_new = match tables.flow(&scratch.key) {
        Some(entry) => {
            entry.flags.get() & (flag::CLOSING | flag::ENDED) != 0
                || has_ended(tables, &scratch.key, &entry, scratch.now_ns)
        }
        None => true,
    };
    if is_new {
        nat_count::make(tables, scratch.journey.via);
        nat_count::add_attempt(tables, scratch.journey.via);
        if scratch.packet.protocol == protocol::UDP {
            nat_count::add_udp_flow(tables, scratch.journey.via);
        }
        if scratch.journey.is_fail_open {
            nat_count::add_fail_open(tables, scratch.journey.via);
        }
    }
}

#[cfg(test)]
mod inside;
#[cfg(test)]
mod late;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turned;
#[cfg(test)]
mod wide;
