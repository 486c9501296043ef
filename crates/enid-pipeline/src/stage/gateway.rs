//! Internet gateways: what goes to the outside, what comes from there, and what turns around on the way.
//!
//! An IPv4 address is translated one to one: outside, an ENI has its public address and no other. IPv6
//! addresses are the same on both sides. A packet to a public address of this installation does not go
//! out: it comes back in to whoever has the address, with the sender's public address, and no security
//! group is recognised by it.

use crate::{
    Scratch,
    bytes::{Addr, MacPair},
    journey::Journey,
    owner::{owner, pool},
    reason::Reason,
    table::{EndpointKey, OUTSIDE, Pool},
    tables::Tables,
};

/// Leaves a VPC by its internet gateway.
#[inline(never)]
pub(crate) fn out<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    if journey.source.is_v4() {
        if journey.via != 0 {
            // A private NAT gateway sends nothing to the internet.
            if journey.nat_public == Addr::UNSPECIFIED {
                return Err(Reason::NatRoute);
            }
            journey.source = journey.nat_public;
        } else {
            journey.source = public_of(tables, journey)?;
        }
    } else {
        let block = pool(tables, &journey.source).ok_or(Reason::NoPublicAddress)?;
        if block.vpc != journey.vpc || block.flags & Pool::INTERNET_GATEWAY == 0 {
            return Err(Reason::NoPublicAddress);
        }
    }
    beyond(tables, scratch)
}

#[inline(never)]
fn public_of<T: Tables>(tables: &T, journey: &Journey) -> Result<Addr, Reason> {
    let key = EndpointKey {
        vpc: journey.vpc,
        addr: journey.source,
    };
    match tables.public_of(&key) {
        Some(public) => Ok(public.addr),
        None => Err(Reason::NoPublicAddress),
    }
}

/// Leaves a VPC by its egress-only internet gateway.
#[inline(never)]
pub(crate) fn egress_only<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &scratch.journey;
    if journey.source.is_v4() {
        return Err(Reason::NoRoute);
    }
    if owner(tables, journey.vpc, &journey.source) == 0 {
        return Err(Reason::NoPublicAddress);
    }
    beyond(tables, scratch)
}

/// Finds the way of a packet that comes from the outside.
#[inline(never)]
pub(crate) fn from_outside<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    scratch.journey.begin(&scratch.packet, 0, 0);
    if scratch.packet.source.is_no_source() || scratch.packet.source.is_link_local() {
        return Err(Reason::SourceAddress);
    }
    if pool(tables, &scratch.packet.source).is_some_and(|pool| pool.flags & Pool::HOST == 0) {
        return Err(Reason::OutsideSource);
    }
    beyond(tables, scratch)
}

/// Goes on from the internet: in again to a VPC of this installation, or to the outside.
#[inline(never)]
fn beyond<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let journey = &mut scratch.journey;
    journey.vpc = 0;
    journey.subnet = 0;
    journey.is_member = false;
    if let Some(public) = tables.public(&journey.target) {
        journey.vpc = public.vpc;
        journey.target = public.private;
        journey.eni = public.eni;
        return Ok(());
    }
    match pool(tables, &journey.target) {
        Some(block) if block.flags & Pool::HOST == 0 => {
            if block.vpc == 0 {
                return Err(Reason::UnassignedAddress);
            }
            // Answers come in by an egress-only gateway as well.
            let is_let_in =
                block.flags & Pool::INTERNET_GATEWAY != 0 || scratch.carried.is_answer();
            if !is_let_in {
                return Err(Reason::NoInternetGateway);
            }
            journey.vpc = block.vpc;
            journey.eni = owner(tables, block.vpc, &journey.target);
            if journey.eni == 0 {
                return Err(Reason::UnassignedAddress);
            }
            Ok(())
        }
        // What comes from the outside is not sent back there.
        _ if scratch.source_eni == OUTSIDE => Err(Reason::NoRoute),
        _ => {
            let outside = tables.outside().ok_or(Reason::NoOutside)?;
            journey.eni = OUTSIDE;
            journey.is_to_outside = true;
            journey.ifindex = outside.ifindex;
            journey.hop.leaves = MacPair::new(outside.far_mac, outside.near_mac);
            Ok(())
        }
    }
}
