//! The address blocks of a VPC, and the pool that its IPv6 blocks come from.

use std::collections::BTreeMap;

use enid_control::{AddressingError, Error, IPV6_POOL, VpcBlock, WantedBlock, WantedIpv6Block};
use enid_model::vpc::{VpcCidr, VpcIpv6Cidr};

use super::filter::Filters;
use super::page::Page;
use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    AssociateVpcCidrBlockRequest, DescribeIpv6PoolsRequest, DisassociateVpcCidrBlockRequest,
};
use crate::generated::ec2::response::{
    AssociateVpcCidrBlockResponse, DescribeIpv6PoolsResponse, DisassociateVpcCidrBlockResponse,
    Ipv6Pool, PoolCidrBlock, VpcCidrBlockAssociation, VpcCidrBlockState,
    VpcIpv6CidrBlockAssociation,
};
use crate::wire::text::Text;

/// AssociateVpcCidrBlock. The block is in force when this is answered; as in AWS, the next
/// description says so.
pub(super) async fn associate_vpc_cidr_block(
    ec2: &Ec2,
    context: &Context,
    request: AssociateVpcCidrBlockRequest,
) -> Result<AssociateVpcCidrBlockResponse, ApiError> {
    let vpc = id::parse(&request.vpc_id)?;
    let ipv6 = WantedIpv6 {
        amazon_provided: request.amazon_provided_ipv6_cidr_block,
        cidr: request.ipv6_cidr_block,
        pool: request.ipv6_pool,
        network_border_group: request.ipv6_cidr_block_network_border_group,
    };
    let wanted = match (request.cidr_block, ipv6.resolve(context)?) {
        (Some(text), None) => WantedBlock::Ipv4(text),
        (None, Some(wanted)) => WantedBlock::Ipv6(wanted),
        (Some(_), Some(_)) | (None, None) => {
            let names = "cidrBlock, amazonProvidedIpv6CidrBlock and ipv6CidrBlock";
            return Err(Error::OneBlock { names }.into());
        }
    };
    let caller = context.caller();
    let block = ec2.control.associate_vpc_cidr_block(&caller, vpc, &wanted);
    let (ipv4, ipv6) = associations(&block.await?, "associating");
    Ok(AssociateVpcCidrBlockResponse {
        ipv6_cidr_block_association: ipv6,
        cidr_block_association: ipv4,
        vpc_id: Some(Text::display(vpc)),
    })
}

/// DisassociateVpcCidrBlock.
pub(super) async fn disassociate_vpc_cidr_block(
    ec2: &Ec2,
    context: &Context,
    request: DisassociateVpcCidrBlockRequest,
) -> Result<DisassociateVpcCidrBlockResponse, ApiError> {
    let association = id::parse(&request.association_id)?;
    let caller = context.caller();
    let gone = ec2
        .control
        .disassociate_vpc_cidr_block(&caller, association);
    let (vpc, block) = gone.await?;
    let (ipv4, ipv6) = associations(&block, "disassociating");
    Ok(DisassociateVpcCidrBlockResponse {
        ipv6_cidr_block_association: ipv6,
        cidr_block_association: ipv4,
        vpc_id: Some(Text::display(vpc)),
    })
}

/// DescribeIpv6Pools: the one pool of the installation.
pub(super) async fn describe_ipv6_pools(
    ec2: &Ec2,
    context: &Context,
    request: DescribeIpv6PoolsRequest,
) -> Result<DescribeIpv6PoolsResponse, ApiError> {
    let ids = &request.pool_ids;
    let page = Page::read(
        "DescribeIpv6Pools",
        1..=1000,
        request.max_results,
        request.next_token.as_deref(),
        (!ids.is_empty()).then_some("poolIds"),
    )?;
    let filters = Filters::<()>::compile(&request.filters, |_| None)?;
    // The pool is there whether the region is used or not, but this may be its first use.
    ec2.control.read(&context.caller()).await?;
    if let Some(unknown) = ids.iter().find(|id| *id != IPV6_POOL) {
        let id = unknown.as_str().into();
        return Err(Error::from(AddressingError::Ipv6PoolNotFound { id }).into());
    }
    let after: Option<String> = page.after()?;
    let pools = std::iter::once(IPV6_POOL)
        .filter(|id| after.as_deref().is_none_or(|after| *id > after))
        .filter(|_| filters.match_resource(&BTreeMap::new(), |(), _| {}));
    let (pools, next_token) = page.take(pools, |id| (*id).to_owned());
    let pools = pools.into_iter().map(|id| Ipv6Pool {
        pool_id: Some(id.into()),
        description: Some("The IPv6 blocks of VPCs".into()),
        pool_cidr_blocks: vec![PoolCidrBlock {
            cidr: Some(Text::display(ec2.control.pools().ipv6)),
        }],
        tags: Vec::new(),
    });
    Ok(DescribeIpv6PoolsResponse {
        ipv6_pools: pools.collect(),
        next_token,
    })
}

/// The parameters that ask for an IPv6 block.
pub(super) struct WantedIpv6 {
    pub(super) amazon_provided: Option<bool>,
    pub(super) cidr: Option<String>,
    pub(super) pool: Option<String>,
    pub(super) network_border_group: Option<String>,
}

impl WantedIpv6 {
    /// What they come to.
    pub(super) fn resolve(self, context: &Context) -> Result<Option<WantedIpv6Block>, ApiError> {
        let group = self.network_border_group;
        let name = "ipv6CidrBlockNetworkBorderGroup";
        let is_alone = self.cidr.is_none() && self.pool.is_none();
        if group.is_some() && is_alone && !self.amazon_provided.unwrap_or(false) {
            let message = format!("{name} requires amazonProvidedIpv6CidrBlock");
            return Err(ApiError::invalid_combination(&message));
        }
        if let Some(group) = group.filter(|group| group != context.region.name) {
            let hint = format!("The network border group is {}.", context.region.name);
            return Err(ApiError::invalid_parameter_value(&group, name, &hint));
        }
        let amazon_provided = self.amazon_provided.unwrap_or(false);
        match (amazon_provided, self.cidr, self.pool) {
            (false, None, None) => Ok(None),
            (true, None, None) => Ok(Some(WantedIpv6Block::AmazonProvided)),
            (false, Some(cidr), Some(pool)) => Ok(Some(WantedIpv6Block::Given { cidr, pool })),
            (false, Some(_), None) => Err(ApiError::missing_parameter("Ipv6Pool")),
            (false, None, Some(_)) => Err(ApiError::missing_parameter("Ipv6CidrBlock")),
            (true, ..) => {
                let names = "amazonProvidedIpv6CidrBlock and ipv6CidrBlock";
                Err(Error::OneBlock { names }.into())
            }
        }
    }
}

fn associations(
    block: &VpcBlock,
    state: &'static str,
) -> (
    Option<VpcCidrBlockAssociation>,
    Option<VpcIpv6CidrBlockAssociation>,
) {
    match block {
        VpcBlock::Ipv4(block) => (Some(ipv4_association(*block, state)), None),
        VpcBlock::Ipv6(block) => (None, Some(ipv6_association(block, state))),
    }
}

/// An IPv4 block as answers carry it.
pub(super) fn ipv4_association(block: VpcCidr, state: &'static str) -> VpcCidrBlockAssociation {
    VpcCidrBlockAssociation {
        association_id: Some(Text::display(block.association)),
        cidr_block: Some(Text::display(block.cidr)),
        cidr_block_state: Some(block_state(state)),
    }
}

/// An IPv6 block likewise.
pub(super) fn ipv6_association(
    block: &VpcIpv6Cidr,
    state: &'static str,
) -> VpcIpv6CidrBlockAssociation {
    let is_given = block.pool == IPV6_POOL;
    VpcIpv6CidrBlockAssociation {
        association_id: Some(Text::display(block.association)),
        ipv6_cidr_block: Some(Text::display(block.cidr)),
        ipv6_cidr_block_state: Some(block_state(state)),
        network_border_group: Some(block.network_border_group.as_str().into()),
        ipv6_pool: Some(block.pool.as_str().into()),
        ipv6_address_attribute: Some("public".into()),
        ip_source: Some(if is_given { "byoip" } else { "amazon" }.into()),
    }
}

fn block_state(state: &'static str) -> VpcCidrBlockState {
    VpcCidrBlockState {
        state: Some(state.into()),
        status_message: None,
    }
}
