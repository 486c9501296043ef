//! Rules that name groups of other VPCs: who names a group from outside, and which rules are stale.

use std::collections::BTreeMap;

use enid_control::{active_peering, foreign_peer};
use enid_model::id::{SecurityGroupId, VpcId};
use enid_model::security_group::{Direction, Peer, SecurityGroup, Service};
use enid_model::state::RegionState;

use super::page::Page;
use super::security_group_permission::{InWords, in_words, peer_in_words};
use super::{Ec2, id};
use crate::context::Context;
use crate::error::ApiError;
use crate::generated::ec2::request::{
    DescribeSecurityGroupReferencesRequest, DescribeStaleSecurityGroupsRequest,
};
use crate::generated::ec2::response::{
    DescribeSecurityGroupReferencesResponse, DescribeStaleSecurityGroupsResponse,
    SecurityGroupReference, StaleIpPermission, StaleSecurityGroup,
};
use crate::wire::text::Text;

/// DescribeSecurityGroupReferences: the VPCs on the other side of a peering connection whose
/// groups name the given ones.
pub(super) async fn describe_security_group_references(
    ec2: &Ec2,
    context: &Context,
    request: DescribeSecurityGroupReferencesRequest,
) -> Result<DescribeSecurityGroupReferencesResponse, ApiError> {
    let region = ec2.control.read(&context.caller()).await?;
    let mut references = Vec::new();
    for (id, group) in id::find(&request.group_id, &region.security_groups)? {
        let naming = region.groups_referencing(id);
        let naming = naming.filter_map(|other| region.security_groups.get(&other));
        let vpcs: BTreeMap<VpcId, _> = naming
            .filter(|other| other.vpc != group.vpc)
            .filter_map(|other| {
                let peering = active_peering(&region, other.vpc, group.vpc)?;
                Some((other.vpc, peering.id))
            })
            .collect();
        references.extend(
            vpcs.into_iter()
                .map(|(vpc, peering)| SecurityGroupReference {
                    group_id: Some(Text::display(id)),
                    referencing_vpc_id: Some(Text::display(vpc)),
                    vpc_peering_connection_id: Some(Text::display(peering)),
                }),
        );
    }
    Ok(DescribeSecurityGroupReferencesResponse {
        security_group_reference_set: references,
    })
}

/// DescribeStaleSecurityGroups: the groups of a VPC with rules that name a group of another VPC
/// that is gone, or that no connection leads to any more.
pub(super) async fn describe_stale_security_groups(
    ec2: &Ec2,
    context: &Context,
    request: DescribeStaleSecurityGroupsRequest,
) -> Result<DescribeStaleSecurityGroupsResponse, ApiError> {
    let (operation, token) = ("DescribeStaleSecurityGroups", request.next_token.as_deref());
    let page = Page::read(operation, 5..=255, request.max_results, token, None)?;
    let after: Option<SecurityGroupId> = page.after()?;
    let region = ec2.control.read(&context.caller()).await?;
    let vpcs = id::find(&[request.vpc_id], &region.vpcs)?.into_keys();
    let ids: Vec<SecurityGroupId> = vpcs.flat_map(|vpc| region.groups_of_vpc(vpc)).collect();
    let groups = ids.into_iter();
    let groups = groups.filter(|id| after.is_none_or(|after| *id > after));
    let groups = groups.filter_map(|id| region.security_groups.get(&id));
    let stale = groups.filter_map(|group| {
        let (egress, ingress) = (
            stale_permissions(context, &region, group, Direction::Egress),
            stale_permissions(context, &region, group, Direction::Ingress),
        );
        (!egress.is_empty() || !ingress.is_empty()).then(|| {
            let answer = StaleSecurityGroup {
                description: Some((&group.description).into()),
                group_id: Some(Text::display(group.id)),
                group_name: Some((&group.name).into()),
                stale_ip_permissions: ingress,
                stale_ip_permissions_egress: egress,
                vpc_id: Some(Text::display(group.vpc)),
            };
            (group.id, answer)
        })
    });
    let (stale, next_token) = page.take(stale, |(id, _)| id.to_string());
    Ok(DescribeStaleSecurityGroupsResponse {
        next_token,
        stale_security_group_set: stale.into_iter().map(|(_, answer)| answer).collect(),
    })
}

/// The stale rules of one direction, those of one protocol and ports together.
fn stale_permissions(
    context: &Context,
    region: &RegionState,
    group: &SecurityGroup,
    direction: Direction,
) -> Vec<StaleIpPermission> {
    let mut stale: BTreeMap<Service, StaleIpPermission> = BTreeMap::new();
    for rule in group.rules_of(direction) {
        let Peer::Group(peer) = rule.matcher.peer else {
            continue;
        };
        if foreign_peer(region, group, peer).is_none_or(|peer| peer.is_active) {
            continue;
        }
        let permission = stale.entry(rule.matcher.service).or_insert_with(|| {
            let InWords { protocol, ports } = in_words(rule.matcher.service);
            StaleIpPermission {
                ip_protocol: Some(protocol),
                from_port: ports.map(|(from, _)| from),
                to_port: ports.map(|(_, to)| to),
                ..StaleIpPermission::default()
            }
        });
        let words = peer_in_words(context, region, group.id, peer);
        permission.user_id_group_pairs.push(words.into());
    }
    stale.into_values().collect()
}
