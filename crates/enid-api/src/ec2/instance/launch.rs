//! RunInstances.

use enid_control::{
    InstanceState, InterfaceSpecification, RunInstances, WantedDevice, parse_address,
};
use enid_model::instance::Recorded;

use super::describe;
use crate::context::Context;
use crate::ec2::network_interface::describe::View;
use crate::ec2::network_interface::wanted::{Ipv4, Ipv6, timeouts};
use crate::ec2::{Ec2, id, instance_metadata, launch_template, private_dns_name, tag};
use crate::error::ApiError;
use crate::generated::ec2::request::{
    BlockDeviceMapping, InstanceNetworkInterfaceSpecification, RunInstancesRequest,
};
use crate::generated::ec2::response::RunInstancesResponse;
use crate::wire::params::from_base64;
use crate::wire::text::Text;

/// RunInstances.
pub(in crate::ec2) async fn run_instances(
    ec2: &Ec2,
    context: &Context,
    request: RunInstancesRequest,
) -> Result<RunInstancesResponse, ApiError> {
    let caller = context.caller();
    let (request, launch_template) = launch_template::applied(ec2, context, request).await?;
    let input = RunInstances {
        launch_template,
        ..input(request)?
    };
    let reservation = ec2.control.run_instances(&caller, input).await?;
    let region = ec2.control.see(&caller).await?;
    let view = View::new(context, &region);
    // What runs when this is answered is told by the next description, as in AWS.
    let instances = reservation.instances.iter();
    let instances =
        instances.map(|instance| describe::answer(&view, instance, InstanceState::Pending));
    Ok(RunInstancesResponse {
        reservation_id: Some(Text::display(reservation.id)),
        owner_id: Some(view.account.clone()),
        requester_id: None,
        groups: Vec::new(),
        instances: instances.collect(),
    })
}

fn input(request: RunInstancesRequest) -> Result<RunInstances, ApiError> {
    let image = request
        .image_id
        .ok_or_else(|| ApiError::missing_parameter("ImageId"))?;
    let terminate_on_shutdown = match request.instance_initiated_shutdown_behavior.as_deref() {
        Some(behavior) => terminates(behavior)?,
        None => false,
    };
    let address = request.private_ip_address.as_deref();
    let devices = request.block_device_mappings.into_iter().map(device);
    let interfaces = request.network_interfaces.into_iter().map(interface);
    let (metadata, names) = (request.metadata_options, request.private_dns_name_options);
    Ok(RunInstances {
        image,
        instance_type: request.instance_type,
        min_count: request.min_count,
        max_count: request.max_count,
        zone: request.placement.and_then(|place| place.availability_zone),
        subnet: id::parse_optional(request.subnet_id.as_deref())?,
        groups: id::parse_all(&request.security_group_ids)?,
        group_names: request.security_groups,
        private_address: address.map(parse_address).transpose()?,
        ipv6: Ipv6 {
            listed: &request.ipv6_addresses,
            count: request.ipv6_address_count,
            prefixes: &[],
            prefix_count: None,
            primary: request.enable_primary_ipv6,
        }
        .read()?,
        interfaces: interfaces.collect::<Result<_, _>>()?,
        user_data: request.user_data.as_deref().map(user_data).transpose()?,
        disable_api_termination: request.disable_api_termination.unwrap_or(false),
        disable_api_stop: request.disable_api_stop.unwrap_or(false),
        terminate_on_shutdown,
        metadata_options: metadata
            .map(instance_metadata::wanted)
            .transpose()?
            .unwrap_or_default(),
        private_dns_name_options: names
            .map(private_dns_name::wanted)
            .transpose()?
            .unwrap_or_default(),
        recorded: Recorded {
            key_name: request.key_name.filter(|name| !name.is_empty()),
            public_key: None,
            monitoring: request
                .monitoring
                .is_some_and(|monitoring| monitoring.enabled),
            ebs_optimized: request.ebs_optimized.unwrap_or(false),
            block_devices: Vec::new(),
            cpu_credits: request.credit_specification.map(|it| it.cpu_credits),
        },
        block_devices: devices.collect::<Result<_, _>>()?,
        launch_template: None,
        client_token: request.client_token.filter(|token| !token.is_empty()),
        tags: tag::specifications(request.tag_specifications),
    })
}

fn interface(
    request: InstanceNetworkInterfaceSpecification,
) -> Result<InterfaceSpecification, ApiError> {
    // The control plane checks how the three go together.
    let wanted = Ipv4 {
        primary: request.private_ip_address.as_deref(),
        listed: &request.private_ip_addresses,
        secondary_count: request.secondary_private_ip_address_count,
        prefixes: &request.ipv4_prefixes,
        prefix_count: request.ipv4_prefix_count,
    }
    .read()?;
    let ipv6 = Ipv6 {
        listed: &request.ipv6_addresses,
        count: request.ipv6_address_count,
        prefixes: &request.ipv6_prefixes,
        prefix_count: request.ipv6_prefix_count,
        primary: request.primary_ipv6,
    }
    .read()?;
    Ok(InterfaceSpecification {
        eni: id::parse_optional(request.network_interface_id.as_deref())?,
        device_index: request.device_index,
        network_card_index: request.network_card_index,
        subnet: id::parse_optional(request.subnet_id.as_deref())?,
        description: request.description,
        groups: id::parse_all(&request.groups)?,
        private_address: wanted.primary,
        private_addresses: wanted.listed,
        secondary_count: wanted.secondary_count,
        prefixes: wanted.prefixes,
        prefix_count: wanted.prefix_count,
        ipv6,
        connection_tracking: timeouts(request.connection_tracking_specification)?
            .unwrap_or_default(),
        associate_public_address: request.associate_public_ip_address,
        delete_on_termination: request.delete_on_termination,
    })
}

fn device(request: BlockDeviceMapping) -> Result<WantedDevice, ApiError> {
    let name = request.device_name;
    let name = name.ok_or_else(|| ApiError::missing_parameter("DeviceName"))?;
    let ebs = request.ebs.unwrap_or_default();
    Ok(WantedDevice {
        name,
        delete_on_termination: ebs.delete_on_termination,
        size: ebs.volume_size,
        volume_type: ebs.volume_type,
        iops: ebs.iops,
        throughput: ebs.throughput,
        encrypted: ebs.encrypted.unwrap_or(false),
        kms_key: ebs.kms_key_id,
    })
}

/// Whether a halt from inside shall terminate an instance.
pub(super) fn terminates(behavior: &str) -> Result<bool, ApiError> {
    match behavior {
        "stop" => Ok(false),
        "terminate" => Ok(true),
        other => {
            let name = "InstanceInitiatedShutdownBehavior";
            let hint = "Expecting stop or terminate.";
            Err(ApiError::invalid_parameter_value(other, name, hint))
        }
    }
}

/// User data come in base64; what is empty is none.
pub(super) fn user_data(text: &str) -> Result<Vec<u8>, ApiError> {
    // Clients break long lines.
    let packed: String = text.split_ascii_whitespace().collect();
    from_base64(&packed).ok_or_else(|| {
        let message = "Invalid BASE64 encoding of user data.".to_owned();
        ApiError::new("InvalidParameterValue", 400, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_are_base64() {
        assert_eq!(
            user_data("IyEv\nYmlu").ok().as_deref(),
            Some(&b"#!/bin"[..])
        );
        assert!(user_data("#!/bin/sh").is_err());
    }

    #[test]
    fn a_halt_stops_or_terminates() {
        assert!(matches!(terminates("terminate"), Ok(true)));
        assert!(matches!(terminates("stop"), Ok(false)));
        assert!(terminates("explode").is_err());
    }
}
