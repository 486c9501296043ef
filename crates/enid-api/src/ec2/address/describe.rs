//! What there is to tell about Elastic IP addresses and the pools that they come from.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use enid_control::{Error, NamedPool, parse_address};
use enid_model::Tags;
use enid_model::address::ElasticIp;
use enid_model::id::{AllocationId, InstanceId};
use enid_model::state::{RegionState, Stored};

use super::DOMAIN;
use crate::context::Context;
use crate::ec2::filter::{Filters, Test};
use crate::ec2::page::Page;
use crate::ec2::{Ec2, id, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeAddressesAttributeRequest, DescribeAddressesRequest, DescribePublicIpv4PoolsRequest,
};
use crate::generated::ec2::response::{
    Address, AddressAttribute, DescribeAddressesAttributeResponse, DescribeAddressesResponse,
    DescribePublicIpv4PoolsResponse, PublicIpv4Pool, PublicIpv4PoolRange,
};
use crate::wire::text::Text;

#[derive(Clone, Copy, PartialEq)]
enum Field {
    AllocationId,
    AssociationId,
    BorderGroup,
    Domain,
    InstanceId,
    InterfaceId,
    InterfaceOwner,
    PrivateIp,
    PublicIp,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "allocation-id" => Field::AllocationId,
        "association-id" => Field::AssociationId,
        "domain" => Field::Domain,
        "instance-id" => Field::InstanceId,
        "network-border-group" => Field::BorderGroup,
        "network-interface-id" => Field::InterfaceId,
        "network-interface-owner-id" => Field::InterfaceOwner,
        "private-ip-address" => Field::PrivateIp,
        "public-ip" => Field::PublicIp,
        _ => return None,
    })
}

/// DescribeAddresses. AWS knows no pages here.
pub(in crate::ec2) async fn describe_addresses(
    ec2: &Ec2,
    context: &Context,
    request: DescribeAddressesRequest,
) -> Result<DescribeAddressesResponse, ApiError> {
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let is_named = named(&region, &request.allocation_ids, &request.public_ips)?;
    let addresses = region.elastic_ips.values().filter(|elastic_ip| {
        is_named(elastic_ip)
            && filters.match_resource(&elastic_ip.tags, |field, test| {
                tell(context, &region, elastic_ip, field, test);
            })
    });
    let addresses = addresses.map(|elastic_ip| answer(context, &region, elastic_ip));
    Ok(DescribeAddressesResponse {
        addresses: addresses.collect(),
    })
}

/// Whether a request names an address: by id or by itself, or by naming none. One that it names
/// and that is not there is an error.
fn named(
    region: &RegionState,
    allocations: &[String],
    public_ips: &[String],
) -> Result<impl Fn(&ElasticIp) -> bool, ApiError> {
    let ids: BTreeSet<AllocationId> = id::find(allocations, &region.elastic_ips)?
        .into_keys()
        .collect();
    let mut addresses = BTreeSet::new();
    for text in public_ips {
        let address: Ipv4Addr = parse_address(text)?;
        let mut known = region.elastic_ips.values();
        if !known.any(|elastic_ip| elastic_ip.public_ip == address) {
            let address = text.as_str().into();
            return Err(Error::PublicAddressNotFound { address }.into());
        }
        addresses.insert(address);
    }
    Ok(move |elastic_ip: &ElasticIp| {
        (ids.is_empty() && addresses.is_empty())
            || ids.contains(&elastic_ip.id)
            || addresses.contains(&elastic_ip.public_ip)
    })
}

fn tell(
    context: &Context,
    region: &RegionState,
    elastic_ip: &ElasticIp,
    field: Field,
    test: &mut Test<'_>,
) {
    let association = elastic_ip.association.iter();
    match field {
        Field::AllocationId => test.display(elastic_ip.id),
        Field::AssociationId => association.for_each(|a| test.display(a.id)),
        Field::BorderGroup => test.text(&elastic_ip.network_border_group),
        Field::Domain => test.text(DOMAIN),
        Field::InstanceId => {
            let instance = instance_of(region, elastic_ip);
            instance.iter().for_each(|id| test.display(id));
        }
        Field::InterfaceId => association.for_each(|a| test.display(a.eni)),
        Field::InterfaceOwner => association.for_each(|_| test.display(context.account)),
        Field::PrivateIp => association.for_each(|a| test.display(a.private_ip)),
        Field::PublicIp => test.display(elastic_ip.public_ip),
    }
}

/// The instance whose interface an address is associated with.
fn instance_of(region: &RegionState, elastic_ip: &ElasticIp) -> Option<InstanceId> {
    let association = elastic_ip.association.as_ref()?;
    let eni = region.network_interfaces.get(&association.eni)?;
    eni.attachment.as_ref()?.own_instance()
}

fn answer(context: &Context, region: &RegionState, elastic_ip: &Stored<ElasticIp>) -> Address {
    let association = elastic_ip.association.as_ref();
    Address {
        allocation_id: Some(Text::display(elastic_ip.id)),
        association_id: association.map(|a| Text::display(a.id)),
        domain: Some(DOMAIN.into()),
        network_interface_id: association.map(|a| Text::display(a.eni)),
        network_interface_owner_id: association.map(|_| Text::display(context.account)),
        private_ip_address: association.map(|a| Text::display(a.private_ip)),
        tags: tag::answer(&elastic_ip.tags),
        public_ipv4_pool: Some(elastic_ip.pool.as_str().into()),
        network_border_group: Some(elastic_ip.network_border_group.as_str().into()),
        instance_id: instance_of(region, elastic_ip).map(Text::display),
        public_ip: Some(Text::display(elastic_ip.public_ip)),
    }
}

/// DescribeAddressesAttribute: the reverse DNS names.
pub(in crate::ec2) async fn describe_addresses_attribute(
    ec2: &Ec2,
    context: &Context,
    request: DescribeAddressesAttributeRequest,
) -> Result<DescribeAddressesAttributeResponse, ApiError> {
    let page = Page::read(
        "DescribeAddressesAttribute",
        1..=1000,
        request.max_results,
        request.next_token.as_deref(),
        None,
    )?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<AllocationId> = page.after()?;
    let is_named = named(&region, &request.allocation_ids, &[])?;
    let addresses = region.elastic_ips.values();
    let addresses =
        addresses.filter(|found| is_named(found) && after.is_none_or(|after| found.id > after));
    let (addresses, next_token) = page.take(addresses, |found| found.id.to_string());
    let addresses = addresses.into_iter().map(|found| attribute(found));
    Ok(DescribeAddressesAttributeResponse {
        addresses: addresses.collect(),
        next_token,
    })
}

/// What can be set of an address.
pub(super) fn attribute(elastic_ip: &ElasticIp) -> AddressAttribute {
    AddressAttribute {
        public_ip: Some(Text::display(elastic_ip.public_ip)),
        allocation_id: Some(Text::display(elastic_ip.id)),
        ptr_record: elastic_ip.ptr_record.as_deref().map(Text::from),
    }
}

/// DescribePublicIpv4Pools: the pools with names of their own, by name. AWS filters them by tags
/// only, and these have none.
pub(in crate::ec2) async fn describe_public_ipv4_pools(
    ec2: &Ec2,
    context: &Context,
    request: DescribePublicIpv4PoolsRequest,
) -> Result<DescribePublicIpv4PoolsResponse, ApiError> {
    let ids = &request.pool_ids;
    let page = Page::read(
        "DescribePublicIpv4Pools",
        1..=10,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("poolIds"),
    )?;
    let filters = Filters::<()>::compile(&request.filters, |_| None)?;
    let mut pools = ec2.control.named_pools();
    let is_known = |id: &&String| !pools.iter().any(|(pool, _)| pool.id == **id);
    if let Some(id) = ids.iter().find(is_known) {
        let id = id.as_str().into();
        return Err(Error::PoolNotFound { id }.into());
    }
    let after: Option<String> = page.after()?;
    pools.sort_unstable_by(|(one, _), (other, _)| one.id.cmp(&other.id));
    let pools = pools.into_iter().filter(|(pool, _)| {
        (ids.is_empty() || ids.contains(&pool.id))
            && after.as_ref().is_none_or(|after| pool.id > *after)
            && filters.match_resource(&Tags::new(), |(), _| {})
    });
    let (pools, next_token) = page.take(pools, |(pool, _)| pool.id.clone());
    let pools = pools
        .iter()
        .map(|(pool, free)| pool_answer(context, pool, *free));
    Ok(DescribePublicIpv4PoolsResponse {
        public_ipv4_pools: pools.collect(),
        next_token,
    })
}

fn pool_answer(context: &Context, pool: &NamedPool, free: u64) -> PublicIpv4Pool {
    let count = i32::try_from(pool.size()).ok();
    let available = i32::try_from(free).ok();
    PublicIpv4Pool {
        pool_id: Some(pool.id.as_str().into()),
        description: Some(pool.description.as_str().into()),
        pool_address_ranges: vec![PublicIpv4PoolRange {
            first_address: Some(Text::display(pool.cidr.network())),
            last_address: Some(Text::display(pool.cidr.broadcast())),
            address_count: count,
            available_address_count: available,
        }],
        total_address_count: count,
        total_available_address_count: available,
        network_border_group: Some(context.region.name.into()),
        tags: Vec::new(),
    }
}
