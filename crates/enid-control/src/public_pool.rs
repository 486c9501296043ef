//! The pools that public addresses come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_model::address::PublicAddressHolder;
use enid_model::key::Scope;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::{Control, Draft, Error};

/// The pools of an installation. Their addresses lead to its instances on this host and nowhere
/// else, unless a real uplink and real addresses are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPools {
    /// Where Elastic IPs and public addresses of instances come from. As in a subnet the first
    /// address is the network's and the last the broadcast's; the second is the host's own in the
    /// role of the internet.
    pub ipv4: Ipv4Net,
    /// Where the IPv6 blocks of VPCs come from, each a /56.
    pub ipv6: Ipv6Net,
    /// Parts of the IPv4 pool that are kept for those who ask for them by name.
    pub named: Vec<NamedPool>,
}

/// A part of the IPv4 pool with a name: what AWS has as an account's own pool of public addresses.
/// It holds none of the addresses that are nobody's, and overlaps no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPool {
    /// Its name: `ipv4pool-ec2-` and more.
    pub id: String,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// Free text.
    pub description: String,
}

impl NamedPool {
    /// How many addresses it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        size(self.cidr)
    }
}

impl Default for PublicPools {
    /// The block for benchmarks (RFC 2544) and the one for documentation (RFC 3849): no host on the
    /// internet has an address of these.
    fn default() -> Self {
        Self {
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
            ipv6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
            named: Vec::new(),
        }
    }
}

impl PublicPools {
    /// Whether somebody can have this address: one of the pool, but neither the host's own nor one
    /// of the block's ends.
    #[must_use]
    pub fn offers(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.ipv4.network()));
        self.ipv4.contains(&address) && offset >= FIRST && address != self.ipv4.broadcast()
    }

    /// The named pool that an address is of.
    pub(crate) fn named_of(&self, address: Ipv4Addr) -> Option<&NamedPool> {
        self.named.iter().find(|pool| pool.cidr.contains(&address))
    }
}

/// The first address that somebody can have, counted from the network's.
const FIRST: u32 = 2;

fn size(block: Ipv4Net) -> u64 {
    1 << (32 - u32::from(block.prefix_len()))
}

impl Control {
    /// The named pools, each with the number of its addresses that are free.
    #[must_use]
    pub fn named_pools(&self) -> Vec<(NamedPool, u64)> {
        let state = self.store.state();
        let everywhere = state.region(&Scope::everywhere());
        let pools = self.pools.named.iter().map(|pool| {
            let ends = [pool.cidr.network(), pool.cidr.broadcast()].map(IpAddr::V4);
            let claimed = everywhere.map_or(0, |everywhere| {
                let claims = everywhere.public_addresses.range(ends[0]..=ends[1]);
                claims.map(|_| 1_u64).sum()
            });
            (pool.clone(), pool.size().saturating_sub(claimed))
        });
        pools.collect()
    }
}

/// How many random addresses are tried before the pool is searched for one that is free.
const TRIES: u32 = 16;

impl Draft<'_> {
    /// Claims any free public address that no named pool keeps.
    pub(crate) fn claim_any_public(
        &mut self,
        holder: PublicAddressHolder,
    ) -> Result<Ipv4Addr, Error> {
        let pools = self.pools;
        let may_have = |address| pools.offers(address) && pools.named_of(address).is_none();
        self.claim_public_of(pools.ipv4, may_have, holder)
    }

    /// Claims any free public address of a named pool.
    pub(crate) fn claim_named_public(
        &mut self,
        pool: &NamedPool,
        holder: PublicAddressHolder,
    ) -> Result<Ipv4Addr, Error> {
        let pools = self.pools;
        self.claim_public_of(pool.cidr, |address| pools.offers(address), holder)
    }

    /// A random one, so that operations at the same time, in one process or in a fleet, seldom
    /// choose the same.
    fn claim_public_of(
        &mut self,
        block: Ipv4Net,
        may_have: impl Fn(Ipv4Addr) -> bool,
        holder: PublicAddressHolder,
    ) -> Result<Ipv4Addr, Error> {
        let size = size(block);
        let base = u32::from(block.network());
        // An offset is smaller than the block, so its address is one of the block.
        let at = |offset: u64| Ipv4Addr::from(base + u32::try_from(offset % size).unwrap_or(0));
        let is_free = |draft: &Self, address: Ipv4Addr| {
            may_have(address) && draft.is_public_free(IpAddr::V4(address))
        };
        let mut found = None;
        for _ in 0..TRIES {
            let address = at(self.random());
            if is_free(self, address) {
                found = Some(address);
                break;
            }
        }
        let start = self.random() % size;
        let mut all = (0..size).map(|step| at(start + step));
        let address = found.or_else(|| all.find(|address| is_free(self, *address)));
        let address = address.ok_or(Error::InsufficientAddressCapacity)?;
        self.claim_public(IpAddr::V4(address), holder);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use enid_model::id::AllocationId;

    use super::*;
    use crate::fixture::{caller, control};

    fn pool(text: &str) -> PublicPools {
        PublicPools {
            ipv4: text.parse().expect("a literal block parses"),
            ..PublicPools::default()
        }
    }

    #[test]
    fn the_ends_and_the_hosts_own_address_are_nobodys() {
        let pools = pool("198.18.0.0/29");
        let address = |last| Ipv4Addr::new(198, 18, 0, last);
        let offered: Vec<u8> = (0..10).filter(|n| pools.offers(address(*n))).collect();
        assert_eq!(offered, [2, 3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn every_address_of_a_pool_is_claimed_once_and_then_none_is_left() {
        let control = control().with_pools(pool("198.18.0.0/28"));
        let claim = |count: u64| {
            let caller = caller();
            let control = &control;
            async move {
                let operation = |draft: &mut Draft<'_>| {
                    (0..count)
                        .map(|_| {
                            let holder = PublicAddressHolder::ElasticIp(AllocationId(7));
                            draft.claim_any_public(holder)
                        })
                        .collect::<Result<BTreeSet<_>, _>>()
                };
                control.transact(&caller, operation).await
            }
        };
        let first = claim(6).await.expect("thirteen are free");
        let second = claim(7).await.expect("seven are free");
        assert_eq!(
            (first.len(), second.len()),
            (6, 7),
            "none twice in one call"
        );
        let all: BTreeSet<Ipv4Addr> = first.union(&second).copied().collect();
        let usable: BTreeSet<_> = (2..15).map(|n| Ipv4Addr::new(198, 18, 0, n)).collect();
        assert_eq!(all, usable);
        let none = claim(1).await;
        assert_eq!(none, Err(Error::InsufficientAddressCapacity));
    }

    #[tokio::test]
    async fn a_pool_of_one_address_has_none_to_give() {
        let control = control().with_pools(pool("198.18.0.0/32"));
        let holder = PublicAddressHolder::ElasticIp(AllocationId(7));
        let claimed = control
            .transact(&caller(), |draft| draft.claim_any_public(holder))
            .await;
        assert_eq!(claimed, Err(Error::InsufficientAddressCapacity));
    }

    #[tokio::test]
    async fn a_named_pool_is_for_those_who_name_it() {
        let named = NamedPool {
            id: "ipv4pool-ec2-1".to_owned(),
            cidr: "198.18.0.8/30".parse().expect("a literal block parses"),
            description: String::new(),
        };
        let control = control().with_pools(PublicPools {
            named: vec![named.clone()],
            ..pool("198.18.0.0/28")
        });
        let holder = PublicAddressHolder::ElasticIp(AllocationId(7));
        let claim = async |by_name: bool| {
            let operation = |draft: &mut Draft<'_>| match by_name {
                true => draft.claim_named_public(&named, holder),
                false => draft.claim_any_public(holder),
            };
            control.transact(&caller(), operation).await
        };
        // 2 to 7 and 12 to 14.
        for _ in 0..9 {
            let address = claim(false).await.expect("an address is free");
            assert!(!named.cidr.contains(&address));
        }
        let full = Err(Error::InsufficientAddressCapacity);
        assert_eq!(claim(false).await, full);
        assert_eq!(control.named_pools(), [(named.clone(), 4)]);
        for left in (0..4).rev() {
            let address = claim(true).await.expect("an address is free");
            assert!(named.cidr.contains(&address));
            assert_eq!(control.named_pools(), [(named.clone(), left)]);
        }
        assert_eq!(claim(true).await, full);
    }
}
