//! Regions and their zones.

use std::collections::BTreeMap;

use enid_model::region::Region;

use super::Ec2;
use super::filter::Filters;
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{DescribeAvailabilityZonesRequest, DescribeRegionsRequest};
use crate::generated::ec2::response::{
    self, AvailabilityZone, DescribeAvailabilityZonesResponse, DescribeRegionsResponse,
};
use crate::wire::text::Text;

#[derive(Clone, Copy, PartialEq)]
enum RegionField {
    Endpoint,
    Name,
    OptInStatus,
}

/// DescribeRegions: the regions of the caller's partition. All are usable, so that `AllRegions`
/// adds none.
pub(super) async fn describe_regions(
    _ec2: &Ec2,
    context: &Context,
    request: DescribeRegionsRequest,
) -> Result<DescribeRegionsResponse, ApiError> {
    let DescribeRegionsRequest {
        region_names,
        all_regions: _,
        filters,
    } = request;
    let filters = Filters::compile(&filters, |name| match name {
        "endpoint" => Some(RegionField::Endpoint),
        "opt-in-status" => Some(RegionField::OptInStatus),
        "region-name" => Some(RegionField::Name),
        _ => None,
    })?;
    let here = |region: &&Region| region.partition() == context.region.partition();
    for name in &region_names {
        if Region::named(name).filter(|region| here(region)).is_none() {
            return Err(invalid_name("region", name));
        }
    }
    let no_tags = BTreeMap::new();
    let regions = Region::all()
        .iter()
        .filter(here)
        .filter(|region| {
            region_names.is_empty() || region_names.iter().any(|name| name == region.name)
        })
        .filter(|region| {
            filters.match_resource(&no_tags, |field, test| match field {
                RegionField::Endpoint => test.display(endpoint(region)),
                RegionField::Name => test.text(region.name),
                RegionField::OptInStatus => test.text(opt_in_status(region)),
            })
        })
        .map(|region| response::Region {
            opt_in_status: Some(opt_in_status(region).into()),
            region_name: Some(region.name.into()),
            endpoint: Some(endpoint(region)),
        });
    Ok(DescribeRegionsResponse {
        regions: regions.collect(),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum ZoneField {
    GroupName,
    Id,
    Message,
    Name,
    OptInStatus,
    Parent,
    RegionName,
    State,
    Type,
}

/// DescribeAvailabilityZones: the zones of the caller's region. All are usable, so that
/// `AllAvailabilityZones` adds none.
pub(super) async fn describe_availability_zones(
    _ec2: &Ec2,
    context: &Context,
    request: DescribeAvailabilityZonesRequest,
) -> Result<DescribeAvailabilityZonesResponse, ApiError> {
    let DescribeAvailabilityZonesRequest {
        zone_names,
        zone_ids,
        all_availability_zones: _,
        filters,
    } = request;
    let filters = Filters::compile(&filters, |name| {
        Some(match name {
            "group-name" => ZoneField::GroupName,
            "message" => ZoneField::Message,
            "opt-in-status" => ZoneField::OptInStatus,
            "parent-zone-id" | "parent-zone-name" => ZoneField::Parent,
            "region-name" => ZoneField::RegionName,
            "state" => ZoneField::State,
            "zone-id" => ZoneField::Id,
            "zone-name" => ZoneField::Name,
            "zone-type" => ZoneField::Type,
            _ => return None,
        })
    })?;
    let region = context.region;
    let zones: Vec<(String, String)> = region.zones().collect();
    for name in &zone_names {
        if !zones.iter().any(|(known, _)| known == name) {
            return Err(invalid_name("availability zone", name));
        }
    }
    for id in &zone_ids {
        if !zones.iter().any(|(_, known)| known == id) {
            return Err(invalid_name("availability zone id", id));
        }
    }
    // The zones of a region form one group, named after it and a part of the network border.
    let group = Text::display(format_args!("{}-zg-1", region.name));
    let no_tags = BTreeMap::new();
    let asked = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
    let zones = zones
        .into_iter()
        .filter(|(name, id)| asked(&zone_names, name) && asked(&zone_ids, id))
        .filter(|(name, id)| {
            filters.match_resource(&no_tags, |field, test| match field {
                ZoneField::GroupName => test.text(&group),
                ZoneField::Id => test.text(id),
                ZoneField::Message | ZoneField::Parent => {}
                ZoneField::Name => test.text(name),
                ZoneField::OptInStatus => test.text("opt-in-not-required"),
                ZoneField::RegionName => test.text(region.name),
                ZoneField::State => test.text("available"),
                ZoneField::Type => test.text("availability-zone"),
            })
        })
        .map(|(name, id)| AvailabilityZone {
            opt_in_status: Some("opt-in-not-required".into()),
            messages: Vec::new(),
            region_name: Some(region.name.into()),
            zone_name: Some(name.into()),
            zone_id: Some(id.into()),
            group_name: Some(group.clone()),
            network_border_group: Some(region.name.into()),
            zone_type: Some("availability-zone".into()),
            state: Some("available".into()),
        });
    Ok(DescribeAvailabilityZonesResponse {
        availability_zones: zones.collect(),
    })
}

fn endpoint(region: &Region) -> Text {
    Text::display(format_args!("ec2.{}.{}", region.name, region.dns_suffix()))
}

fn opt_in_status(region: &Region) -> &'static str {
    if region.opt_in {
        "opted-in"
    } else {
        "opt-in-not-required"
    }
}

fn invalid_name(what: &str, name: &str) -> ApiError {
    let short: String = name.chars().take(100).collect();
    let message = format!("Invalid {what}: [{short}]");
    ApiError::new("InvalidParameterValue", 400, message)
}
