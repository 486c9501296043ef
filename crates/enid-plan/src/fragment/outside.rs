//! The outside: the pools of public addresses, and the address that the host has in each.

use std::net::{Ipv4Addr, Ipv6Addr};

use enid_pipeline::bytes::Addr;
use enid_pipeline::table::{Pool, PoolKey};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::gate::address_bits;
use crate::tables::Tables;

/// The pools of public addresses that lead to this installation's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicPools {
    /// Elastic IPs and public addresses of instances.
    pub ipv4: Ipv4Net,
    /// The IPv6 blocks of VPCs.
    pub ipv6: Ipv6Net,
}

impl PublicPools {
    /// The host's own IPv4 address in the role of the internet.
    #[must_use]
    pub fn host_ipv4(&self) -> Ipv4Addr {
        Self::host_of_ipv4(self.ipv4)
    }

    /// The host's own IPv6 address likewise.
    #[must_use]
    pub fn host_ipv6(&self) -> Ipv6Addr {
        Self::host_of_ipv6(self.ipv6)
    }

    /// The address that the host would have in a pool: the first after the network's own.
    #[must_use]
    pub fn host_of_ipv4(pool: Ipv4Net) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(pool.network()) | 1)
    }

    /// Likewise.
    #[must_use]
    pub fn host_of_ipv6(pool: Ipv6Net) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(pool.network()) | 1)
    }
}

/// The pools, of which nothing goes out, and the host's own addresses, which are outside.
pub(crate) fn of_outside(pools: &PublicPools) -> Tables {
    let mut tables = Tables::default();
    for (block, host) in [
        (
            IpNet::V4(pools.ipv4),
            IpNet::from(std::net::IpAddr::V4(pools.host_ipv4())),
        ),
        (
            IpNet::V6(pools.ipv6),
            IpNet::from(std::net::IpAddr::V6(pools.host_ipv6())),
        ),
    ] {
        for (net, flags) in [(block, 0), (host, Pool::HOST)] {
            let key = PoolKey {
                prefix_len: address_bits(&net),
                addr: Addr::from(net.network()),
            };
            let pool = Pool {
                vpc: 0,
                flags,
                edge: 0,
            };
            tables.pools.insert(key, pool);
        }
    }
    tables
}
