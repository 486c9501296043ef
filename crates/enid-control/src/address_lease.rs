//! Private addresses: which ones a request wants, which are free, and claiming them.
//!
//! A claim is a record whose key is the subnet and the address, created only if it is absent: no
//! two interfaces ever hold one address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;

use enid_model::id::{EniId, SubnetId};
use enid_model::key::Kind;
use enid_model::state::{RegionState, lease_name};
use enid_model::subnet::{AddressLease, Subnet};

use crate::{Draft, Error};

/// The private addresses that a request wants for a new interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedAddresses {
    /// The primary one; chosen automatically when absent.
    pub primary: Option<Ipv4Addr>,
    /// A list in which at most one is marked as primary.
    pub listed: Vec<ListedAddress>,
    /// How many secondary ones to choose; excludes the list.
    pub secondary_count: Option<u32>,
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
}

impl Wish {
    /// How many addresses the interface will have.
    pub(crate) fn count(&self) -> usize {
        let automatic = usize::try_from(self.automatic).unwrap_or(usize::MAX);
        (1 + self.secondary.len()).saturating_add(automatic)
    }

    /// Whether it names any address, so that it can be fulfilled only once.
    pub(crate) fn names_an_address(&self) -> bool {
        self.primary.is_some() || !self.secondary.is_empty()
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
        let mut seen: BTreeSet<Ipv4Addr> = primary.into_iter().collect();
        if let Some(address) = secondary.iter().find(|address| !seen.insert(**address)) {
            return Err(Error::AddressNamedTwice { address: *address });
        }
        Ok(Wish {
            primary,
            secondary,
            automatic: self.secondary_count.unwrap_or(0),
        })
    }
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
}

impl Claims {
    /// Claims all the addresses of a wish; the first is the primary one.
    pub(crate) fn fulfil(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        wish: &Wish,
        eni: EniId,
    ) -> Result<Vec<Ipv4Addr>, Error> {
        // Named addresses first, so that no chosen one stands in their way.
        for address in wish.primary.iter().chain(&wish.secondary) {
            self.take(draft, subnet, *address, eni)?;
        }
        let mut addresses = Vec::with_capacity(wish.count());
        addresses.push(match wish.primary {
            Some(address) => address,
            None => self.choose(draft, subnet, eni)?,
        });
        addresses.extend(&wish.secondary);
        for _ in 0..wish.automatic {
            addresses.push(self.choose(draft, subnet, eni)?);
        }
        Ok(addresses)
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
        let found = self.free_in(region, subnet, start..end);
        let found = found.or_else(|| self.free_in(region, subnet, first..start));
        let address = found.ok_or(Error::InsufficientFreeAddresses)?;
        self.claim(draft, subnet, address, eni);
        Ok(address)
    }

    /// The first free address of a range. Leases are skipped by runs; only what this operation has
    /// claimed itself is gone through.
    fn free_in(
        &self,
        region: &RegionState,
        subnet: &Subnet,
        range: Range<u32>,
    ) -> Option<Ipv4Addr> {
        let mut from = Ipv4Addr::from(range.start);
        loop {
            let address = region.next_unleased(subnet.id, from)?;
            if !range.contains(&u32::from(address)) {
                return None;
            }
            if !self.made.contains(&(subnet.id, address)) {
                return Some(address);
            }
            from = u32::from(address).checked_add(1)?.into();
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

/// Gives an address back to its subnet.
pub(crate) fn give_back(draft: &mut Draft<'_>, subnet: SubnetId, address: Ipv4Addr) {
    let lease = draft.region.leases.get(&(subnet, address));
    if let Some(revision) = lease.map(|lease| lease.revision) {
        draft.release(Kind::AddressLease, lease_name(subnet, address), revision);
    }
}

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
            secondary_count: None,
        }
    }

    #[test]
    fn one_address_is_primary() {
        let wish = wanted(None, &[listed(5, false), listed(6, true)]).resolve();
        let expected = Wish {
            primary: Some(Ipv4Addr::new(10, 0, 0, 6)),
            secondary: vec![Ipv4Addr::new(10, 0, 0, 5)],
            automatic: 0,
        };
        assert_eq!(wish, Ok(expected));
        let count = |wanted: WantedAddresses| wanted.resolve().map(|wish| wish.count());
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
