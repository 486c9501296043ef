//! Route: which ENI gets the packet, and with which MAC addresses.
//!
//! Inside a subnet packets go from MAC to MAC or through the router, and no route table is asked.
//! Between subnets they go to the router's MAC, and the source subnet's route table decides. The
//! virtual router does not show: the TTL stays.

use crate::{
    bytes::{Addr, MacPair},
    packet::Packet,
    reason::Reason,
    stage::spoof_guard::{Source, owner},
    table::{ADDR_BITS, EniRecord, Route, RouteKey, SubnetRecord, trie_id},
    tables::Tables,
};

/// The ENI that has the destination address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote<'a> {
    pub(crate) eni: u64,
    pub(crate) record: &'a EniRecord,
}

/// Where a packet goes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Hop {
    /// MAC addresses that the frame goes on with.
    pub(crate) leaves: MacPair,
    /// MAC addresses that answers are expected with, and go on with.
    pub(crate) answer_arrives: MacPair,
    pub(crate) answer_leaves: MacPair,
}

/// The ENI of the VPC that has the destination address, if one has: known before the egress gate,
/// because the gate asks for its security groups.
#[inline(always)]
pub(crate) fn remote<'a, T: Tables>(
    tables: &'a T,
    source: &EniRecord,
    packet: &Packet,
) -> Result<Option<Remote<'a>>, Reason> {
    let eni = owner(tables, source.vpc, &packet.target);
    if eni == 0 {
        return Ok(None);
    }
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    Ok(Some(Remote { eni, record }))
}

/// Checks the way to the destination and finds its MAC addresses.
#[inline(always)]
pub(crate) fn route<'a, T: Tables>(
    tables: &'a T,
    source: &Source<'_>,
    remote: Option<Remote<'a>>,
    packet: &Packet,
    hop: &mut Hop,
) -> Result<Remote<'a>, Reason> {
    let subnet = tables
        .subnet(source.record.subnet)
        .ok_or(Reason::Incomplete)?;
    let is_to_router = packet.macs.destination() == subnet.router_mac;
    let Some(target) = remote else {
        return Err(nobody(tables, subnet, packet, is_to_router));
    };
    if target.eni == source.eni {
        return Err(Reason::OwnAddress);
    }
    *hop = if target.record.subnet == source.record.subnet {
        // The address decides, not the MAC: after an address has moved, a neighbour's ARP cache keeps
        // the MAC of the interface that had it before, for half a minute and more.
        if packet.macs.destination().is_group() {
            return Err(Reason::DestinationMac);
        }
        let sender = if is_to_router {
            subnet.router_mac
        } else {
            source.record.mac
        };
        Hop {
            leaves: MacPair::new(target.record.mac, sender),
            answer_arrives: MacPair::new(source.record.mac, target.record.mac),
            answer_leaves: MacPair::new(source.record.mac, target.record.mac),
        }
    } else {
        if !is_to_router {
            return Err(Reason::DestinationMac);
        }
        local_route(tables, subnet.route_table, &packet.target)?;
        let beyond = tables
            .subnet(target.record.subnet)
            .ok_or(Reason::Incomplete)?;
        Hop {
            leaves: MacPair::new(target.record.mac, beyond.router_mac),
            answer_arrives: MacPair::new(beyond.router_mac, target.record.mac),
            answer_leaves: MacPair::new(source.record.mac, subnet.router_mac),
        }
    };
    if target.record.ifindex == 0 {
        return Err(Reason::TargetDown);
    }
    Ok(target)
}

/// The route table's longest prefix must be the VPC's local route.
#[inline(never)]
fn local_route<T: Tables>(tables: &T, route_table: u64, target: &Addr) -> Result<(), Reason> {
    let key = RouteKey {
        prefix_len: ADDR_BITS,
        table: trie_id(route_table),
        addr: *target,
    };
    match tables.route(&key) {
        Some(route) if route.kind == Route::LOCAL => Ok(()),
        // Fail closed: a kind that this program does not know is no way at all.
        _ => Err(Reason::NoRoute),
    }
}

/// Why a packet to an address that no ENI has goes nowhere.
#[inline(always)]
fn nobody<T: Tables>(
    tables: &T,
    subnet: &SubnetRecord,
    packet: &Packet,
    is_to_router: bool,
) -> Reason {
    if packet.target == subnet.router {
        Reason::RouterAddress
    } else if packet.target.is_link_local() {
        Reason::LinkLocal
    } else if !is_to_router {
        Reason::DestinationMac
    } else if let Err(reason) = local_route(tables, subnet.route_table, &packet.target) {
        reason
    } else {
        Reason::NoEndpoint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Mac;
    use crate::ledger::{A, B, Change, D, Gate, World, addr, mac, packet, query, router_mac};

    fn open() -> World {
        World::new(Gate::Everybody, Gate::Everybody)
    }

    #[test]
    fn the_router_rewrites_both_macs_and_leaves_the_ttl() {
        let world = open();
        let packet = packet(A, D, query());
        let mut frame = packet.frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(frame[..6], mac(D).0);
        assert_eq!(frame[6..12], router_mac(12).0);
        assert_eq!(frame[14..], packet.frame()[14..]);
    }

    #[test]
    fn another_subnet_is_reached_through_the_router_only() {
        let world = open();
        let mut straight = packet(A, D, query());
        straight.to_mac = mac(D);
        let _ = world.send(
            A,
            &mut straight.frame(),
            &Change::dropped(Reason::DestinationMac),
        );
    }

    #[test]
    fn inside_a_subnet_the_address_decides_and_not_an_old_mac() {
        let world = open();
        let mut old = packet(A, B, query());
        old.to_mac = Mac([2, 9, 9, 9, 9, 9]);
        let mut frame = old.frame();
        let _ = world.send(A, &mut frame, &Change::opened(2, 28));
        assert_eq!(frame[..6], mac(B).0);
        assert_eq!(frame[6..12], mac(A).0);

        let world = open();
        let mut everybody = packet(A, B, query());
        everybody.to_mac = Mac([0xff; 6]);
        let _ = world.send(
            A,
            &mut everybody.frame(),
            &Change::dropped(Reason::DestinationMac),
        );
    }

    #[test]
    fn without_a_route_other_subnets_are_out_of_reach() {
        let mut world = open();
        world.memory.tables.routes.clear();
        world.drops(A, D, query(), Reason::NoRoute);
        world.passes(A, B, query(), 2);
    }

    #[test]
    fn each_address_that_nobody_has_says_why() {
        let world = open();
        for (target, reason) in [
            ([10, 0, 0, 1], Reason::RouterAddress),
            ([10, 0, 0, 99], Reason::NoEndpoint),
            ([8, 8, 8, 8], Reason::NoRoute),
            ([169, 254, 169, 254], Reason::LinkLocal),
        ] {
            let mut packet = packet(A, B, query());
            packet.target = Addr::v4(target);
            packet.to_mac = router_mac(11);
            let _ = world.send(A, &mut packet.frame(), &Change::dropped(reason));
        }
        let mut own = packet(A, A, query());
        own.to_mac = router_mac(11);
        assert_eq!(own.target, addr(A));
        let _ = world.send(A, &mut own.frame(), &Change::dropped(Reason::OwnAddress));
    }

    #[test]
    fn an_eni_without_a_device_is_not_reached() {
        let mut world = open();
        world.change_eni(B, |eni| eni.ifindex = 0);
        world.drops(A, B, query(), Reason::TargetDown);
        world.change_eni(B, |eni| eni.ifindex = 2);
        world.passes(A, B, query(), 2);
    }
}
