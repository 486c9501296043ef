//! Filters of traffic mirroring.

use enid_control::CreateTrafficMirrorFilter;
use enid_model::id::TrafficMirrorFilterId;
use enid_model::security_group::Direction;
use enid_model::traffic_mirror::TrafficMirrorFilter;

use super::filter::Filters;
use super::page::{Page, USUAL};
use super::traffic_mirror_filter_rule::answer as rule;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    CreateTrafficMirrorFilterRequest, DeleteTrafficMirrorFilterRequest,
    DescribeTrafficMirrorFiltersRequest, ModifyTrafficMirrorFilterNetworkServicesRequest,
};
use crate::generated::ec2::response::{
    self, CreateTrafficMirrorFilterResponse, DeleteTrafficMirrorFilterResponse,
    DescribeTrafficMirrorFiltersResponse, ModifyTrafficMirrorFilterNetworkServicesResponse,
};
use crate::wire::text::Text;

/// CreateTrafficMirrorFilter.
pub(super) async fn create_traffic_mirror_filter(
    ec2: &Ec2,
    context: &Context,
    request: CreateTrafficMirrorFilterRequest,
) -> Result<CreateTrafficMirrorFilterResponse, ApiError> {
    let input = CreateTrafficMirrorFilter {
        description: request.description.filter(|text| !text.is_empty()),
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let made = ec2.control.create_traffic_mirror_filter(&caller, &input);
    let filter = answer(&made.await?);
    Ok(CreateTrafficMirrorFilterResponse {
        traffic_mirror_filter: Some(filter),
        client_token: input.client_token.map(Text::from),
    })
}

/// ModifyTrafficMirrorFilterNetworkServices.
pub(super) async fn modify_traffic_mirror_filter_network_services(
    ec2: &Ec2,
    context: &Context,
    request: ModifyTrafficMirrorFilterNetworkServicesRequest,
) -> Result<ModifyTrafficMirrorFilterNetworkServicesResponse, ApiError> {
    let filter = id::parse(&request.traffic_mirror_filter_id)?;
    // The only service that the parser lets pass is the resolver.
    let add = !request.add_network_services.is_empty();
    let remove = !request.remove_network_services.is_empty();
    let caller = context.caller();
    let filter = ec2
        .control
        .modify_traffic_mirror_filter_network_services(&caller, filter, add, remove)
        .await?;
    Ok(ModifyTrafficMirrorFilterNetworkServicesResponse {
        traffic_mirror_filter: Some(answer(&filter)),
    })
}

const AMAZON_DNS: &str = "amazon-dns";

/// DeleteTrafficMirrorFilter.
pub(super) async fn delete_traffic_mirror_filter(
    ec2: &Ec2,
    context: &Context,
    request: DeleteTrafficMirrorFilterRequest,
) -> Result<DeleteTrafficMirrorFilterResponse, ApiError> {
    let filter = id::parse(&request.traffic_mirror_filter_id)?;
    let caller = context.caller();
    let gone = ec2.control.delete_traffic_mirror_filter(&caller, filter);
    gone.await?;
    Ok(DeleteTrafficMirrorFilterResponse {
        traffic_mirror_filter_id: Some(Text::display(filter)),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Description,
    Id,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "description" => Field::Description,
        "traffic-mirror-filter-id" => Field::Id,
        _ => return None,
    })
}

/// DescribeTrafficMirrorFilters.
pub(super) async fn describe_traffic_mirror_filters(
    ec2: &Ec2,
    context: &Context,
    request: DescribeTrafficMirrorFiltersRequest,
) -> Result<DescribeTrafficMirrorFiltersResponse, ApiError> {
    let ids = request.traffic_mirror_filter_ids;
    let named = (!ids.is_empty()).then_some("trafficMirrorFilterIds");
    let page = Page::read(
        "DescribeTrafficMirrorFilters",
        USUAL,
        request.max_results,
        request.next_token.as_deref(),
        named,
    )?;
    let filters = Filters::compile(&request.filters, field)?;
    let region = ec2.control.read(&context.caller()).await?;
    let after: Option<TrafficMirrorFilterId> = page.after()?;
    let wanted = id::find(&ids, &region.traffic_mirror_filters)?;
    let wanted = wanted.into_values();
    let all = region.traffic_mirror_filters.values();
    let all = all.filter(|_| named.is_none());
    let found = wanted.chain(all).filter(|filter| {
        after.is_none_or(|after| filter.id > after)
            && filters.match_resource(&filter.tags, |field, test| match field {
                Field::Description => filter.description.iter().for_each(|text| test.text(text)),
                Field::Id => test.display(filter.id),
            })
    });
    let (found, next_token) = page.take(found, |filter| filter.id.to_string());
    Ok(DescribeTrafficMirrorFiltersResponse {
        traffic_mirror_filters: found.into_iter().map(|filter| answer(filter)).collect(),
        next_token,
    })
}

fn answer(filter: &TrafficMirrorFilter) -> response::TrafficMirrorFilter {
    let rules = |direction| {
        let rules = filter.rules_of(direction).into_iter();
        rules.map(|found| rule(filter.id, found)).collect()
    };
    response::TrafficMirrorFilter {
        traffic_mirror_filter_id: Some(Text::display(filter.id)),
        ingress_filter_rules: rules(Direction::Ingress),
        egress_filter_rules: rules(Direction::Egress),
        network_services: filter
            .amazon_dns
            .then(|| AMAZON_DNS.into())
            .into_iter()
            .collect(),
        description: filter.description.as_deref().map(Text::from),
        tags: tag::answer(&filter.tags),
    }
}
