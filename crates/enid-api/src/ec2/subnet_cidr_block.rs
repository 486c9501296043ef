//! The IPv6 block of a subnet.

use enid_model::subnet::SubnetIpv6Cidr;

use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssociateSubnetCidrBlockRequest, DisassociateSubnetCidrBlockRequest,
};
use crate::generated::ec2::response::{
    AssociateSubnetCidrBlockResponse, DisassociateSubnetCidrBlockResponse, SubnetCidrBlockState,
    SubnetIpv6CidrBlockAssociation,
};
use crate::wire::text::Text;

/// AssociateSubnetCidrBlock. As in AWS, the next description says that it is done.
pub(super) async fn associate_subnet_cidr_block(
    ec2: &Ec2,
    context: &Context,
    request: AssociateSubnetCidrBlockRequest,
) -> Result<AssociateSubnetCidrBlockResponse, ApiError> {
    let subnet = id::parse(&request.subnet_id)?;
    let cidr = request.ipv6_cidr_block;
    let cidr = cidr.ok_or_else(|| ApiError::missing_parameter("Ipv6CidrBlock"))?;
    let caller = context.caller();
    let block = ec2
        .control
        .associate_subnet_cidr_block(&caller, subnet, &cidr)
        .await?;
    Ok(AssociateSubnetCidrBlockResponse {
        ipv6_cidr_block_association: Some(association(&block, "associating")),
        subnet_id: Some(Text::display(subnet)),
    })
}

/// DisassociateSubnetCidrBlock.
pub(super) async fn disassociate_subnet_cidr_block(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateSubnetCidrBlockRequest,
) -> Result<DisassociateSubnetCidrBlockResponse, ApiError> {
    let gone = id::parse(&request.association_id)?;
    let caller = context.caller();
    let (subnet, block) = ec2
        .control
        .disassociate_subnet_cidr_block(&caller, gone)
        .await?;
    Ok(DisassociateSubnetCidrBlockResponse {
        ipv6_cidr_block_association: Some(association(&block, "disassociating")),
        subnet_id: Some(Text::display(subnet)),
    })
}

/// A block as answers carry it.
pub(super) fn association(
    block: &SubnetIpv6Cidr,
    state: &'static str,
) -> SubnetIpv6CidrBlockAssociation {
    SubnetIpv6CidrBlockAssociation {
        association_id: Some(Text::display(block.association)),
        ipv6_cidr_block: Some(Text::display(block.cidr)),
        ipv6_cidr_block_state: Some(SubnetCidrBlockState {
            state: Some(state.into()),
            status_message: None,
        }),
        ipv6_address_attribute: Some("public".into()),
        ip_source: Some("amazon".into()),
    }
}
