//! GetLaunchTemplateData: a template that would launch what an instance is.

use enid_model::Tags;
use enid_model::id::InstanceId;
use enid_model::instance::Instance;
use enid_model::network_interface::{ConnectionTracking, NetworkInterface};
use enid_model::state::RegionState;

use crate::context::Context;
use crate::ec2::{Ec2, id, instance_metadata, private_dns_name, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::GetLaunchTemplateDataRequest;
use crate::generated::ec2::response::{
    ConnectionTrackingSpecification, CreditSpecification, GetLaunchTemplateDataResponse,
    InstanceIpv6Address, Ipv4PrefixSpecificationResponse, Ipv6PrefixSpecificationResponse,
    LaunchTemplateBlockDeviceMapping, LaunchTemplateEbsBlockDevice, LaunchTemplateEnclaveOptions,
    LaunchTemplateHibernationOptions, LaunchTemplateInstanceMetadataOptions,
    LaunchTemplateInstanceNetworkInterfaceSpecification, LaunchTemplatePlacement,
    LaunchTemplatePrivateDnsNameOptions, LaunchTemplateTagSpecification, LaunchTemplatesMonitoring,
    PrivateIpAddressSpecification, ResponseLaunchTemplateData,
};
use crate::wire::params::to_base64;
use crate::wire::text::Text;

/// GetLaunchTemplateData.
pub(in crate::ec2) async fn get_launch_template_data(
    ec2: &Ec2,
    context: &Context,
    request: GetLaunchTemplateDataRequest,
) -> Result<GetLaunchTemplateDataResponse, ApiError> {
    let id: InstanceId = id::parse(&request.instance_id)?;
    let caller = context.caller();
    let instance = ec2.control.instance(&caller, id).await?;
    let region = ec2.control.read(&caller).await?;
    Ok(GetLaunchTemplateDataResponse {
        launch_template_data: Some(data(&region, &instance)),
    })
}

fn data(region: &RegionState, instance: &Instance) -> ResponseLaunchTemplateData {
    let recorded = &instance.recorded;
    let behavior = if instance.terminate_on_shutdown {
        "terminate"
    } else {
        "stop"
    };
    // Tags of AWS's own cannot be asked for.
    let own = instance.tags.iter();
    let own = own.filter(|(key, _)| !key.starts_with("aws:"));
    let own: Tags = own
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let tags = LaunchTemplateTagSpecification {
        resource_type: Some("instance".into()),
        tags: tag::answer(&own),
    };
    let interfaces = region.enis_of_instance(instance.id);
    let credits = enid_control::cpu_credits(instance);
    let names = private_dns_name::answer(instance.private_dns_name_options);
    ResponseLaunchTemplateData {
        ebs_optimized: Some(recorded.ebs_optimized),
        block_device_mappings: Some(block_devices(region, instance)),
        network_interfaces: Some(interfaces.map(|eni| interface(eni)).collect()),
        image_id: Some(instance.image.as_str().into()),
        instance_type: Some(instance.instance_type.as_str().into()),
        key_name: recorded.key_name.as_deref().map(Text::from),
        monitoring: Some(LaunchTemplatesMonitoring {
            enabled: Some(recorded.monitoring),
        }),
        placement: Some(LaunchTemplatePlacement {
            availability_zone: Some(instance.zone.as_str().into()),
            tenancy: Some("default".into()),
        }),
        disable_api_termination: Some(instance.disable_api_termination),
        instance_initiated_shutdown_behavior: Some(behavior.into()),
        user_data: instance
            .user_data
            .as_deref()
            .map(|data| to_base64(data).into()),
        tag_specifications: (!own.is_empty()).then(|| vec![tags]),
        // The interfaces say them.
        security_group_ids: None,
        security_groups: None,
        credit_specification: credits.map(|credits| CreditSpecification {
            cpu_credits: Some(credits.into()),
        }),
        hibernation_options: Some(LaunchTemplateHibernationOptions {
            configured: Some(false),
        }),
        enclave_options: Some(LaunchTemplateEnclaveOptions {
            enabled: Some(false),
        }),
        disable_api_stop: Some(instance.disable_api_stop),
        metadata_options: Some(metadata_options(instance)),
        private_dns_name_options: Some(LaunchTemplatePrivateDnsNameOptions {
            hostname_type: names.hostname_type,
            enable_resource_name_dns_a_record: names.enable_resource_name_dns_a_record,
            enable_resource_name_dns_aaaa_record: names.enable_resource_name_dns_aaaa_record,
        }),
    }
}

/// Beside an endpoint that is off, no launch takes other options.
fn metadata_options(instance: &Instance) -> LaunchTemplateInstanceMetadataOptions {
    let told = instance_metadata::answer(instance.metadata_options);
    if !instance.metadata_options.endpoint_enabled {
        return LaunchTemplateInstanceMetadataOptions {
            http_endpoint: told.http_endpoint,
            ..LaunchTemplateInstanceMetadataOptions::default()
        };
    }
    LaunchTemplateInstanceMetadataOptions {
        http_tokens: told.http_tokens,
        http_put_response_hop_limit: told.http_put_response_hop_limit,
        http_endpoint: told.http_endpoint,
        http_protocol_ipv6: told.http_protocol_ipv6,
        instance_metadata_tags: told.instance_metadata_tags,
    }
}

fn block_devices(
    region: &RegionState,
    instance: &Instance,
) -> Vec<LaunchTemplateBlockDeviceMapping> {
    let number = |value: u32| i32::try_from(value).ok();
    let devices = instance.recorded.block_devices.iter();
    let devices = devices.filter_map(|device| {
        let form = &region.volumes.get(&device.volume)?.form;
        // What follows from the size is not asked for.
        let iops = form.iops.filter(|_| form.volume_type != "gp2");
        Some(LaunchTemplateBlockDeviceMapping {
            device_name: Some(device.name.as_str().into()),
            ebs: Some(LaunchTemplateEbsBlockDevice {
                encrypted: Some(form.encrypted),
                delete_on_termination: Some(device.delete_on_termination),
                iops: iops.and_then(number),
                kms_key_id: form.kms_key.as_deref().map(Text::from),
                volume_size: number(form.size_gib),
                volume_type: Some(form.volume_type.as_str().into()),
                throughput: form.throughput.and_then(number),
            }),
        })
    });
    devices.collect()
}

fn interface(eni: &NetworkInterface) -> LaunchTemplateInstanceNetworkInterfaceSpecification {
    let seconds = |timeout: Option<u32>| timeout.and_then(|seconds| i32::try_from(seconds).ok());
    let addresses = eni.addresses.iter().enumerate();
    let addresses = addresses.map(|(at, address)| PrivateIpAddressSpecification {
        primary: Some(at == 0),
        private_ip_address: Some(Text::display(address)),
    });
    let ipv6_addresses = eni.ipv6_addresses.iter();
    let ipv6_addresses = ipv6_addresses.map(|address| InstanceIpv6Address {
        ipv6_address: Some(Text::display(address)),
        is_primary_ipv6: None,
    });
    let ipv4_prefixes = eni.ipv4_prefixes.iter();
    let ipv4_prefixes = ipv4_prefixes.map(|prefix| Ipv4PrefixSpecificationResponse {
        ipv4_prefix: Some(Text::display(prefix)),
    });
    let ipv6_prefixes = eni.ipv6_prefixes.iter();
    let ipv6_prefixes = ipv6_prefixes.map(|prefix| Ipv6PrefixSpecificationResponse {
        ipv6_prefix: Some(Text::display(prefix)),
    });
    let timeouts = eni.connection_tracking;
    let attachment = eni.attachment.as_ref();
    LaunchTemplateInstanceNetworkInterfaceSpecification {
        associate_public_ip_address: Some(eni.public_address.is_some()),
        delete_on_termination: attachment.map(|it| it.delete_on_termination),
        description: Some(eni.description.as_str().into()),
        device_index: attachment.map(|it| it.device_index.into()),
        groups: Some(eni.groups.iter().map(Text::display).collect()),
        interface_type: Some("interface".into()),
        ipv6_address_count: None,
        ipv6_addresses: some(ipv6_addresses.collect()),
        // A new interface like this one, not this one.
        network_interface_id: None,
        private_ip_address: None,
        private_ip_addresses: Some(addresses.collect()),
        secondary_private_ip_address_count: None,
        subnet_id: Some(Text::display(eni.subnet)),
        network_card_index: attachment.map(|it| it.network_card_index.into()),
        ipv4_prefixes: some(ipv4_prefixes.collect()),
        ipv4_prefix_count: None,
        ipv6_prefixes: some(ipv6_prefixes.collect()),
        ipv6_prefix_count: None,
        primary_ipv6: eni.primary_ipv6.then_some(true),
        connection_tracking_specification: (timeouts != ConnectionTracking::default()).then(|| {
            ConnectionTrackingSpecification {
                tcp_established_timeout: seconds(timeouts.tcp_established_timeout),
                udp_timeout: seconds(timeouts.udp_timeout),
                udp_stream_timeout: seconds(timeouts.udp_stream_timeout),
            }
        }),
    }
}

/// A list that is absent if it is empty.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
