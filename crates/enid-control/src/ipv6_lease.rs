//! IPv6 addresses and prefixes: which ones a request wants, which are free, and claiming them.
//!
//! A claim is a record whose key is the subnet and the address, or the subnet and the first address
//! of a prefix. No address is leased while a prefix with it is, nor the other way round: the claim of
//! an address demands that there is no claim of its prefix, and the claim of a prefix that no address
//! has been claimed meanwhile.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use enid_model::id::{EniId, SubnetId};
use enid_model::key::Kind;
use enid_model::network_interface::NetworkInterface;
use enid_model::record::Record;
use enid_model::state::{RegionState, lease_name};
use enid_model::subnet::{Ipv6Lease, Ipv6PrefixLease, ReservationKind, Subnet};
use enid_store::Condition;
use ipnet::Ipv6Net;

use crate::address_lease::{Claims, is_some};
use crate::subnet_cidr_reservation::reserved_ipv6;
use crate::{AddressingError, Draft, Error};

/// The IPv6 addresses that a request wants for an interface: at most one of the first four.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedIpv6Addresses {
    /// These addresses.
    pub addresses: Vec<Ipv6Addr>,
    /// How many addresses to choose. Zero also means none where the subnet would give one.
    pub count: Option<u32>,
    /// These prefixes.
    pub prefixes: Vec<Ipv6Net>,
    /// How many prefixes to choose.
    pub prefix_count: Option<u32>,
    /// Whether the first address shall be the primary one.
    pub primary: bool,
}

/// What a request's wishes come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ipv6Wish {
    pub(crate) addresses: Vec<Ipv6Addr>,
    /// How many addresses to choose; the subnet decides if the request does not say.
    pub(crate) automatic: Option<u32>,
    pub(crate) prefixes: Vec<Ipv6Net>,
    pub(crate) automatic_prefixes: u32,
    pub(crate) primary: bool,
}

/// The addresses and prefixes that an operation has claimed.
#[derive(Debug, Default)]
pub(crate) struct Ipv6Held {
    pub(crate) addresses: Vec<Ipv6Addr>,
    pub(crate) prefixes: Vec<Ipv6Net>,
}

impl WantedIpv6Addresses {
    /// Checks that the wishes go together.
    pub(crate) fn resolve(&self) -> Result<Ipv6Wish, Error> {
        let (listed, counted) = (!self.addresses.is_empty(), is_some(self.count));
        let prefixes = [!self.prefixes.is_empty(), is_some(self.prefix_count)];
        if listed && counted {
            return Err(AddressingError::Ipv6ListAndCount.into());
        }
        let kinds = [listed, counted].into_iter().chain(prefixes);
        if kinds.filter(|present| *present).count() > 1 {
            return Err(AddressingError::Ipv6KindsMixed.into());
        }
        let mut seen = BTreeSet::new();
        let named = self.addresses.iter().map(|address| (*address, 128));
        let prefixes = self.prefixes.iter();
        let named = named.chain(prefixes.map(|prefix| (prefix.network(), prefix.prefix_len())));
        for (address, length) in named {
            if !seen.insert(address) {
                let what = match length {
                    128 => format!("The IPv6 address {address}"),
                    length => format!("The IPv6 prefix {address}/{length}"),
                };
                return Err(AddressingError::Ipv6NamedTwice { what: what.into() }.into());
            }
        }
        Ok(Ipv6Wish {
            addresses: self.addresses.clone(),
            automatic: self.count,
            prefixes: self.prefixes.clone(),
            automatic_prefixes: self.prefix_count.unwrap_or(0),
            primary: self.primary,
        })
    }
}

impl Ipv6Wish {
    /// How many addresses to choose in a subnet: where nothing is asked for, the subnet may give
    /// one.
    fn automatic_in(&self, subnet: &Subnet) -> u32 {
        let asks = !self.addresses.is_empty() || self.prefix_count() > 0;
        let given = u32::from(subnet.attributes.assign_ipv6_address_on_creation && !asks);
        self.automatic.unwrap_or(given)
    }

    /// How many slots of an interface in a subnet it takes: one for each address and each prefix.
    pub(crate) fn slots(&self, subnet: &Subnet) -> usize {
        let automatic = usize::try_from(self.automatic_in(subnet)).unwrap_or(usize::MAX);
        let addresses = self.addresses.len().saturating_add(automatic);
        addresses.saturating_add(self.prefix_count())
    }

    /// How many prefixes it asks for.
    pub(crate) fn prefix_count(&self) -> usize {
        let automatic = usize::try_from(self.automatic_prefixes).unwrap_or(usize::MAX);
        self.prefixes.len().saturating_add(automatic)
    }

    /// Whether it names any address, so that it can be fulfilled only once.
    pub(crate) fn names_an_address(&self) -> bool {
        !self.addresses.is_empty() || !self.prefixes.is_empty()
    }
}

/// Reads a client's text as an IPv6 address.
pub fn parse_ipv6_address(text: &str) -> Result<Ipv6Addr, Error> {
    text.parse()
        .map_err(|_unread| Error::AddressMalformed { text: text.into() })
}

/// Reads a client's text as an IPv6 prefix of an interface.
pub fn parse_ipv6_prefix(text: &str) -> Result<Ipv6Net, Error> {
    let parsed = text.parse().ok();
    parsed
        .filter(|prefix: &Ipv6Net| prefix.prefix_len() == IPV6_PREFIX && prefix.trunc() == *prefix)
        .ok_or_else(|| Error::InvalidValue {
            value: text.into(),
            name: "ipv6Prefix",
            why: "A prefix is a /80 whose host bits are zero.".into(),
        })
}

impl Claims {
    /// Claims all the IPv6 addresses and prefixes of a wish.
    pub(crate) fn fulfil_ipv6(
        &mut self,
        draft: &mut Draft<'_>,
        subnet: &Subnet,
        wish: &Ipv6Wish,
        eni: EniId,
    ) -> Result<Ipv6Held, Error> {
        let mut held = Ipv6Held::default();
        if wish.slots(subnet) > 0 {
            let block = subnet.ipv6_cidr.map(|own| own.cidr);
            let block = block.ok_or(AddressingError::SubnetWithoutIpv6 { id: subnet.id })?;
            let place = Place { subnet, block, eni };
            // Named ones first, so that no chosen one stands in their way.
            for address in &wish.addresses {
                self.take_ipv6(draft, &place, *address)?;
                held.addresses.push(*address);
            }
            for prefix in &wish.prefixes {
                self.take_ipv6_prefix(draft, &place, *prefix)?;
                held.prefixes.push(*prefix);
            }
            for _ in 0..wish.automatic_in(subnet) {
                held.addresses.push(self.choose_ipv6(draft, &place)?);
            }
            for _ in 0..wish.automatic_prefixes {
                held.prefixes.push(self.choose_ipv6_prefix(draft, &place)?);
            }
        }
        Ok(held)
    }

    fn take_ipv6(
        &mut self,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
        address: Ipv6Addr,
    ) -> Result<(), Error> {
        if !place.block.contains(&address) {
            return Err(AddressingError::Ipv6AddressOutsideSubnet { address }.into());
        }
        if is_reserved(place.block, address) {
            return Err(Error::AddressReserved);
        }
        if !self.is_free_ipv6(&draft.region, place.subnet.id, address) {
            return Err(AddressingError::Ipv6AddressInUse { address }.into());
        }
        self.claim_ipv6(draft, place, address);
        Ok(())
    }

    /// Claims any free address that no reservation keeps. Among 2^64 a few tries meet one, unless
    /// reservations keep nearly all of them.
    fn choose_ipv6(&mut self, draft: &mut Draft<'_>, place: &Place<'_>) -> Result<Ipv6Addr, Error> {
        let reserved = reserved_ipv6(&draft.region, place.subnet.id);
        let base = u128::from(place.block.network());
        for _ in 0..TRIES_MAX {
            let address = Ipv6Addr::from(base + u128::from(draft.random()));
            let is_kept = reserved.iter().any(|(cidr, _)| cidr.contains(&address));
            if !is_kept
                && !is_reserved(place.block, address)
                && self.is_free_ipv6(&draft.region, place.subnet.id, address)
            {
                self.claim_ipv6(draft, place, address);
                return Ok(address);
            }
        }
        Err(Error::InsufficientFreeAddresses)
    }

    fn is_free_ipv6(&self, region: &RegionState, subnet: SubnetId, address: Ipv6Addr) -> bool {
        let (at, prefix) = ((subnet, address), (subnet, prefix_of(address).network()));
        !region.ipv6_leases.contains_key(&at)
            && !region.ipv6_prefix_leases.contains_key(&prefix)
            && !self.made_ipv6.contains(&at)
            && !self.made_ipv6_prefixes.contains(&prefix)
    }

    fn claim_ipv6(&mut self, draft: &mut Draft<'_>, place: &Place<'_>, address: Ipv6Addr) {
        let (subnet, eni) = (place.subnet.id, place.eni);
        self.made_ipv6.insert((subnet, address));
        let prefix = lease_name(subnet, prefix_of(address).network());
        let prefix = draft.key(Kind::Ipv6PrefixLease, prefix);
        draft.demand(Condition::Absent(prefix));
        let lease = Record::Ipv6Lease(Ipv6Lease { eni });
        draft.claim(lease_name(subnet, address), lease);
    }

    fn take_ipv6_prefix(
        &mut self,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
        prefix: Ipv6Net,
    ) -> Result<(), Error> {
        if !place.block.contains(&prefix) {
            let prefix = prefix.into();
            return Err(AddressingError::PrefixOutsideSubnet { prefix }.into());
        }
        if holds_reserved(place.block, prefix) {
            let prefix = prefix.into();
            return Err(AddressingError::PrefixReserved { prefix }.into());
        }
        if !self.is_free_ipv6_prefix(&draft.region, place.subnet.id, prefix) {
            let prefix = prefix.into();
            return Err(AddressingError::PrefixInUse { prefix }.into());
        }
        self.claim_ipv6_prefix(draft, place, prefix);
        Ok(())
    }

    /// Claims any free prefix: of what is reserved for prefixes if anything is, else of what is not
    /// reserved.
    fn choose_ipv6_prefix(
        &mut self,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
    ) -> Result<Ipv6Net, Error> {
        let reserved = reserved_ipv6(&draft.region, place.subnet.id);
        let is_kept = |(cidr, kind): &(Ipv6Net, ReservationKind), prefix: &Ipv6Net| {
            *kind == ReservationKind::Prefix && cidr.contains(prefix)
        };
        let has_kept = reserved
            .iter()
            .any(|(_, kind)| *kind == ReservationKind::Prefix);
        let permits = |prefix: &Ipv6Net| {
            if has_kept {
                return reserved.iter().any(|one| is_kept(one, prefix));
            }
            let overlaps = |cidr: &Ipv6Net| cidr.contains(prefix) || prefix.contains(cidr);
            !reserved.iter().any(|(cidr, _)| overlaps(cidr))
        };
        let base = u128::from(place.block.network());
        let start = draft.random() % PREFIXES;
        let all = (0..PREFIXES).map(|step| u128::from((start + step) % PREFIXES));
        let mut all = all.map(|number| {
            let network = Ipv6Addr::from(base + (number << (128 - IPV6_PREFIX)));
            Ipv6Net::new_assert(network, IPV6_PREFIX)
        });
        let found = all.find(|prefix| {
            permits(prefix)
                && !holds_reserved(place.block, *prefix)
                && self.is_free_ipv6_prefix(&draft.region, place.subnet.id, *prefix)
        });
        let prefix = found.ok_or(AddressingError::InsufficientCidrBlocks)?;
        self.claim_ipv6_prefix(draft, place, prefix);
        Ok(prefix)
    }

    fn is_free_ipv6_prefix(&self, region: &RegionState, subnet: SubnetId, prefix: Ipv6Net) -> bool {
        let at = (subnet, prefix.network());
        let all = at..=(subnet, prefix.broadcast());
        !region.ipv6_prefix_leases.contains_key(&at)
            && !self.made_ipv6_prefixes.contains(&at)
            && region.ipv6_leases.range(all.clone()).next().is_none()
            && self.made_ipv6.range(all).next().is_none()
    }

    fn claim_ipv6_prefix(&mut self, draft: &mut Draft<'_>, place: &Place<'_>, prefix: Ipv6Net) {
        let (subnet, eni) = (place.subnet.id, place.eni);
        self.made_ipv6_prefixes.insert((subnet, prefix.network()));
        draft.demand_none_new(Kind::Ipv6Lease);
        let lease = Record::Ipv6PrefixLease(Ipv6PrefixLease { eni });
        draft.claim(lease_name(subnet, prefix.network()), lease);
    }
}

/// Gives all the IPv6 addresses and prefixes of an interface back to its subnet.
pub(crate) fn give_back_ipv6(draft: &mut Draft<'_>, eni: &NetworkInterface) {
    for address in &eni.ipv6_addresses {
        give_back_ipv6_address(draft, eni.subnet, *address);
    }
    for prefix in &eni.ipv6_prefixes {
        give_back_ipv6_prefix(draft, eni.subnet, *prefix);
    }
}

/// Gives one address back.
pub(crate) fn give_back_ipv6_address(draft: &mut Draft<'_>, subnet: SubnetId, address: Ipv6Addr) {
    let lease = draft.region.ipv6_leases.get(&(subnet, address));
    if let Some(revision) = lease.map(|lease| lease.revision) {
        draft.release(Kind::Ipv6Lease, lease_name(subnet, address), revision);
    }
}

/// Gives one prefix back.
pub(crate) fn give_back_ipv6_prefix(draft: &mut Draft<'_>, subnet: SubnetId, prefix: Ipv6Net) {
    let base = prefix.network();
    let lease = draft.region.ipv6_prefix_leases.get(&(subnet, base));
    if let Some(revision) = lease.map(|lease| lease.revision) {
        draft.release(Kind::Ipv6PrefixLease, lease_name(subnet, base), revision);
    }
}

/// Where something is claimed, and for whom.
struct Place<'a> {
    subnet: &'a Subnet,
    /// The subnet's IPv6 block.
    block: Ipv6Net,
    eni: EniId,
}

/// Whether AWS keeps this address of a subnet's block for itself: the first four, and the last one.
fn is_reserved(block: Ipv6Net, address: Ipv6Addr) -> bool {
    let offset = u128::from(address).wrapping_sub(u128::from(block.network()));
    offset < 4 || address == block.broadcast()
}

/// Whether a prefix has such an address.
fn holds_reserved(block: Ipv6Net, prefix: Ipv6Net) -> bool {
    prefix.contains(&block.network()) || prefix.contains(&block.broadcast())
}

/// The prefix that an address would be delegated with.
fn prefix_of(address: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(address, IPV6_PREFIX).trunc()
}

/// The length of a delegated prefix, and how many there are in a subnet's /64.
const IPV6_PREFIX: u8 = 80;
const PREFIXES: u64 = 1 << 16;

const TRIES_MAX: u32 = 1000;
