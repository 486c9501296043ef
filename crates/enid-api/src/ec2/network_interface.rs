//! Network interfaces: what changes them. [`describe`] tells about them.

mod association;
pub(super) mod candidates;
pub(super) mod describe;
pub(super) mod ipv6;
mod lent;
pub(super) mod permission;
mod service;
pub(super) mod wanted;
pub(super) mod written;

use enid_control::{
    AssignPrivateAddresses, AttachNetworkInterface, CreateNetworkInterface, Error,
    ModifyNetworkInterface, parse_address, parse_prefix,
};
use enid_model::id::EniId;

use self::describe::{View, answer};
use self::wanted::{Ipv4, Ipv6, count, read_all, timeouts};
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssignPrivateIpAddressesRequest, AttachNetworkInterfaceRequest, CreateNetworkInterfaceRequest,
    DeleteNetworkInterfaceRequest, DetachNetworkInterfaceRequest,
    ModifyNetworkInterfaceAttributeRequest, ResetNetworkInterfaceAttributeRequest,
    UnassignPrivateIpAddressesRequest,
};
use crate::generated::ec2::response::{
    AssignPrivateIpAddressesResponse, AssignedPrivateIpAddress, AttachNetworkInterfaceResponse,
    CreateNetworkInterfaceResponse, DeleteNetworkInterfaceResponse, DetachNetworkInterfaceResponse,
    Ipv4PrefixSpecification, ModifyNetworkInterfaceAttributeResponse,
    ResetNetworkInterfaceAttributeResponse, UnassignPrivateIpAddressesResponse,
};
use crate::wire::text::Text;

/// CreateNetworkInterface.
pub(super) async fn create_network_interface(
    ec2: &Ec2,
    context: &Context,
    request: CreateNetworkInterfaceRequest,
) -> Result<CreateNetworkInterfaceResponse, ApiError> {
    let caller = context.caller();
    let client_token = request.client_token.clone();
    let input = CreateNetworkInterface {
        subnet: id::parse(&request.subnet_id)?,
        description: request.description.unwrap_or_default(),
        groups: id::parse_all(&request.groups)?,
        addresses: Ipv4 {
            primary: request.private_ip_address.as_deref(),
            listed: &request.private_ip_addresses,
            secondary_count: request.secondary_private_ip_address_count,
            prefixes: &request.ipv4_prefixes,
            prefix_count: request.ipv4_prefix_count,
        }
        .read()?,
        ipv6: Ipv6 {
            listed: &request.ipv6_addresses,
            count: request.ipv6_address_count,
            prefixes: &request.ipv6_prefixes,
            prefix_count: request.ipv6_prefix_count,
            primary: request.enable_primary_ipv6,
        }
        .read()?,
        connection_tracking: timeouts(request.connection_tracking_specification)?
            .unwrap_or_default(),
        client_token: request.client_token,
        tags: tag::specifications(request.tag_specifications),
    };
    let eni = ec2.control.create_network_interface(&caller, input).await?;
    let region = ec2.control.see(&caller).await?;
    let mut network_interface = answer(&View::new(context, &region), &eni);
    // AWS's answer says so, and every later one what is.
    network_interface.status = Some("pending".into());
    Ok(CreateNetworkInterfaceResponse {
        network_interface: Some(network_interface),
        client_token: client_token.map(Text::from),
    })
}

/// DeleteNetworkInterface.
pub(super) async fn delete_network_interface(
    ec2: &Ec2,
    context: &Context,
    request: DeleteNetworkInterfaceRequest,
) -> Result<DeleteNetworkInterfaceResponse, ApiError> {
    let eni = id::parse(&request.network_interface_id)?;
    let caller = context.caller();
    ec2.control.delete_network_interface(&caller, eni).await?;
    Ok(DeleteNetworkInterfaceResponse {})
}

/// AttachNetworkInterface.
pub(super) async fn attach_network_interface(
    ec2: &Ec2,
    context: &Context,
    request: AttachNetworkInterfaceRequest,
) -> Result<AttachNetworkInterfaceResponse, ApiError> {
    let input = AttachNetworkInterface {
        eni: id::parse(&request.network_interface_id)?,
        instance: id::parse(&request.instance_id)?,
        device_index: request.device_index,
        network_card_index: request.network_card_index.unwrap_or(0),
    };
    let caller = context.caller();
    let attachment = ec2.control.attach_network_interface(&caller, input).await?;
    Ok(AttachNetworkInterfaceResponse {
        attachment_id: Some(Text::display(attachment.id)),
        network_card_index: Some(attachment.network_card_index.into()),
    })
}

/// DetachNetworkInterface. Every detachment is complete when it is answered, forced or not.
pub(super) async fn detach_network_interface(
    ec2: &Ec2,
    context: &Context,
    request: DetachNetworkInterfaceRequest,
) -> Result<DetachNetworkInterfaceResponse, ApiError> {
    if service::eni_of(&request.attachment_id).is_some() {
        return Err(Error::ServiceAttachment.into());
    }
    let attachment = id::parse(&request.attachment_id)?;
    let caller = context.caller();
    ec2.control
        .detach_network_interface(&caller, attachment)
        .await?;
    Ok(DetachNetworkInterfaceResponse {})
}

/// ModifyNetworkInterfaceAttribute.
pub(super) async fn modify_network_interface_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ModifyNetworkInterfaceAttributeRequest,
) -> Result<ModifyNetworkInterfaceAttributeResponse, ApiError> {
    let eni: EniId = id::parse(&request.network_interface_id)?;
    let groups = id::parse_all(&request.groups)?;
    let attachment = match request.attachment {
        None => None,
        Some(changes) => {
            let missing = || ApiError::missing_parameter("Attachment.AttachmentId");
            let attachment = changes.attachment_id.ok_or_else(missing)?;
            let missing = || ApiError::missing_parameter("Attachment.DeleteOnTermination");
            let goes = changes.delete_on_termination.ok_or_else(missing)?;
            Some((id::parse(&attachment)?, goes))
        }
    };
    let input = ModifyNetworkInterface {
        description: request
            .description
            .map(|description| description.value.unwrap_or_default()),
        groups: (!groups.is_empty()).then_some(groups),
        source_dest_check: request.source_dest_check.and_then(|check| check.value),
        associate_public_address: request.associate_public_ip_address,
        attachment,
        connection_tracking: timeouts(request.connection_tracking_specification)?,
        primary_ipv6: request.enable_primary_ipv6,
    };
    let caller = context.caller();
    ec2.control
        .modify_network_interface(&caller, eni, input)
        .await?;
    Ok(ModifyNetworkInterfaceAttributeResponse {})
}

/// ResetNetworkInterfaceAttribute: the only attribute that can be reset is source/destination
/// checking, and its parameter's value says nothing more.
pub(super) async fn reset_network_interface_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ResetNetworkInterfaceAttributeRequest,
) -> Result<ResetNetworkInterfaceAttributeResponse, ApiError> {
    let eni = id::parse(&request.network_interface_id)?;
    if request.source_dest_check.is_none() {
        return Err(ApiError::missing_parameter("SourceDestCheck"));
    }
    let caller = context.caller();
    ec2.control.reset_source_dest_check(&caller, eni).await?;
    Ok(ResetNetworkInterfaceAttributeResponse {})
}

/// AssignPrivateIpAddresses.
pub(super) async fn assign_private_ip_addresses(
    ec2: &Ec2,
    context: &Context,
    request: AssignPrivateIpAddressesRequest,
) -> Result<AssignPrivateIpAddressesResponse, ApiError> {
    let eni: EniId = id::parse(&request.network_interface_id)?;
    let addresses = request.private_ip_addresses.iter();
    let input = AssignPrivateAddresses {
        eni,
        addresses: addresses
            .map(|text| parse_address(text))
            .collect::<Result<_, _>>()?,
        count: count(
            request.secondary_private_ip_address_count,
            "SecondaryPrivateIpAddressCount",
        )?,
        prefixes: read_all(&request.ipv4_prefixes, parse_prefix)?,
        prefix_count: count(request.ipv4_prefix_count, "Ipv4PrefixCount")?,
        allow_reassignment: request.allow_reassignment.unwrap_or(false),
    };
    let caller = context.caller();
    let assigned = ec2.control.assign_private_addresses(&caller, input).await?;
    let addresses = assigned.addresses.iter();
    let addresses = addresses.map(|address| AssignedPrivateIpAddress {
        private_ip_address: Some(Text::display(address)),
    });
    let prefixes = assigned.prefixes.iter();
    let prefixes = prefixes.map(|prefix| Ipv4PrefixSpecification {
        ipv4_prefix: Some(Text::display(prefix)),
    });
    Ok(AssignPrivateIpAddressesResponse {
        network_interface_id: Some(Text::display(eni)),
        assigned_private_ip_addresses: addresses.collect(),
        assigned_ipv4_prefixes: prefixes.collect(),
    })
}

/// UnassignPrivateIpAddresses.
pub(super) async fn unassign_private_ip_addresses(
    ec2: &Ec2,
    context: &Context,
    request: UnassignPrivateIpAddressesRequest,
) -> Result<UnassignPrivateIpAddressesResponse, ApiError> {
    let eni = id::parse(&request.network_interface_id)?;
    let addresses = request.private_ip_addresses.iter();
    let addresses = addresses.map(|text| parse_address(text));
    let addresses: Vec<_> = addresses.collect::<Result<_, _>>()?;
    let prefixes = read_all(&request.ipv4_prefixes, parse_prefix)?;
    let caller = context.caller();
    ec2.control
        .unassign_private_addresses(&caller, eni, &addresses, &prefixes)
        .await?;
    Ok(UnassignPrivateIpAddressesResponse {})
}
