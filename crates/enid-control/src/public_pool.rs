//! The pools that public addresses come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_model::address::PublicAddressHolder;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::{Draft, Error};

/// The pools of an installation. Their addresses lead to its instances on this host and nowhere
/// else, unless a real uplink and real addresses are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPools {
    /// Where Elastic IPs and public addresses of instances come from. As in a subnet the first address
    /// is the network's and the last the broadcast's; the second is the host's own in the role of the
    /// internet.
    pub ipv4: Ipv4Net,
    /// Where the IPv6 blocks of VPCs come from, each a /56.
    pub ipv6: Ipv6Net,
}

impl Default for PublicPools {
    /// The block for benchmarks (RFC 2544) and the one for documentation (RFC 3849): no host on the
    /// internet has an address of these.
    fn default() -> Self {
        Self {
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
            ipv6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        }
    }
}

impl PublicPools {
    /// Whether somebody can have this address: one of the pool, and nobody's yet by its place.
    #[must_use]
    pub fn offers(&self, address: Ipv4Addr) -> bool {
        self.ipv4.contains(&address)
            && u32::from(address) >= u32::from(self.ipv4.network()) + FIRST
            && address != self.ipv4.broadcast()
    }
}

/// What comes before the first address that is given out: the network's address and the host's.
const FIRST: u32 = 2;

/// How many random addresses are tried before the pool is searched for one that is free.
const TRIES: u32 = 16;

impl Draft<'_> {
    /// Claims any free public address: a random one, so that operations at the same time, in one
    /// process or in a fleet, seldom choose the same.
    pub(crate) fn claim_any_public(
        &mut self,
        holder: PublicAddressHolder,
    ) -> Result<Ipv4Addr, Error> {
        let pool = self.pools.ipv4;
        let size = 1_u64 << (32 - u32::from(pool.prefix_len()));
        let base = u32::from(pool.network());
        // All but those and the last.
        let usable = size.saturating_sub(u64::from(FIRST) + 1);
        let usable = u32::try_from(usable).unwrap_or(u32::MAX);
        let at = |offset: u32| Ipv4Addr::from(base + FIRST + offset);
        let random = |draft: &mut Self| {
            let offset = draft.random() % u64::from(usable.max(1));
            u32::try_from(offset).unwrap_or(0)
        };
        let free = |draft: &Self, address: &Ipv4Addr| draft.is_public_free(IpAddr::V4(*address));
        let mut found = None;
        for _ in 0..TRIES.min(usable) {
            let address = at(random(self));
            if free(self, &address) {
                found = Some(address);
                break;
            }
        }
        let start = random(self);
        let address = found.or_else(|| {
            (0..usable)
                .map(|step| {
                    // Neither sum leaves the pool, so the wider type is only for between.
                    let offset = (u64::from(start) + u64::from(step)) % u64::from(usable);
                    at(u32::try_from(offset).unwrap_or(0))
                })
                .find(|address| free(self, address))
        });
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
    fn the_networks_the_hosts_and_the_last_address_are_nobodys() {
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
}
