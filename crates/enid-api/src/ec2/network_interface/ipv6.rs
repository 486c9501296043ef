//! IPv6 addresses and prefixes of an interface that is there.

use enid_control::{Ipv6Addresses, WantedIpv6Addresses, parse_ipv6_address, parse_ipv6_prefix};
use enid_model::id::EniId;

use super::wanted::{count, read_all};
use crate::context::Context;
use crate::ec2::{Ec2, id};
use crate::error::ApiError;
use crate::generated::ec2::request::{AssignIpv6AddressesRequest, UnassignIpv6AddressesRequest};
use crate::generated::ec2::response::{AssignIpv6AddressesResponse, UnassignIpv6AddressesResponse};
use crate::wire::text::Text;

/// AssignIpv6Addresses.
pub(in crate::ec2) async fn assign_ipv6_addresses(
    ec2: &Ec2,
    context: &Context,
    request: AssignIpv6AddressesRequest,
) -> Result<AssignIpv6AddressesResponse, ApiError> {
    let eni: EniId = id::parse(&request.network_interface_id)?;
    let wanted = WantedIpv6Addresses {
        addresses: read_all(&request.ipv6_addresses, parse_ipv6_address)?,
        count: count(request.ipv6_address_count, "Ipv6AddressCount")?,
        prefixes: read_all(&request.ipv6_prefixes, parse_ipv6_prefix)?,
        prefix_count: count(request.ipv6_prefix_count, "Ipv6PrefixCount")?,
        primary: false,
    };
    let caller = context.caller();
    let assigned = ec2.control.assign_ipv6_addresses(&caller, eni, &wanted);
    let assigned = assigned.await?;
    Ok(AssignIpv6AddressesResponse {
        assigned_ipv6_addresses: assigned.addresses.iter().map(Text::display).collect(),
        assigned_ipv6_prefixes: assigned.prefixes.iter().map(Text::display).collect(),
        network_interface_id: Some(Text::display(eni)),
    })
}

/// UnassignIpv6Addresses.
pub(in crate::ec2) async fn unassign_ipv6_addresses(
    ec2: &Ec2,
    context: &Context,
    request: UnassignIpv6AddressesRequest,
) -> Result<UnassignIpv6AddressesResponse, ApiError> {
    let eni: EniId = id::parse(&request.network_interface_id)?;
    let going = Ipv6Addresses {
        addresses: read_all(&request.ipv6_addresses, parse_ipv6_address)?,
        prefixes: read_all(&request.ipv6_prefixes, parse_ipv6_prefix)?,
    };
    let caller = context.caller();
    ec2.control
        .unassign_ipv6_addresses(&caller, eni, &going)
        .await?;
    Ok(UnassignIpv6AddressesResponse {
        network_interface_id: Some(Text::display(eni)),
        unassigned_ipv6_addresses: going.addresses.iter().map(Text::display).collect(),
        unassigned_ipv6_prefixes: going.prefixes.iter().map(Text::display).collect(),
    })
}
