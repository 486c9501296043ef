//! A VPC: its IPv6 blocks, which belong to this installation wherever packets come from.

use enid_model::id::ResourceId as _;
use enid_model::state::RegionState;
use enid_model::vpc::Vpc;
use enid_pipeline::bytes::Addr;
use enid_pipeline::table::{Pool, PoolKey};
use ipnet::IpNet;

use super::{edge_table, has_internet_gateway};
use crate::gate::address_bits;
use crate::tables::Tables;

/// A VPC: whose its IPv6 addresses are, and whether they are reached from outside.
pub(crate) fn of_vpc(region: &RegionState, vpc: &Vpc) -> Tables {
    let mut tables = Tables::default();
    let flags = if has_internet_gateway(region, vpc.id) {
        Pool::INTERNET_GATEWAY
    } else {
        0
    };
    for block in &vpc.ipv6_cidrs {
        let key = PoolKey {
            prefix_len: address_bits(&IpNet::V6(block.cidr)),
            addr: Addr::v6(block.cidr.network().octets()),
        };
        let pool = Pool {
            vpc: vpc.id.bits(),
            flags,
            edge: edge_table(region, vpc.id),
        };
        tables.pools.insert(key, pool);
    }
    tables
}
