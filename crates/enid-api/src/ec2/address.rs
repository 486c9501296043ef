//! Elastic IP addresses: what changes them. [`describe`] tells about them.

pub(super) mod describe;

use enid_control::{
    AddressSelector, AllocateAddress, AssociateAddress, AssociationTarget, parse_address,
};

use self::describe::attribute;
use super::{Ec2, id, tag};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AllocateAddressRequest, AssociateAddressRequest, DisassociateAddressRequest,
    ModifyAddressAttributeRequest, ReleaseAddressRequest, ResetAddressAttributeRequest,
};
use crate::generated::ec2::response::{
    AllocateAddressResponse, AssociateAddressResponse, DisassociateAddressResponse,
    ModifyAddressAttributeResponse, ReleaseAddressResponse, ResetAddressAttributeResponse,
};
use crate::wire::text::Text;

/// The only domain that is left: EC2-Classic's `standard` is gone.
const DOMAIN: &str = "vpc";

/// AllocateAddress.
pub(super) async fn allocate_address(
    ec2: &Ec2,
    context: &Context,
    request: AllocateAddressRequest,
) -> Result<AllocateAddressResponse, ApiError> {
    let input = AllocateAddress {
        address: request.address,
        pool: request.public_ipv4_pool,
        network_border_group: request.network_border_group,
        tags: tag::specifications(request.tag_specifications),
    };
    let caller = context.caller();
    let elastic_ip = ec2.control.allocate_address(&caller, &input).await?;
    Ok(AllocateAddressResponse {
        allocation_id: Some(Text::display(elastic_ip.id)),
        public_ipv4_pool: Some(elastic_ip.pool.as_str().into()),
        network_border_group: Some(elastic_ip.network_border_group.as_str().into()),
        domain: Some(DOMAIN.into()),
        public_ip: Some(Text::display(elastic_ip.public_ip)),
    })
}

/// ReleaseAddress.
pub(super) async fn release_address(
    ec2: &Ec2,
    context: &Context,
    request: ReleaseAddressRequest,
) -> Result<ReleaseAddressResponse, ApiError> {
    let allocation = id::parse_optional(request.allocation_id.as_deref())?;
    let address = AddressSelector::new(allocation, request.public_ip.as_deref())?;
    let caller = context.caller();
    ec2.control
        .release_address(&caller, address, request.network_border_group.as_deref())
        .await?;
    Ok(ReleaseAddressResponse {})
}

/// AssociateAddress.
pub(super) async fn associate_address(
    ec2: &Ec2,
    context: &Context,
    request: AssociateAddressRequest,
) -> Result<AssociateAddressResponse, ApiError> {
    let allocation = id::parse_optional(request.allocation_id.as_deref())?;
    let instance = id::parse_optional(request.instance_id.as_deref())?;
    let eni = id::parse_optional(request.network_interface_id.as_deref())?;
    let private_ip = request.private_ip_address.as_deref();
    let input = AssociateAddress {
        address: AddressSelector::new(allocation, request.public_ip.as_deref())?,
        target: AssociationTarget::new(instance, eni)?,
        private_ip: private_ip.map(parse_address).transpose()?,
        allow_reassociation: request.allow_reassociation.unwrap_or(true),
    };
    let caller = context.caller();
    let association = ec2.control.associate_address(&caller, input).await?;
    Ok(AssociateAddressResponse {
        association_id: Some(Text::display(association)),
    })
}

/// DisassociateAddress.
pub(super) async fn disassociate_address(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateAddressRequest,
) -> Result<DisassociateAddressResponse, ApiError> {
    let caller = context.caller();
    match (&request.association_id, &request.public_ip) {
        (Some(association), None) => {
            let association = id::parse(association)?;
            let done = ec2.control.disassociate_address(&caller, association);
            done.await?;
        }
        (association, public_ip) => {
            if association.is_some() {
                return Err(ApiError::invalid_combination(
                    "You may specify public IP or association id, but not both in the same call",
                ));
            }
            let address = AddressSelector::new(None, public_ip.as_deref())?;
            let done = ec2.control.disassociate_public_ip(&caller, address);
            done.await?;
        }
    }
    Ok(DisassociateAddressResponse {})
}

/// ModifyAddressAttribute.
pub(super) async fn modify_address_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ModifyAddressAttributeRequest,
) -> Result<ModifyAddressAttributeResponse, ApiError> {
    let allocation = id::parse(&request.allocation_id)?;
    let name = request.domain_name.as_deref();
    let name = name.ok_or_else(|| ApiError::missing_parameter("DomainName"))?;
    let caller = context.caller();
    let changed = ec2
        .control
        .modify_address_attribute(&caller, allocation, name)
        .await?;
    Ok(ModifyAddressAttributeResponse {
        address: Some(attribute(&changed)),
    })
}

/// ResetAddressAttribute.
pub(super) async fn reset_address_attribute(
    ec2: &Ec2,
    context: &Context,
    request: ResetAddressAttributeRequest,
) -> Result<ResetAddressAttributeResponse, ApiError> {
    let allocation = id::parse(&request.allocation_id)?;
    let caller = context.caller();
    let changed = ec2
        .control
        .reset_address_attribute(&caller, allocation)
        .await?;
    Ok(ResetAddressAttributeResponse {
        address: Some(attribute(&changed)),
    })
}
