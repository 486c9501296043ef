//! The link-local services of a VPC: the device that leads to them.

use std::net::Ipv4Addr;

use enid_model::id::ResourceId as _;
use enid_model::vpc::Vpc;
use enid_pipeline::bytes::Addr;
use enid_pipeline::table::ServiceRecord;
use ipnet::Ipv4Net;

use crate::tables::Tables;

/// The services of a VPC, by the index of the device that leads to them.
pub(crate) fn of_service(vpc: &Vpc, ifindex: u32) -> Tables {
    let mut tables = Tables::default();
    let record = ServiceRecord {
        resolver: Addr::from(resolver_of(vpc.cidr)),
        ifindex,
        pad: 0,
    };
    tables.services.insert(vpc.id.bits(), record);
    tables.service_devices.insert(ifindex, vpc.id.bits());
    tables
}

/// The resolver's address in a VPC's first block: the third one, after the network's own and the
/// router's.
#[must_use]
pub fn resolver_of(block: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(block.network()).wrapping_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_has_the_third_address() {
        let block = "10.1.0.0/16".parse().unwrap();
        assert_eq!(resolver_of(block), Ipv4Addr::new(10, 1, 0, 2));
    }
}
