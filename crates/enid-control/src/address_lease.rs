//! Private addresses: which ones a request wants, which are free, and claiming them.
//!
//! A claim is a record whose key is the subnet and the address, created only if it is absent: no
//! two interfaces ever hold one address. A delegated prefix is a claim of each of its addresses.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use enid_model::id::{EniId, SubnetId};
use enid_model::key::Kind;
use enid_model::state::{RegionState, lease_name};
use enid_model::subnet::{AddressLease, ReservationKind, Subnet};
use ipnet::Ipv4Net;

use crate::subnet::available_addresses;
use crate::subnet_cidr_reservation::reserved_ipv4;
use crate::vpc_cidr_block::overlap;
use crate::{AddressingError, Draft, Error};

/// The private addresses that a request wants for a new interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedAddresses {
    /// The primary one; chosen automatically when absent.
    pub primary: Option<Ipv4Addr>,
    /// A list in which at most one is marked as primary.
    pub listed: Vec<ListedAddress>,
    /// How many secondary ones to choose; excludes the list, as the next two do.
    pub secondary_count: Option<u32>,
    /// Prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// How many prefixes to choose.
    pub prefix_count: Option<u32>,
}

/// An address in a request's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether it shall be the primary one.
    pub primary: bool,
}

/// What a request's wishes come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) primary: Option<Ipv4Addr>,
    pub(crate) secondary: Vec<Ipv4Addr>,
    /// How many more secondary addresses to choose.
    pub(crate) automatic: u32,
    pub(crate) prefixes: Vec<Ipv4Net>,
    /// How many more prefixes to choose.
    pub(crate) automatic_prefixes: u32,
}

impl Wish {
    /// How many slots of the interface it takes: one for each address and each prefix.
    pub(crate) fn slots(&self) -> usize {
        self.addresses().saturating_add(self.prefix_count())
    }

    /// How many addresses of the subnet it takes.
    pub(crate) fn size(&self) -> usize {
        let in_prefixes = self.prefix_count().saturating_mul(PREFIX_SIZE);
        self.addresses().saturating_add(in_prefixes)
    }

    fn addresses(&self) -> usize {
        let automatic = usize::try_from(self.automatic).unwrap_or(usize::MAX);
        (1 + self.secondary.len()).saturating_add(automatic)
    }

    /// How many prefixes it asks for.
    pub(crate) fn prefix_count(&self) -> usize {
        let automatic = usize::try_from(self.automatic_prefixes).unwrap_or(usize::MAX);
        self.prefixes.len().saturating_add(automatic)
    }

    /// Whether it names any address, so that it can be fulfilled only once.
    pub(crate) fn names_an_address(&self) -> bool {
        self.primary.is_some() || !self.secondary.is_empty() || !self.prefixes.is_empty()
    }
}

impl WantedAddresses {
    /// Checks that the wishes go together.
    pub(crate) fn resolve(&self) -> Result<Wish, Error> {
        if !self.listed.is_empty() && self.secondary_count.is_some() {
            return Err(Error::AddressListAndCount);
        }
        let mut primary = self.primary;
        let mut secondary = Vec::new();
        for listed in &self.listed {
            if listed.primary {
                // The same address may be named both ways, two different ones not.
                if primary.is_some_and(|known| known != listed.address) {
                    return Err(Error::SeveralPrimaryAddresses);
                }
                primary = Some(listed.address);
            } else {
                secondary.push(listed.address);
            }
        }
        secondary.retain(|address| Some(*address) != self.primary);
        let kinds = [
            !secondary.is_empty(),
            is_some(self.secondary_count),
            !self.prefixes.is_empty(),
            is_some(self.prefix_count),
        ];
        if kinds.into_iter().filter(|present| *present).count() > 1 {
            return Err(AddressingError::AddressKindsMixed.into());
        }
        let mut seen: BTreeSet<Ipv4Addr> = primary.into_iter().collect();
        if let Some(address) = secondary.iter().find(|address| !seen.insert(**address)) {
            return Err(Error::AddressNamedTwice { address: *address });
        }
        Ok(Wish {
            primary,
            secondary,
            automatic: self.secondary_count.unwrap_or(0),
            prefixes: self.prefixes.clone(),
            automatic_prefixes: self.prefix_count.unwrap_or(0),
        })
    }
}

/// Whether a number asks for anything.
pub(crate) fn is_some(count: Option<u32>) -> bool {
    count.is_some_and(|count| count > 0)
}

/// Reads a client's text as an IPv4 address.
pub fn parse_address(text: &str) -> Result<Ipv4Addr, Error> {
    text.parse()
        .map_err(|_unread| Error::AddressMalformed { text: text.into() })
}

/// The claims that one operation makes. Those of its draft are not yet in the region's state, so
/// an operation that claims several addresses keeps one of these.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    made: BTreeSet<(SubnetId, Ipv4Addr)>,
    /// See [`crate::ipv6_lease`].
    pub(crate) made_ipv6: BTreeSet<(SubnetId, Ipv6Addr)>,
    pub(crate) made_ipv6_prefixes: BTreeSet<(SubnetId, Ipv6Addr)>,
}

impl Claims {
    /// Claims all the addresses and prefixes of a wish; the first address is the primary one.
    pub(crate) fn fulfil(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        wish: &Wish,
        eni: EniId,
    ) -> Result<(Vec<Ipv4Addr>, Vec<Ipv4Net>), Error> {
        // Named addresses first, so that no chosen one stands in their way.
        for address in wish.primary.iter().chain(&wish.secondary) {
            self.take(draft, subnet, *address, eni)?;
        }
        let mut prefixes = wish.prefixes.clone();
        for prefix in &prefixes {
            self.take_prefix(draft, subnet, *prefix, eni)?;
        }
        for _ in 0..wish.automatic_prefixes {
            prefixes.push(self.choose_prefix(draft, subnet, eni)?);
        }
        let mut addresses = Vec::with_capacity(wish.addresses());
        addresses.push(match wish.primary {
            Some(address) => address,
            None => self.choose(draft, subnet, eni)?,
        });
        addresses.extend(&wish.secondary);
        for _ in 0..wish.automatic {
            addresses.push(self.choose(draft, subnet, eni)?);
        }
        Ok((addresses, prefixes))
    }

    /// Claims a named address.
    pub(crate) fn take(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        address: Ipv4Addr,
        eni: EniId,
    ) -> Result<(), Error> {
        check_in_subnet(subnet, address)?;
        if !self.is_free(&draft.region, subnet, address) {
            return Err(Error::AddressInUse { address });
        }
        self.claim(draft, subnet, address, eni);
        Ok(())
    }

    /// Claims any free address: the next one from a random place on, so that operations at the
    /// same time seldom choose the same.
    pub(crate) fn choose(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        eni: EniId,
    ) -> Result<Ipv4Addr, Error> {
        let base = u32::from(subnet.cidr.network());
        let usable = subnet.capacity();
        let first = base + FIRST_USABLE;
        let start = u32::try_from(draft.random() % u64::from(usable.max(1))).unwrap_or(0);
        let (start, end) = (first + start, first + usable);
        let region = &draft.region;
        let reserved = reserved_ipv4(region, subnet.id);
        let found = self.free_in(region, subnet, &reserved, start..end);
        let found = found.or_else(|| self.free_in(region, subnet, &reserved, first..start));
        let address = found.ok_or(Error::InsufficientFreeAddresses)?;
        self.claim(draft, subnet, address, eni);
        Ok(address)
    }

    /// The first free address of a range that no reservation keeps. Leases are skipped by runs and
    /// reservations whole; only what this operation has claimed itself is gone through.
    fn free_in(
        &self,
        region: &RegionState,
        subnet: &Subnet,
        reserved: &[(Ipv4Net, ReservationKind)],
        range: Range<u32>,
    ) -> Option<Ipv4Addr> {
        let mut from = Ipv4Addr::from(range.start);
        loop {
            let address = region.next_unleased(subnet.id, from)?;
            if !range.contains(&u32::from(address)) {
                return None;
            }
            let mut keeping = reserved.iter().filter(|(cidr, _)| cidr.contains(&address));
            let last = match keeping.next() {
                Some((cidr, _)) => cidr.broadcast(),
                None if self.made.contains(&(subnet.id, address)) => address,
                None => return Some(address),
            };
            from = u32::from(last).checked_add(1)?.into();
        }
    }

    /// Claims a named prefix.
    pub(crate) fn take_prefix(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        prefix: Ipv4Net,
        eni: EniId,
    ) -> Result<(), Error> {
        check_prefix_in_subnet(subnet, prefix)?;
        if !self.is_free_prefix(&draft.region, subnet, prefix) {
            let prefix = prefix.into();
            return Err(AddressingError::PrefixInUse { prefix }.into());
        }
        self.claim_prefix(draft, subnet, prefix, eni);
        Ok(())
    }

    /// Claims any free prefix: of what is reserved for prefixes if anything is, else of what is not
    /// reserved.
    pub(crate) fn choose_prefix(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        eni: EniId,
    ) -> Result<Ipv4Net, Error> {
        let reserved = reserved_ipv4(&draft.region, subnet.id);
        let kept = reserved.iter();
        let mut kept: Vec<Ipv4Net> = kept
            .filter(|(_, kind)| *kind == ReservationKind::Prefix)
            .map(|(cidr, _)| *cidr)
            .collect();
        let is_kept = !kept.is_empty();
        if !is_kept {
            kept.push(subnet.cidr);
        }
        let avoided =
            |prefix: &Ipv4Net| !is_kept && reserved.iter().any(|(cidr, _)| overlap(*cidr, *prefix));
        // A reservation that is smaller than a prefix holds none.
        let all = kept.iter().flat_map(|cidr| cidr.subnets(IPV4_PREFIX));
        let all: Vec<Ipv4Net> = all.flatten().collect();
        let start = draft.random() % u64::try_from(all.len().max(1)).unwrap_or(1);
        let (before, after) = all.split_at(usize::try_from(start).unwrap_or(0));
        let found = after.iter().chain(before).find(|prefix| {
            !avoided(prefix)
                && check_prefix_in_subnet(subnet, **prefix).is_ok()
                && self.is_free_prefix(&draft.region, subnet, **prefix)
        });
        let Some(prefix) = found.copied() else {
            let free = usize::try_from(available_addresses(&draft.region, subnet));
            let made = self.made.iter().filter(|(of, _)| *of == subnet.id).count();
            let is_full = free.unwrap_or(0).saturating_sub(made) < PREFIX_SIZE;
            return Err(if is_full {
                AddressingError::InsufficientAddressesForPrefix.into()
            } else {
                AddressingError::InsufficientCidrBlocks.into()
            });
        };
        self.claim_prefix(draft, subnet, prefix, eni);
        Ok(prefix)
    }

    fn is_free_prefix(&self, region: &RegionState, subnet: &Subnet, prefix: Ipv4Net) -> bool {
        let all = (subnet.id, prefix.network())..=(subnet.id, prefix.broadcast());
        region.leases.range(all.clone()).next().is_none() && self.made.range(all).next().is_none()
    }

    fn claim_prefix(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        prefix: Ipv4Net,
        eni: EniId,
    ) {
        for address in addresses_of(prefix) {
            self.claim(draft, subnet, address, eni);
        }
    }

    fn is_free(&self, region: &RegionState, subnet: &Subnet, address: Ipv4Addr) -> bool {
        let at = (subnet.id, address);
        !region.leases.contains_key(&at) && !self.made.contains(&at)
    }

    fn claim(&mut self, draft: &mut Draft<'_>, subnet: &Subnet, address: Ipv4Addr, eni: EniId) {
        self.made.insert((subnet.id, address));
        draft.lease(subnet, address, AddressLease { eni });
    }
}

/// An interface may have this address of the subnet.
pub(crate) fn check_in_subnet(subnet: &Subnet, address: Ipv4Addr) -> Result<(), Error> {
    if !subnet.cidr.contains(&address) {
        return Err(Error::AddressOutsideSubnet { address });
    }
    if subnet.reserves(address) {
        return Err(Error::AddressReserved);
    }
    Ok(())
}

/// An interface may have this prefix of the subnet.
fn check_prefix_in_subnet(subnet: &Subnet, prefix: Ipv4Net) -> Result<(), Error> {
    if !subnet.cidr.contains(&prefix) {
        let prefix = prefix.into();
        return Err(AddressingError::PrefixOutsideSubnet { prefix }.into());
    }
    if addresses_of(prefix).any(|address| subnet.reserves(address)) {
        let prefix = prefix.into();
        return Err(AddressingError::PrefixReserved { prefix }.into());
    }
    Ok(())
}

/// Reads a client's text as an IPv4 prefix of an interface.
pub fn parse_prefix(text: &str) -> Result<Ipv4Net, Error> {
    let parsed = text.parse().ok();
    parsed
        .filter(|prefix: &Ipv4Net| prefix.prefix_len() == IPV4_PREFIX && prefix.trunc() == *prefix)
        .ok_or_else(|| Error::InvalidValue {
            value: text.into(),
            name: "ipv4Prefix",
            why: "A prefix is a /28 whose host bits are zero.".into(),
        })
}

/// All the addresses of a prefix.
pub(crate) fn addresses_of(prefix: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
    (first..=last).map(Ipv4Addr::from)
}

/// Gives an address back to its subnet.
pub(crate) fn give_back(draft: &mut Draft<'_>, subnet: SubnetId, address: Ipv4Addr) {
    let lease = draft.region.leases.get(&(subnet, address));
    if let Some(revision) = lease.map(|lease| lease.revision) {
        draft.release(Kind::AddressLease, lease_name(subnet, address), revision);
    }
}

/// The length of a delegated IPv4 prefix, and how many addresses it has.
const IPV4_PREFIX: u8 = 28;
const PREFIX_SIZE: usize = 16;

/// The offset of the first address that is not reserved.
const FIRST_USABLE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(last: u8, primary: bool) -> ListedAddress {
        ListedAddress {
            address: Ipv4Addr::new(10, 0, 0, last),
            primary,
        }
    }

    fn wanted(primary: Option<u8>, listed: &[ListedAddress]) -> WantedAddresses {
        WantedAddresses {
            primary: primary.map(|last| Ipv4Addr::new(10, 0, 0, last)),
            listed: listed.to_vec(),
            ..WantedAddresses::default()
        }
    }

    #[test]
    fn one_address_is_primary() {
        let wish = wanted(None, &[listed(5, false), listed(6, true)]).resolve();
        let expected = Wish {
            primary: Some(Ipv4Addr::new(10, 0, 0, 6)),
            secondary: vec![Ipv4Addr::new(10, 0, 0, 5)],
            automatic: 0,
            prefixes: Vec::new(),
            automatic_prefixes: 0,
        };
        assert_eq!(wish, Ok(expected));
        let count = |wanted: WantedAddresses| wanted.resolve().map(|wish| wish.slots());
        assert_eq!(count(wanted(None, &[])), Ok(1));
        assert_eq!(count(wanted(Some(5), &[listed(5, true)])), Ok(1));
        assert_eq!(count(wanted(Some(5), &[listed(6, false)])), Ok(2));
    }

    #[test]
    fn contradictory_wishes_are_refused() {
        let both = WantedAddresses {
            secondary_count: Some(1),
            ..wanted(None, &[listed(5, false)])
        };
        assert_eq!(both.resolve(), Err(Error::AddressListAndCount));
        let prefixes = |listed: &[ListedAddress], secondary_count| WantedAddresses {
            secondary_count,
            prefix_count: Some(1),
            ..wanted(None, listed)
        };
        for mixed in [prefixes(&[listed(5, false)], None), prefixes(&[], Some(1))] {
            assert_eq!(
                mixed.resolve(),
                Err(AddressingError::AddressKindsMixed.into())
            );
        }
        let wish = prefixes(&[listed(5, true)], None).resolve();
        assert_eq!(wish.map(|wish| (wish.slots(), wish.size())), Ok((2, 17)));
        for contradictory in [
            wanted(None, &[listed(5, true), listed(6, true)]),
            wanted(Some(5), &[listed(6, true)]),
        ] {
            let refused = contradictory.resolve();
            assert_eq!(refused, Err(Error::SeveralPrimaryAddresses));
        }
        let twice = wanted(None, &[listed(5, false), listed(5, false)]).resolve();
        assert!(matches!(twice, Err(Error::AddressNamedTwice { .. })));
    }

    #[test]
    fn text_that_is_no_address_is_quoted() {
        assert!(parse_address("10.0.0.9").is_ok());
        let refused = parse_address("10.0.0.999").map_err(|error| error.to_string());
        let words = "invalid value for parameter address: 10.0.0.999";
        assert_eq!(refused, Err(words.to_owned()));
    }
}
