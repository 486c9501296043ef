//! The ports of NAT gateways: which one a new connection gets, and when it is free again.
//!
//! The flow table is the table of ports: a port is taken when the entry of the answers, whose key has it,
//! could be added. How many are taken is counted for each address and destination, with one atomic sum: the
//! connection after the 55,000th is refused, and no other. Of the 64,512 ports that there are 85 in a
//! hundred are then taken, and of the ports that are tried one is free but for one case in a thousand
//! million (docs/decisions/0009). When the ports of one address towards a destination are all taken, a
//! connection gets another address of the gateway.
//!
//! A gateway keeps the port of an idle connection for 350 seconds, also when the interfaces behind it have
//! forgotten the connection before: see [`Age`](crate::flow::Age).

use crate::{
    Scratch, balancer,
    bytes::Addr,
    bytes::Be16,
    connection::has_ended,
    flow::{FlowEntry, FlowKey, flag},
    nat_counts::{NatPortsKey, PORTS_MAX},
    reason::Reason,
    room,
    stage::{nat::find_answer, nat_count},
    table::{NatRecord, protocol},
    tables::Tables,
};

/// Ports that are tried before a connection is refused: 0.853 to the power of 128 is 1.4e-9.
const TRIES: u32 = 128;
/// The first port that a gateway uses.
const FIRST_PORT: u32 = 1024;

/// The number of the address that a new connection gets: any, unless it has no port left towards the
/// destination.
///
/// Another CPU may take the last port between this and [`take_port`]: the connection is then refused, and
/// the sender's next attempt gets another address.
#[inline(never)]
pub(crate) fn choose<T: Tables>(tables: &T, scratch: &Scratch, nat: &NatRecord, id: u64) -> usize {
    if nat.count == 0 {
        return usize::MAX;
    }
    let first = (hash(&scratch.key) >> 32) as u32 % nat.count;
    // If all are full: any, which then refuses.
    let mut last = 0;
    for (number, _) in (first..).zip(nat.private) {
        let index = (number % nat.count) as usize;
        if nat.draining >> (index & 63) & 1 != 0 {
            continue;
        }
        last = index;
        let (Some(private), Some(public)) = (nat.private.get(index), nat.public.get(index)) else {
            break;
        };
        // Where it leaves to is not known yet; towards one destination only one of them is in use.
        let both =
            taken(tables, scratch, id, *private).wrapping_add(taken(tables, scratch, id, *public));
        if !is_at_least(both, PORTS_MAX) {
            return index;
        }
    }
    last
}

/// Whether this many ports are taken. Less than none is none: see [`reserve`].
#[inline(always)]
#[expect(clippy::cast_possible_wrap, reason = "a small number of either sign")]
const fn is_at_least(taken: u64, most: u64) -> bool {
    taken as i64 >= most as i64
}

/// How many ports of an address are taken.
#[inline(never)]
fn taken<T: Tables>(tables: &T, scratch: &Scratch, nat: u64, address: [u8; 4]) -> u64 {
    match tables.nat_ports(&key_of(&scratch.key, nat, address)) {
        Some(ports) => ports.taken.get(),
        None => 0,
    }
}

/// The key under which the ports for packets like this are counted.
#[inline(always)]
fn key_of(sent: &FlowKey, nat: u64, address: [u8; 4]) -> NatPortsKey {
    let has_port = sent.protocol != protocol::ICMP;
    NatPortsKey {
        nat,
        address,
        target: counted(&sent.target),
        port: if has_port {
            sent.target_port
        } else {
            Be16::new(0)
        },
        protocol: sent.protocol,
        pad: [0; 5],
    }
}

/// An address as ports are counted by it. Two of IPv6 may look the same, and then share their ports.
#[inline(always)]
const fn counted(address: &Addr) -> [u8; 4] {
    if address.is_v4() {
        address.v4_octets()
    } else {
        address.folded().to_ne_bytes()
    }
}

/// A number that looks random, the same for the same connection.
#[inline(never)]
fn hash(key: &FlowKey) -> u64 {
    let (s, t) = (counted(&key.source), counted(&key.target));
    let addresses = u64::from_be_bytes([s[0], s[1], s[2], s[3], t[0], t[1], t[2], t[3]]);
    let (p, q) = (key.source_port.bytes(), key.target_port.bytes());
    let ports = u64::from_be_bytes([0, 0, 0, key.protocol, p[0], p[1], q[0], q[1]]);
    mixed(mixed(addresses).wrapping_add(ports))
}

/// A step of a 64-bit finalizer (the multiplier is MurmurHash3's): each bit changes all.
#[inline(always)]
pub(crate) const fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^ word >> 33
}

/// Finds a port for a new connection: the one it had, if it begins anew, or one that no other connection
/// to the same destination has. `record` is the entry for its answers; it is added.
///
/// A TCP packet that opens nothing has no connection to begin: the gateway has forgotten it, or never knew.
#[inline(never)]
pub(crate) fn take_port<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    if !scratch.journey.needs_port {
        return Ok(());
    }
    if scratch.packet.protocol == protocol::TCP && !scratch.packet.opens_tcp() {
        return Err(Reason::NatReset);
    }
    nat_count::make(tables, scratch.journey.via);
    if has_port_before(tables, scratch) {
        return Ok(());
    }
    note_attempt(tables, scratch);
    reserve(tables, scratch, PORTS_MAX)?;
    let found = find_port(tables, scratch);
    if found.is_err() {
        give_back(tables, scratch);
    }
    found
}

/// Counts a port as taken, for an entry of answers that was lost and is made again.
#[inline(never)]
pub(crate) fn take_again<T: Tables>(tables: &T, scratch: &mut Scratch) {
    // With as many as there are numbers there is always one more.
    let _ = reserve(tables, scratch, i64::MAX as u64);
    if scratch.record.flags & flag::UNCOUNTED_PORT != 0
        && let Some(answers) = tables.flow(&scratch.answer)
    {
        tables.set(&answers.flags, flag::UNCOUNTED_PORT);
    }
}

/// Counts a port as taken, if less than `most` are.
///
/// Where somebody has filled the table of counts with destinations the port is not counted, and `record`
/// says so: that table then bars nobody, and the flow table, in which each instance has its share, is what
/// bounds them. The worst is that towards a destination that came since all 64,512 ports can be taken.
///
/// The agent removes counts of zero that nothing has changed for a minute. A port that is taken in the
/// microsecond of that is not counted, and one connection more than AWS allows may then be open to this
/// destination; when it ends the count is one less than none until the next minute without connections.
#[inline(never)]
fn reserve<T: Tables>(tables: &T, scratch: &mut Scratch, most: u64) -> Result<(), Reason> {
    if is_exhausted(tables, scratch.journey.via) && most == PORTS_MAX {
        return Err(Reason::NatPortAllocation);
    }
    let key = key_of_journey(scratch);
    if tables.nat_ports(&key).is_none() {
        tables.insert_nat_ports(&key);
    }
    match tables.nat_ports(&key) {
        Some(ports) => {
            let before = tables.fetch_add(&ports.taken, 1);
            if is_at_least(before, most) {
                tables.add(&ports.taken, ONE_LESS);
                return Err(Reason::NatPortAllocation);
            }
            ports.taken_ns.set(scratch.now_ns);
        }
        None => scratch.record.flags |= flag::UNCOUNTED_PORT,
    }
    if scratch.key.protocol == protocol::TCP {
        nat_count::add_active(tables, key.nat, 1);
    }
    Ok(())
}

/// The key under which the ports for a new connection are counted: of a load balancer's node towards the
/// target that it chose.
#[inline(never)]
fn key_of_journey(scratch: &Scratch) -> NatPortsKey {
    let journey = &scratch.journey;
    let mut sent = scratch.key;
    if journey.is_balanced {
        sent.target = journey.target;
        sent.target_port = journey.target_port;
    }
    key_of(&sent, journey.via, counted(&journey.source))
}

/// Whether an injected fault leaves a NAT gateway no ports.
#[inline(always)]
fn is_exhausted<T: Tables>(tables: &T, nat: u64) -> bool {
    match tables.nat(nat) {
        Some(nat) => nat.flags & NatRecord::EXHAUSTED != 0,
        None => false,
    }
}

/// Undoes a reservation.
#[inline(never)]
fn give_back<T: Tables>(tables: &T, scratch: &Scratch) {
    let key = key_of_journey(scratch);
    count_down(tables, &key, scratch.record.flags);
}

#[inline(never)]
fn count_down<T: Tables>(tables: &T, key: &NatPortsKey, flags: u64) {
    if flags & flag::UNCOUNTED_PORT == 0
        && let Some(ports) = tables.nat_ports(key)
    {
        tables.add(&ports.taken, ONE_LESS);
    }
    if key.protocol == protocol::TCP {
        nat_count::add_active(tables, key.nat, ONE_LESS);
    }
}

/// Frees the port that an entry of answers holds, if it holds one; the entry is about to be removed, or to
/// be something else. `is_idle`: nothing else has ended it.
#[inline(never)]
pub(crate) fn let_go<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry, is_idle: bool) {
    let flags = entry.flags.get();
    if flags & flag::HOLDS_PORT == 0 {
        return;
    }
    // What answers go on as comes from where the connection goes to; of a load balancer's the answers
    // themselves do.
    let new = entry.translation(key);
    let (target, target_port) = if flags & flag::BALANCED != 0 {
        (key.source, key.source_port)
    } else {
        (new.source, new.source_port)
    };
    let sent = FlowKey {
        target,
        target_port,
        ..*key
    };
    let ports = key_of(&sent, entry.via.get(), counted(&key.target));
    count_down(tables, &ports, flags);
    if is_idle {
        note_idle(tables, key, entry);
    }
}

/// Counts a TCP connection that was open, and that nobody closed.
#[inline(always)]
fn note_idle<T: Tables>(tables: &T, key: &FlowKey, entry: &FlowEntry) {
    let was_open = entry.packets_of_connection() != 0
        && entry.flags.get() & (flag::CLOSING | flag::ENDED) == 0;
    if key.protocol == protocol::TCP && was_open {
        nat_count::add_idle(tables, entry.via.get());
    }
}

/// Counts a TCP connection that begins. What begins at a load balancer's node counts when it has all it needs.
#[inline(always)]
fn note_attempt<T: Tables>(tables: &T, scratch: &Scratch) {
    if scratch.key.protocol == protocol::TCP && !scratch.journey.is_balanced {
        nat_count::add_attempt(tables, scratch.journey.via);
    }
}

/// Added to a word it is one less.
const ONE_LESS: u64 = u64::MAX;

#[inline(never)]
fn find_port<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let start = hash(&scratch.key);
    let first = if scratch.journey.is_balanced {
        u32::from(balancer::FIRST_PORT)
    } else {
        FIRST_PORT
    };
    // Once: only the port of the key changes, and the kernel's verifier walks the loop 128 times.
    find_answer(scratch);
    if !scratch.has_answer {
        return Err(Reason::NatProtocol);
    }
    // Each connection has a step of its own. With one for all, those that meet go on together, ports that are
    // taken lie in long rows, and 128 tries fail long before the 55,000th connection.
    let step = (start >> 32) as u32 | 1;
    for attempt in 0..TRIES {
        #[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash")]
        let random = (start as u32).wrapping_add(attempt.wrapping_mul(step));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a 16-bit remainder and offset"
        )]
        let port = (first + random % (65_536 - first)) as u16;
        scratch.journey.source_port = Be16::new(port);
        scratch.answer.put_answered_port(Be16::new(port));
        if room::insert(tables, &scratch.answer, &scratch.record) {
            return Ok(());
        }
        if tables.flow(&scratch.answer).is_none() {
            return Err(Reason::FlowTableFull);
        }
    }
    Err(Reason::NatPortAllocation)
}

/// Takes the port of the connection that was on the same addresses and ports before, if its answers
/// still have their entry.
#[inline(never)]
fn has_port_before<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let Some(entry) = tables.flow(&scratch.key) else {
        return false;
    };
    let before = entry.translation(&scratch.key);
    let is_same = entry.flags.get() & flag::TRANSLATED != 0
        && entry.via.get() == scratch.journey.via
        && before.source == scratch.journey.source;
    if !is_same {
        return false;
    }
    scratch.journey.source_port = before.source_port;
    find_answer(scratch);
    let Some(answers) = tables.flow(&scratch.answer) else {
        return false;
    };
    let is_its_own = answers.flags.get() & flag::HOLDS_PORT != 0
        && answers.target_ifindex.get() == scratch.record.target_ifindex
        && answers.new_addresses.get() == scratch.record.new_addresses
        && answers.new_ports.get() == scratch.record.new_ports;
    if !is_its_own {
        return false;
    }
    let is_over = has_ended(tables, &scratch.key, &entry, scratch.now_ns);
    if is_over {
        note_idle(tables, &scratch.answer, &answers);
    }
    // Otherwise the packet that opens it is sent again, as nothing has answered yet.
    scratch.record.flags |= answers.flags.get() & flag::UNCOUNTED_PORT;
    if is_over || answers.packets_of_connection() != 0 {
        note_attempt(tables, scratch);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{A, Gate, World};
    use crate::ledger_wide::{NAT, NAT_PUBLIC, X, wide};
    use crate::table::protocol;

    /// Takes a port for the connection with this number, from one of 2^24 addresses to X's port 53.
    fn take(world: &World, number: u32, address: Addr) -> Result<u16, Reason> {
        let [_, a, b, c] = number.to_be_bytes();
        let key = FlowKey {
            ifindex: 1,
            protocol: protocol::UDP,
            source: Addr::v4([10, a, b, c]),
            target: X,
            source_port: Be16::new(1000),
            target_port: Be16::new(53),
            pad: [0; 3],
        };
        let mut scratch = Scratch::new();
        scratch.key = key;
        scratch.packet.source = key.source;
        scratch.packet.target = X;
        scratch.source_eni = A;
        let journey = &mut scratch.journey;
        (journey.source, journey.target) = (address, X);
        (journey.target_port, journey.ifindex) = (key.target_port, 99);
        (journey.via, journey.needs_port) = (NAT, true);
        crate::stage::act::prepare_answers(&mut scratch);
        take_port(&world.memory, &mut scratch)?;
        Ok(scratch.journey.source_port.value())
    }

    #[test]
    fn each_address_has_55_000_ports_to_a_destination_and_no_more() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        let mut ports = std::collections::BTreeSet::new();
        for number in 0..55_000 {
            ports.insert(take(&world, number, NAT_PUBLIC).expect("a port"));
        }
        assert_eq!(ports.len(), 55_000);
        assert!(ports.first() >= Some(&1024));
        for number in 55_000..55_100 {
            let refused = take(&world, number, NAT_PUBLIC);
            assert_eq!(refused, Err(Reason::NatPortAllocation));
        }
        let taken: Vec<u64> = world.memory.ports().values().map(|it| it.taken).collect();
        assert_eq!(taken, [55_000]);
        // New connections choose the gateway's other address.
        let record = world.memory.tables.nats.get_mut(&NAT).expect("the gateway");
        record.count = 2;
        record.private[1] = [10, 0, 2, 6];
        record.public[1] = [198, 18, 0, 51];
        let mut scratch = Scratch::new();
        for number in 0..20 {
            scratch.key = FlowKey {
                protocol: protocol::UDP,
                source: Addr::v4([10, 9, 9, number]),
                target: X,
                target_port: Be16::new(53),
                ..FlowKey::default()
            };
            assert_eq!(choose(&world.memory, &scratch, record_of(&world), NAT), 1);
        }
        // To another port of the same destination both are free.
        scratch.key.target_port = Be16::new(54);
        let chosen: std::collections::BTreeSet<usize> = (0..20)
            .map(|port| {
                scratch.key.source_port = Be16::new(port);
                choose(&world.memory, &scratch, record_of(&world), NAT)
            })
            .collect();
        assert_eq!(chosen.len(), 2);
        // One that ends makes room for one.
        let flows = world.memory.flows();
        let (key, _) = flows.first_key_value().expect("a flow");
        let order = crate::release::ReleaseOrder {
            key: *key,
            is_lost: true,
        };
        assert!(crate::release::release(&world.memory, &order, 0));
        assert!(take(&world, 60_000, NAT_PUBLIC).is_ok());
        assert!(take(&world, 60_001, NAT_PUBLIC).is_err());
    }

    #[test]
    fn an_address_on_its_way_out_gets_no_new_connections() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        let record = world.memory.tables.nats.get_mut(&NAT).expect("the gateway");
        record.count = 3;
        record.draining = 0b10;
        let mut scratch = Scratch::new();
        let chosen: std::collections::BTreeSet<usize> = (0..50)
            .map(|port| {
                scratch.key.source_port = Be16::new(port);
                choose(&world.memory, &scratch, record_of(&world), NAT)
            })
            .collect();
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_full_table_of_counts_bars_nobody() {
        let mut world = wide(Gate::Everybody, Gate::Closed);
        world.memory.nat_ports_max = 1;
        assert!(take(&world, 1, NAT_PUBLIC).is_ok());
        let taken = || -> Vec<u64> { world.memory.ports().values().map(|it| it.taken).collect() };
        assert_eq!(taken(), [1]);
        // By another address: for its counts there is no room.
        let other = Addr::v4([198, 18, 0, 99]);
        assert!(take(&world, 2, other).is_ok());
        assert!(take(&world, 3, NAT_PUBLIC).is_ok());
        assert_eq!(taken(), [2]);
        let end = |is_uncounted: bool| {
            let flows = world.memory.flows();
            let mut found = flows
                .into_iter()
                .filter(|(_, flow)| (flow.flags & flag::UNCOUNTED_PORT != 0) == is_uncounted);
            let (key, _) = found.next().expect("a flow");
            let order = crate::release::ReleaseOrder { key, is_lost: true };
            assert!(crate::release::release(&world.memory, &order, 0));
        };
        // What was not counted is not counted down.
        end(true);
        assert_eq!(taken(), [2]);
        end(false);
        assert_eq!(taken(), [1]);
    }

    fn record_of(world: &World) -> &NatRecord {
        &world.memory.tables.nats[&NAT]
    }
}
