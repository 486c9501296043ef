//! Network load balancers.

use enid_control::{
    BalancingError, CreateLoadBalancer, SubnetMapping, load_balancer_arn, load_balancer_attributes,
    load_balancer_named, new_access_log_bucket, parse_address,
};
use enid_model::id::SecurityGroupId;
use enid_model::load_balancer::{IpAddressType, LoadBalancer, LoadBalancerZone, Scheme};
use enid_model::state::Stored;

use super::{Elbv2, arn, attribute, invalid, page, refused, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::elbv2::request::{
    self, CreateLoadBalancerRequest, DeleteLoadBalancerRequest,
    DescribeLoadBalancerAttributesRequest, DescribeLoadBalancersRequest,
    ModifyLoadBalancerAttributesRequest, SetIpAddressTypeRequest, SetSecurityGroupsRequest,
    SetSubnetsRequest,
};
use crate::generated::elbv2::response::{
    self, AvailabilityZone, CreateLoadBalancerResponse, DeleteLoadBalancerResponse,
    DescribeLoadBalancerAttributesResponse, DescribeLoadBalancersResponse, LoadBalancerAddress,
    LoadBalancerAttribute, LoadBalancerState, ModifyLoadBalancerAttributesResponse,
    SetIpAddressTypeResponse, SetSecurityGroupsResponse, SetSubnetsResponse,
};
use crate::wire::text::Text;

/// CreateLoadBalancer.
pub(super) async fn create_load_balancer(
    elbv2: &Elbv2,
    context: &Context,
    request: CreateLoadBalancerRequest,
) -> Result<CreateLoadBalancerResponse, ApiError> {
    if request.r#type.is_none() {
        let (operation, name) = ("CreateLoadBalancer", "Type");
        // What AWS makes where nothing is said.
        return Err(ApiError::value_not_implemented(
            operation,
            name,
            "application",
        ));
    }
    let input = CreateLoadBalancer {
        name: request.name,
        scheme: match request.scheme.as_deref() {
            Some("internal") => Scheme::Internal,
            _ => Scheme::InternetFacing,
        },
        ip_address_type: addresses(request.ip_address_type.as_deref()).unwrap_or_default(),
        subnets: subnets(&request.subnets, &request.subnet_mappings)?,
        security_groups: groups(&request.security_groups)?,
        tags: tag::read(request.tags),
    };
    let caller = context.caller();
    let balancer = elbv2.control.create_load_balancer(&caller, &input).await?;
    Ok(CreateLoadBalancerResponse {
        load_balancers: vec![answer(context, &balancer)],
    })
}

/// DeleteLoadBalancer. That there is none is no error.
pub(super) async fn delete_load_balancer(
    elbv2: &Elbv2,
    context: &Context,
    request: DeleteLoadBalancerRequest,
) -> Result<DeleteLoadBalancerResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    match arn::load_balancer(context, &region, &request.load_balancer_arn) {
        Ok(balancer) => {
            elbv2
                .control
                .delete_load_balancer(&caller, balancer.id)
                .await?;
        }
        Err(error) if error.code() == "LoadBalancerNotFound" => {}
        Err(error) => return Err(error),
    }
    Ok(DeleteLoadBalancerResponse {})
}

/// DescribeLoadBalancers: by ARN, by name, or all.
pub(super) async fn describe_load_balancers(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeLoadBalancersRequest,
) -> Result<DescribeLoadBalancersResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let (arns, names) = (&request.load_balancer_arns, &request.names);
    if !arns.is_empty() && !names.is_empty() {
        let why = "Load balancer names and load balancer ARNs cannot be specified at the same time";
        return Err(invalid(why));
    }
    let mut found: Vec<&Stored<LoadBalancer>> = Vec::new();
    let mut absent: Vec<&str> = Vec::new();
    for text in arns {
        match arn::load_balancer(context, &region, text) {
            Ok(balancer) => found.push(balancer),
            Err(error) if error.code() == "LoadBalancerNotFound" => absent.push(text),
            Err(error) => return Err(error),
        }
    }
    for name in names {
        match load_balancer_named(&region, name) {
            Some(balancer) => found.push(balancer),
            None => absent.push(name),
        }
    }
    if !absent.is_empty() {
        let named = absent.join(", ").into();
        return Err(refused(BalancingError::LoadBalancersNotFound { named }));
    }
    if arns.is_empty() && names.is_empty() {
        found.extend(region.load_balancers.values());
    }
    found.sort_by_key(|balancer| balancer.id);
    found.dedup_by_key(|balancer| balancer.id);
    let described = found
        .into_iter()
        .map(|balancer| (balancer.id.to_string(), answer(context, balancer)));
    let page = page::take(described, request.marker.as_deref(), request.page_size)?;
    let (load_balancers, next_marker) = page;
    Ok(DescribeLoadBalancersResponse {
        load_balancers,
        next_marker,
    })
}

/// DescribeLoadBalancerAttributes.
pub(super) async fn describe_load_balancer_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: DescribeLoadBalancerAttributesRequest,
) -> Result<DescribeLoadBalancerAttributesResponse, ApiError> {
    let region = elbv2.region(&context.caller()).await?;
    let balancer = arn::load_balancer(context, &region, &request.load_balancer_arn)?;
    Ok(DescribeLoadBalancerAttributesResponse {
        attributes: attributes(balancer),
    })
}

/// ModifyLoadBalancerAttributes.
pub(super) async fn modify_load_balancer_attributes(
    elbv2: &Elbv2,
    context: &Context,
    request: ModifyLoadBalancerAttributesRequest,
) -> Result<ModifyLoadBalancerAttributesResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let balancer = arn::load_balancer(context, &region, &request.load_balancer_arn)?;
    let id = balancer.id;
    let wanted = request.attributes.into_iter();
    let wanted: Vec<_> = wanted.map(|own| attribute(own.key, own.value)).collect();
    if let Some(bucket) = new_access_log_bucket(balancer, &wanted)
        && let Some(deliveries) = &elbv2.deliveries
        && deliveries.refusal(&bucket).await.is_some()
    {
        let bucket = bucket.into();
        return Err(refused(BalancingError::BucketDenied { bucket }));
    }
    let balancer = elbv2
        .control
        .modify_load_balancer_attributes(&caller, id, &wanted)
        .await?;
    Ok(ModifyLoadBalancerAttributesResponse {
        attributes: attributes(&balancer),
    })
}

/// SetIpAddressType.
pub(super) async fn set_ip_address_type(
    elbv2: &Elbv2,
    context: &Context,
    request: SetIpAddressTypeRequest,
) -> Result<SetIpAddressTypeResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::load_balancer(context, &region, &request.load_balancer_arn)?.id;
    let wanted = addresses(Some(&request.ip_address_type)).unwrap_or_default();
    let balancer = elbv2
        .control
        .set_load_balancer_ip_address_type(&caller, id, wanted)
        .await?;
    Ok(SetIpAddressTypeResponse {
        ip_address_type: Some(balancer.ip_address_type.word().into()),
    })
}

/// SetSecurityGroups.
pub(super) async fn set_security_groups(
    elbv2: &Elbv2,
    context: &Context,
    request: SetSecurityGroupsRequest,
) -> Result<SetSecurityGroupsResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::load_balancer(context, &region, &request.load_balancer_arn)?.id;
    let groups = groups(&request.security_groups)?;
    let balancer = elbv2
        .control
        .set_load_balancer_security_groups(&caller, id, &groups)
        .await?;
    let groups = balancer.security_groups.iter();
    Ok(SetSecurityGroupsResponse {
        security_group_ids: groups.map(Text::display).collect(),
        enforce_security_group_inbound_rules_on_private_link_traffic: Some(ON.into()),
    })
}

/// SetSubnets.
pub(super) async fn set_subnets(
    elbv2: &Elbv2,
    context: &Context,
    request: SetSubnetsRequest,
) -> Result<SetSubnetsResponse, ApiError> {
    let caller = context.caller();
    let region = elbv2.region(&caller).await?;
    let id = arn::load_balancer(context, &region, &request.load_balancer_arn)?.id;
    let subnets = subnets(&request.subnets, &request.subnet_mappings)?;
    let balancer = elbv2
        .control
        .set_load_balancer_subnets(
            &caller,
            id,
            &subnets,
            addresses(request.ip_address_type.as_deref()),
        )
        .await?;
    Ok(SetSubnetsResponse {
        availability_zones: balancer.zones.iter().map(zone).collect(),
        ip_address_type: Some(balancer.ip_address_type.word().into()),
        enable_prefix_for_ipv6_source_nat: Some(OFF.into()),
    })
}

/// The address type of AWS's word: of those that the table lets through.
fn addresses(word: Option<&str>) -> Option<IpAddressType> {
    match word? {
        "dualstack" => Some(IpAddressType::Dualstack),
        _ => Some(IpAddressType::Ipv4),
    }
}

const ON: &str = "on";
const OFF: &str = "off";

/// The subnets of a request, which names them alone or with addresses.
fn subnets(
    plain: &[String],
    mappings: &[request::SubnetMapping],
) -> Result<Vec<SubnetMapping>, ApiError> {
    if !plain.is_empty() && !mappings.is_empty() {
        let why = "You can specify either subnets or subnet mappings, but not both";
        return Err(invalid(why));
    }
    if plain.is_empty() && mappings.is_empty() {
        return Err(invalid("At least one subnet must be specified"));
    }
    let id = |text: &str| {
        let read = text.parse();
        let not_found = || BalancingError::SubnetNotFound { id: text.into() };
        read.map_err(|_malformed| refused(not_found()))
    };
    let mut wanted = Vec::with_capacity(plain.len() + mappings.len());
    for text in plain {
        wanted.push(SubnetMapping {
            subnet: id(text)?,
            allocation: None,
            private_ip: None,
            ipv6: None,
        });
    }
    for mapping in mappings {
        let allocation = mapping.allocation_id.as_deref().map(|text| {
            let not_found = || BalancingError::AllocationNotFound { id: text.into() };
            text.parse().map_err(|_malformed| refused(not_found()))
        });
        let private_ip = mapping.private_i_pv4_address.as_deref().map(|text| {
            let read = parse_address(text);
            read.map_err(|_malformed| {
                let short: String = text.chars().take(100).collect();
                invalid(format!("The private IPv4 address '{short}' is not valid"))
            })
        });
        let ipv6 = mapping.i_pv6_address.as_deref().map(|text| {
            text.parse().map_err(|_malformed| {
                let short: String = text.chars().take(100).collect();
                invalid(format!("The IPv6 address '{short}' is not valid"))
            })
        });
        wanted.push(SubnetMapping {
            subnet: id(mapping.subnet_id.as_deref().unwrap_or_default())?,
            allocation: allocation.transpose()?,
            private_ip: private_ip.transpose()?,
            ipv6: ipv6.transpose()?,
        });
    }
    Ok(wanted)
}

fn groups(texts: &[String]) -> Result<Vec<SecurityGroupId>, ApiError> {
    let ids = texts.iter().map(|text| {
        let not_found = || BalancingError::SecurityGroup {
            id: (**text).into(),
        };
        text.parse().map_err(|_malformed| refused(not_found()))
    });
    ids.collect()
}

fn attributes(balancer: &LoadBalancer) -> Vec<LoadBalancerAttribute> {
    let attributes = load_balancer_attributes(balancer).into_iter();
    let attributes = attributes.map(|(key, value)| LoadBalancerAttribute {
        key: Some(key.into()),
        value: Some(Text::display(value)),
    });
    attributes.collect()
}

fn zone(own: &LoadBalancerZone) -> AvailabilityZone {
    let given = own.public.and_then(|public| {
        let allocation = public.allocation?;
        Some((public.public_ip, allocation))
    });
    // AWS tells of the addresses that were asked for, and of no others.
    let address = LoadBalancerAddress {
        ip_address: given.map(|(public_ip, _)| Text::display(public_ip)),
        allocation_id: given.map(|(_, allocation)| Text::display(allocation)),
        private_i_pv4_address: own
            .is_private_ip_chosen
            .then(|| Text::display(own.private_ip)),
        i_pv6_address: own.ipv6.filter(|_| own.is_ipv6_chosen).map(Text::display),
    };
    let is_told = given.is_some() || own.is_private_ip_chosen || own.is_ipv6_chosen;
    let address = is_told.then_some(address);
    AvailabilityZone {
        zone_name: Some(own.zone.as_str().into()),
        subnet_id: Some(Text::display(own.subnet)),
        load_balancer_addresses: address.into_iter().collect(),
    }
}

fn answer(context: &Context, balancer: &LoadBalancer) -> response::LoadBalancer {
    let groups = balancer.security_groups.iter();
    let has_groups = !balancer.security_groups.is_empty();
    response::LoadBalancer {
        load_balancer_arn: Some(Text::display(load_balancer_arn(
            &context.caller(),
            balancer,
        ))),
        dns_name: Some(Text::display(balancer.dns_name(context.region))),
        canonical_hosted_zone_id: hosted_zone(context.region.name).map(Text::from),
        created_time: Some(balancer.create_time),
        load_balancer_name: Some(balancer.name.as_str().into()),
        scheme: Some(match balancer.scheme {
            Scheme::Internal => "internal".into(),
            Scheme::InternetFacing => "internet-facing".into(),
        }),
        vpc_id: Some(Text::display(balancer.vpc)),
        state: Some(LoadBalancerState {
            code: Some("active".into()),
        }),
        r#type: Some("network".into()),
        availability_zones: balancer.zones.iter().map(zone).collect(),
        security_groups: groups.map(Text::display).collect(),
        ip_address_type: Some(balancer.ip_address_type.word().into()),
        enforce_security_group_inbound_rules_on_private_link_traffic: has_groups.then(|| ON.into()),
        enable_prefix_for_ipv6_source_nat: Some(OFF.into()),
    }
}

/// The hosted zone that names of network load balancers are in, where AWS's is known.
fn hosted_zone(region: &str) -> Option<&'static str> {
    let place = HOSTED_ZONES.binary_search_by(|(known, _)| (*known).cmp(region));
    let place = place.ok().and_then(|place| HOSTED_ZONES.get(place));
    place.map(|(_, zone)| *zone)
}

/// By region. Source: AWS General Reference, "Elastic Load Balancing endpoints and quotas".
const HOSTED_ZONES: &[(&str, &str)] = &[
    ("ap-east-1", "Z12Y7K3UBGUAD1"),
    ("ap-northeast-1", "Z31USIVHYNEOWT"),
    ("ap-northeast-2", "ZIBE1TIR4HY56"),
    ("ap-south-1", "ZVDDRBQ08TROA"),
    ("ap-southeast-1", "ZKVM4W9LS7TM"),
    ("ap-southeast-2", "ZCT6FZBF4DROD"),
    ("ca-central-1", "Z2EPGBW3API2WT"),
    ("cn-north-1", "Z3QFB96KMJ7ED6"),
    ("eu-central-1", "Z3F0SRJ5LGBH90"),
    ("eu-north-1", "Z1UDT6IFJ4EJM"),
    ("eu-south-1", "Z23146JA1KNAFP"),
    ("eu-west-1", "Z2IFOLAFXWLO4F"),
    ("eu-west-2", "ZD4D7Y8KGAS4G"),
    ("eu-west-3", "Z1CMS0P5QUZ6D5"),
    ("sa-east-1", "ZTK26PT1VY4CU"),
    ("us-east-1", "Z26RNL4JYFTOTI"),
    ("us-east-2", "ZLMOA37VPKANP"),
    ("us-west-1", "Z24FKFUX50B4VW"),
    ("us-west-2", "Z18D5FSROUN65G"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosted_zones_are_found_where_they_are_known() {
        assert!(HOSTED_ZONES.is_sorted_by(|one, next| one.0 < next.0));
        assert_eq!(hosted_zone("eu-west-1"), Some("Z2IFOLAFXWLO4F"));
        assert_eq!(hosted_zone("eu-west-9"), None);
    }

    #[test]
    fn subnets_are_named_one_way() {
        let id = "subnet-00000000000000007".to_owned();
        let mapping = request::SubnetMapping {
            subnet_id: Some(id.clone()),
            ..request::SubnetMapping::default()
        };
        let (plain, mappings) = ([id.clone()], [mapping.clone()]);
        assert_eq!(subnets(&plain, &[]).unwrap().len(), 1);
        assert_eq!(subnets(&[], &mappings).unwrap().len(), 1);
        for (plain, mappings, code) in [
            (vec![], vec![], "ValidationError"),
            (vec![id], vec![mapping], "ValidationError"),
            (vec!["subnet-x".to_owned()], vec![], "SubnetNotFound"),
        ] {
            let error = subnets(&plain, &mappings).unwrap_err();
            assert_eq!(error.code(), code);
        }
    }
}
