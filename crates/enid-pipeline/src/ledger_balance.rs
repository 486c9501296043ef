//! The ledger's wide world with a load balancer.
//!
//! ```text
//!   VPC 1, subnet 11   A 10.0.0.10, a client      B 10.0.0.20, a target
//!   VPC 1, subnet 12   D 10.0.1.30, a target
//!   VPC 1, subnet 13   the node 10.0.2.9 = 198.18.0.90 (interface 90), TCP 80 and UDP 53 to port 8080
//! ```

use crate::{
    balancer::{
        CHUNK, ListenerKey, ListenerRecord, Member, MemberKey, SHARES_MAX, SLOTS, Share, Slots,
        SlotsKey, TargetKey, TargetRecord,
    },
    bytes::{Addr, Be16},
    ledger::{A, Gate, World, device, mac},
    ledger_wide::{ALL, E, GATEWAY, add_route, wide, wide_addr},
    packet_builder::Transport,
    table::{Endpoint, EndpointKey, EniRecord, MacKey, PublicOf, PublicRecord, Route, protocol},
};

/// The node's interface.
pub(crate) const NODE: u64 = 90;
/// Its addresses.
pub(crate) const NODE_PRIVATE: Addr = Addr::v4([10, 0, 2, 9]);
pub(crate) const NODE_PUBLIC: Addr = Addr::v4([198, 18, 0, 90]);
/// The target group, and the port of its targets.
pub(crate) const GROUP: u64 = 91;
pub(crate) const PORT: u16 = 8080;

/// The world, where these are the targets. The node's subnet and X's routes lead to the internet.
pub(crate) fn balanced(targets: &[u64], flags: u32) -> World {
    let mut world = wide(Gate::Everybody, Gate::Everybody);
    let tables = &mut world.memory.tables;
    let node = EniRecord {
        subnet: 13,
        policy: NODE,
        instance: 0,
        ifindex: device(NODE),
        mac: mac(NODE),
        flags: EniRecord::BALANCER | EniRecord::SOURCE_DEST_CHECK | EniRecord::PUBLIC,
        ..tables.enis[&A]
    };
    tables.enis.insert(NODE, node);
    tables.devices.insert(device(NODE), NODE);
    let key = EndpointKey {
        vpc: 1,
        addr: NODE_PRIVATE,
    };
    let endpoint = Endpoint { eni: NODE };
    tables.endpoints.insert(key, endpoint);
    let own = MacKey {
        vpc: 1,
        mac: mac(NODE),
        pad: [0; 2],
    };
    tables.macs.insert(own, endpoint);
    let record = PublicRecord {
        vpc: 1,
        eni: NODE,
        private: NODE_PRIVATE,
        edge: 0,
    };
    tables.publics.insert(NODE_PUBLIC, record);
    tables.public_of.insert(key, PublicOf { addr: NODE_PUBLIC });
    add_route(&mut world, 13, ALL, Route::INTERNET_GATEWAY, GATEWAY);
    set_targets(&mut world, 1, targets, flags);
    world
}

/// Gives the group these targets, under the table with this id.
pub(crate) fn set_targets(world: &mut World, table: u64, targets: &[u64], flags: u32) {
    let tables = &mut world.memory.tables;
    for (number, target) in (0..).zip(targets) {
        let record = TargetRecord {
            vpc: if *target == E { 3 } else { 1 },
            address: wide_addr(*target),
            port: Be16::new(PORT),
            pad: [0; 6],
        };
        let key = TargetKey {
            table,
            number,
            pad: 0,
        };
        tables.balancer_targets.insert(key, record);
        tables
            .balancer_members
            .insert(member(*target), Member { flags: 0 });
    }
    let count = u32::try_from(targets.len()).expect("few targets");
    for chunk in 0..SLOTS.div_ceil(CHUNK) {
        let mut slots = Slots([0; CHUNK as usize]);
        for (slot, number) in slots.0.iter_mut().zip(chunk * CHUNK..) {
            *slot = u16::try_from(number % count.max(1)).expect("few targets");
        }
        let key = SlotsKey {
            table,
            chunk,
            pad: 0,
        };
        tables.balancer_slots.insert(key, slots);
    }
    let mut shares = [Share::default(); SHARES_MAX];
    shares[0] = Share {
        group: GROUP,
        table: if targets.is_empty() { 0 } else { table },
        below: 1,
        flags,
    };
    let record = ListenerRecord {
        shares,
        count: 1,
        weights: 1,
        idle_s: 350,
        flags: 0,
        address: NODE_PRIVATE,
    };
    for key in [listener(80, protocol::TCP), listener(53, protocol::UDP)] {
        tables.listeners.insert(key, record);
    }
    world.memory.generation += 1;
}

/// Changes both listeners.
pub(crate) fn change_listeners(world: &mut World, change: impl Fn(&mut ListenerRecord)) {
    for record in world.memory.tables.listeners.values_mut() {
        change(record);
    }
    world.memory.generation += 1;
}

/// Says that the flows of a target end.
pub(crate) fn end_flows_of(world: &mut World, target: u64) {
    let ends = Member {
        flags: Member::ENDS,
    };
    world
        .memory
        .tables
        .balancer_members
        .insert(member(target), ends);
    world.memory.generation += 1;
}

pub(crate) fn listener(port: u16, number: u8) -> ListenerKey {
    ListenerKey {
        node: NODE,
        port: Be16::new(port),
        protocol: number,
        is_v6: 0,
        pad: [0; 4],
    }
}

fn member(target: u64) -> MemberKey {
    MemberKey {
        group: GROUP,
        address: wide_addr(target),
        port: Be16::new(PORT),
        pad: [0; 6],
    }
}

/// What the group's targets get of a packet from a port of a client's.
pub(crate) fn asks_target(from: u16) -> Transport {
    Transport::Udp { from, to: PORT }
}

/// What they answer.
pub(crate) fn target_answers(to: u16) -> Transport {
    Transport::Udp { from: PORT, to }
}
