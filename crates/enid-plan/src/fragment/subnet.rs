//! A subnet: its router, its route table, and the gates of its network ACL.

use std::net::Ipv6Addr;

use enid_model::id::{NetworkAclId, ResourceId as _};
use enid_model::subnet::Subnet;
use enid_model::vpc::Vpc;
use enid_pipeline::bytes::{Addr, Mac};
use enid_pipeline::table::SubnetRecord;
use ipnet::IpNet;

use super::AclGates;
use crate::gate::address_bits;
use crate::instances::router_mac;
use crate::tables::Tables;

/// A subnet. `gates_of` are those of the ACLs that have records.
pub(crate) fn of_subnet(
    vpc: &Vpc,
    subnet: &Subnet,
    gates_of: impl Fn(NetworkAclId) -> Option<AclGates>,
) -> Tables {
    // The first version's subnets name no ACL.
    let acl = match subnet.network_acl.acl {
        NetworkAclId(0) => vpc.default_network_acl,
        acl => acl,
    };
    let gates = gates_of(acl).unwrap_or_else(|| AclGates::without_record(acl, vpc));
    let own_table = subnet.route_table.map(|own| own.table);
    let ipv6 = subnet.ipv6_cidr.map(|own| own.cidr.network());
    let router_v6 = ipv6.map(|base| Ipv6Addr::from(u128::from(base) | 1));
    let record = SubnetRecord {
        vpc: subnet.vpc.bits(),
        router: Addr::from(subnet.router()),
        cidr: Addr::from(subnet.cidr.network()),
        cidr_len: address_bits(&IpNet::V4(subnet.cidr)),
        router_v6: router_v6.map_or(Addr::UNSPECIFIED, |router| Addr::v6(router.octets())),
        route_table: own_table.unwrap_or(vpc.main_route_table).bits(),
        acl: acl.bits(),
        acl_egress: gates.egress,
        acl_ingress: gates.ingress,
        router_mac: Mac(router_mac(subnet.id).0),
        pad: [0; 6],
    };
    let mut tables = Tables::default();
    tables.subnets.insert(subnet.id.bits(), record);
    tables
}
