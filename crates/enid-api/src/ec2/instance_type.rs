//! Instance types, with what the data file knows of them.

use std::collections::BTreeMap;
use std::str::FromStr;

use enid_model::instance_type::{InstanceType, NetworkCard};

use super::Ec2;
use super::filter::{Filters, Test};
use super::page::{self, Page};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeInstanceTypeOfferingsRequest, DescribeInstanceTypesRequest,
};
use crate::generated::ec2::response::{
    DescribeInstanceTypeOfferingsResponse, DescribeInstanceTypesResponse, InstanceTypeInfo,
    InstanceTypeOffering, MemoryInfo, NetworkCardInfo, NetworkInfo, ProcessorInfo, VCpuInfo,
};
use crate::wire::text::Text;

/// What instance types can be filtered by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Architecture,
    BareMetal,
    Burstable,
    CurrentGeneration,
    EfaSupported,
    EnaSupport,
    EncryptionInTransit,
    Hypervisor,
    InterfacesMax,
    Ipv4PerInterface,
    Ipv6PerInterface,
    Ipv6Supported,
    MemoryMib,
    Name,
    NetworkCardsMax,
    NetworkPerformance,
    RootDeviceType,
    UsageClass,
    Vcpus,
    VirtualizationType,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bare-metal" => Self::BareMetal,
            "burstable-performance-supported" => Self::Burstable,
            "current-generation" => Self::CurrentGeneration,
            "hypervisor" => Self::Hypervisor,
            "instance-type" => Self::Name,
            "memory-info.size-in-mib" => Self::MemoryMib,
            "network-info.efa-supported" => Self::EfaSupported,
            "network-info.ena-support" => Self::EnaSupport,
            "network-info.encryption-in-transit-supported" => Self::EncryptionInTransit,
            "network-info.ipv4-addresses-per-interface" => Self::Ipv4PerInterface,
            "network-info.ipv6-addresses-per-interface" => Self::Ipv6PerInterface,
            "network-info.ipv6-supported" => Self::Ipv6Supported,
            "network-info.maximum-network-cards" => Self::NetworkCardsMax,
            "network-info.maximum-network-interfaces" => Self::InterfacesMax,
            "network-info.network-performance" => Self::NetworkPerformance,
            "processor-info.supported-architecture" => Self::Architecture,
            "supported-root-device-type" => Self::RootDeviceType,
            "supported-usage-class" => Self::UsageClass,
            "supported-virtualization-type" => Self::VirtualizationType,
            "vcpu-info.default-vcpus" => Self::Vcpus,
            _ => return None,
        })
    }
}

/// DescribeInstanceTypes. Every type is offered in every region.
pub(super) async fn describe_instance_types(
    _ec2: &Ec2,
    _context: &Context,
    request: DescribeInstanceTypesRequest,
) -> Result<DescribeInstanceTypesResponse, ApiError> {
    let DescribeInstanceTypesRequest {
        instance_types: names,
        filters,
        max_results,
        next_token,
        include_unsupported_in_region: _,
    } = request;
    let filters = Filters::compile(&filters, Field::named)?;
    let page = Page::read(
        "DescribeInstanceTypes",
        5..=100,
        max_results,
        next_token.as_deref(),
        (!names.is_empty()).then_some("instanceTypes"),
    )?;
    let unknown: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| InstanceType::named(name).is_none())
        .collect();
    if !unknown.is_empty() {
        let unknown: String = unknown.join(", ").chars().take(200).collect();
        let message = format!("The following supplied instance types do not exist: [{unknown}]");
        return Err(ApiError::new("InvalidInstanceType", 400, message));
    }
    let after: Option<String> = page.after()?;
    let no_tags = BTreeMap::new();
    let types = InstanceType::all().filter(|(name, found)| {
        after.as_deref().is_none_or(|after| *name > after)
            && (names.is_empty() || names.iter().any(|wanted| wanted == name))
            && filters.match_resource(&no_tags, |field, test| values(name, found, field, test))
    });
    let (types, next_token) = page.take(types, |(name, _)| (*name).to_owned());
    Ok(DescribeInstanceTypesResponse {
        instance_types: types
            .iter()
            .map(|(name, found)| answer(name, found))
            .collect(),
        next_token,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum OfferingField {
    Location,
    Name,
}

/// The place of an offering in the list of all: a type at a location.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Offering(String, String);

impl FromStr for Offering {
    /// Nobody asks why: the page says that the token is wrong.
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, location) = text.split_once('/').ok_or(())?;
        Ok(Self(name.to_owned(), location.to_owned()))
    }
}

/// DescribeInstanceTypeOfferings. Every type is offered in every zone of every region.
pub(super) async fn describe_instance_type_offerings(
    _ec2: &Ec2,
    context: &Context,
    request: DescribeInstanceTypeOfferingsRequest,
) -> Result<DescribeInstanceTypeOfferingsResponse, ApiError> {
    let (operation, token) = (
        "DescribeInstanceTypeOfferings",
        request.next_token.as_deref(),
    );
    let page = Page::read(operation, page::USUAL, request.max_results, token, None)?;
    let filters = Filters::compile(&request.filters, |name| match name {
        "instance-type" => Some(OfferingField::Name),
        "location" => Some(OfferingField::Location),
        _ => None,
    })?;
    let location_type = request.location_type.as_deref().unwrap_or("region");
    let zones = context.region.zones();
    let mut locations: Vec<String> = match location_type {
        "availability-zone" => zones.map(|(name, _)| name).collect(),
        "availability-zone-id" => zones.map(|(_, id)| id).collect(),
        // The support table lets nothing else pass.
        _ => vec![context.region.name.to_owned()],
    };
    locations.sort_unstable();
    let after: Option<Offering> = page.after()?;
    let no_tags = BTreeMap::new();
    let all = InstanceType::all().flat_map(|(name, _)| {
        let locations = locations.iter();
        locations.map(|location| Offering((*name).to_owned(), location.clone()))
    });
    let wanted = all.filter(|offering| {
        after.as_ref().is_none_or(|after| offering > after)
            && filters.match_resource(&no_tags, |field, test| match field {
                OfferingField::Location => test.text(&offering.1),
                OfferingField::Name => test.text(&offering.0),
            })
    });
    let key = |offering: &Offering| format!("{}/{}", offering.0, offering.1);
    let (offerings, next_token) = page.take(wanted, key);
    let offerings = offerings.into_iter().map(|offering| InstanceTypeOffering {
        instance_type: Some(offering.0.into()),
        location_type: Some(location_type.into()),
        location: Some(offering.1.into()),
    });
    Ok(DescribeInstanceTypeOfferingsResponse {
        instance_type_offerings: offerings.collect(),
        next_token,
    })
}

/// Tells the values that a type has under a filter's name; none where the file knows none.
fn values(name: &str, found: &InstanceType, field: Field, test: &mut Test<'_>) {
    let flag = |value: Option<bool>, test: &mut Test<'_>| {
        if let Some(value) = value {
            test.flag(value);
        }
    };
    let text = |value: Option<&String>, test: &mut Test<'_>| {
        if let Some(value) = value {
            test.text(value);
        }
    };
    match field {
        Field::Architecture => found.arch.iter().for_each(|arch| test.text(arch)),
        Field::BareMetal => flag(found.bare_metal, test),
        Field::Burstable => flag(found.burstable_cpu, test),
        Field::CurrentGeneration => flag(found.current_generation, test),
        Field::EfaSupported => flag(found.efa, test),
        Field::EnaSupport => text(found.ena.as_ref(), test),
        Field::EncryptionInTransit => flag(found.encryption_in_transit, test),
        Field::Hypervisor => text(found.hypervisor.as_ref(), test),
        Field::InterfacesMax => test.display(found.max_enis),
        Field::Ipv4PerInterface => test.display(found.ipv4_per_eni),
        Field::Ipv6PerInterface => found.ipv6_per_eni.iter().for_each(|n| test.display(n)),
        Field::Ipv6Supported => flag(found.ipv6_per_eni.map(|n| n > 0), test),
        Field::MemoryMib => found.memory_mib.iter().for_each(|n| test.display(n)),
        Field::Name => test.text(name),
        Field::NetworkCardsMax => found.network_cards.iter().for_each(|n| test.display(n)),
        Field::NetworkPerformance => text(found.network_performance.as_ref(), test),
        Field::RootDeviceType => test.text(ROOT_DEVICE_TYPE),
        Field::UsageClass => test.text(USAGE_CLASS),
        Field::Vcpus => found.vcpus.iter().for_each(|n| test.display(n)),
        Field::VirtualizationType => test.text(VIRTUALIZATION_TYPE),
    }
}

fn answer(name: &str, found: &InstanceType) -> InstanceTypeInfo {
    let text = |value: &Option<String>| value.as_deref().map(Text::from);
    let cards = found.each_card().zip(0..);
    let network_info = NetworkInfo {
        network_performance: text(&found.network_performance),
        maximum_network_interfaces: Some(found.max_enis.into()),
        maximum_network_cards: found.network_cards.map(i32::from),
        default_network_card_index: Some(0),
        network_cards: cards
            .map(|(each, index)| card(each, index, found))
            .collect(),
        ipv4_addresses_per_interface: Some(found.ipv4_per_eni.into()),
        ipv6_addresses_per_interface: found.ipv6_per_eni.map(i32::from),
        ipv6_supported: found.ipv6_per_eni.map(|count| count > 0),
        ena_support: text(&found.ena),
        efa_supported: found.efa,
        encryption_in_transit_supported: found.encryption_in_transit,
        ena_srd_supported: found.ena_express,
    };
    InstanceTypeInfo {
        instance_type: Some(name.into()),
        current_generation: found.current_generation,
        supported_usage_classes: vec![USAGE_CLASS.into()],
        supported_root_device_types: vec![ROOT_DEVICE_TYPE.into()],
        supported_virtualization_types: vec![VIRTUALIZATION_TYPE.into()],
        bare_metal: found.bare_metal,
        hypervisor: text(&found.hypervisor),
        processor_info: Some(ProcessorInfo {
            supported_architectures: found.arch.iter().map(Text::from).collect(),
        }),
        v_cpu_info: Some(VCpuInfo {
            default_v_cpus: found.vcpus.and_then(|count| i32::try_from(count).ok()),
        }),
        memory_info: Some(MemoryInfo {
            size_in_mib: found.memory_mib.and_then(|size| i64::try_from(size).ok()),
        }),
        network_info: Some(network_info),
        burstable_performance_supported: found.burstable_cpu,
    }
}

fn card(card: &NetworkCard, index: i32, found: &InstanceType) -> NetworkCardInfo {
    NetworkCardInfo {
        network_card_index: Some(index),
        network_performance: found.network_performance.as_deref().map(Text::from),
        maximum_network_interfaces: Some(card.max_enis.into()),
        baseline_bandwidth_in_gbps: card.baseline_gbps,
        peak_bandwidth_in_gbps: card.peak_gbps,
    }
}

// What every instance of Enid is, whatever its type.
const ROOT_DEVICE_TYPE: &str = "ebs";
const USAGE_CLASS: &str = "on-demand";
const VIRTUALIZATION_TYPE: &str = "hvm";
