//! Rules that name groups of other VPCs, across peering connections.
//!
//! Such a rule is made only while an active connection joins the two VPCs. When the connection or
//! the other group goes, the rule stays and is stale: it matches nothing, because no packet comes
//! from where it points.

use enid_model::id::{SecurityGroupId, VpcId, VpcPeeringConnectionId};
use enid_model::security_group::SecurityGroup;
use enid_model::state::{RegionState, Stored};
use enid_model::vpc_peering_connection::{PeeringStatus, VpcPeeringConnection};

/// The group of another VPC that a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignPeer {
    /// The group's VPC; none if the group is gone.
    pub vpc: Option<VpcId>,
    /// The connection to that VPC, an active one if there is one.
    pub peering: Option<VpcPeeringConnectionId>,
    /// Whether the connection is active: a rule without it is stale.
    pub is_active: bool,
}

/// What a group's rule names if it names a group of another VPC, or one that is gone.
#[must_use]
pub fn foreign_peer(
    region: &RegionState,
    group: &SecurityGroup,
    peer: SecurityGroupId,
) -> Option<ForeignPeer> {
    let Some(peer) = region.security_groups.get(&peer) else {
        return Some(ForeignPeer {
            vpc: None,
            peering: None,
            is_active: false,
        });
    };
    if peer.vpc == group.vpc {
        return None;
    }
    let active = active_peering(region, group.vpc, peer.vpc);
    let known = active.or_else(|| peerings(region, group.vpc, peer.vpc).last());
    Some(ForeignPeer {
        vpc: Some(peer.vpc),
        peering: known.map(|known| known.id),
        is_active: active.is_some(),
    })
}

/// The active connection between two VPCs: there is one at most.
#[must_use]
pub fn active_peering(
    region: &RegionState,
    one: VpcId,
    other: VpcId,
) -> Option<&Stored<VpcPeeringConnection>> {
    peerings(region, one, other).find(|known| known.status == PeeringStatus::Active)
}

/// The connections between two VPCs, dead ones included.
fn peerings(
    region: &RegionState,
    one: VpcId,
    other: VpcId,
) -> impl Iterator<Item = &Stored<VpcPeeringConnection>> {
    let ids = region.peerings_of_vpc(one);
    let found = ids.filter_map(|id| region.vpc_peering_connections.get(&id));
    found.filter(move |known| {
        let sides = (known.requester.vpc, known.accepter.vpc);
        sides == (one, other) || sides == (other, one)
    })
}

#[cfg(test)]
mod tests {
    use enid_model::Tags;
    use enid_model::security_group::Direction;
    use enid_model::vpc_peering_connection::PeeredVpc;

    use super::*;
    use crate::fixture::{Place, caller, control, place};
    use crate::{AuthorizeRules, Control, Error, GroupPair, IpPermission};

    /// Joins the two VPCs of a place.
    async fn peer(
        control: &Control,
        place: &Place,
        status: PeeringStatus,
    ) -> VpcPeeringConnectionId {
        let made = control
            .transact(&caller(), |draft| {
                let side = |subnet| PeeredVpc {
                    vpc: draft.region.subnets[&subnet].vpc,
                    cidrs: Vec::new(),
                    ipv6_cidrs: Vec::new(),
                    allow_dns_resolution: false,
                };
                let (requester, accepter) = (side(place.subnet), side(place.foreign_subnet));
                let connection = VpcPeeringConnection {
                    id: draft.mint(),
                    requester,
                    accepter,
                    status,
                    create_time: draft.now,
                    status_time: draft.now,
                    tags: Tags::new(),
                };
                draft.create(connection.clone());
                Ok(connection.id)
            })
            .await;
        made.expect("a connection")
    }

    async fn authorize(
        control: &Control,
        group: SecurityGroupId,
        pair: GroupPair,
    ) -> Result<(), Error> {
        let input = AuthorizeRules {
            group: group.into(),
            permissions: vec![IpPermission {
                ip_protocol: Some("-1".to_owned()),
                groups: vec![pair],
                ..IpPermission::default()
            }],
            ..AuthorizeRules::default()
        };
        let caller = caller();
        let done = control.authorize_rules(&caller, Direction::Ingress, &input);
        done.await.map(drop)
    }

    #[tokio::test]
    async fn a_group_across_an_active_connection_is_a_peer_until_it_goes() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let (here, there) = (place.foreign_group, place.groups[0]);
        let pending = peer(&control, &place, PeeringStatus::PendingAcceptance).await;
        let apart = authorize(&control, here, there.into()).await;
        assert_eq!(apart, Err(Error::DifferentNetworks));
        let active = peer(&control, &place, PeeringStatus::Active).await;
        let through_other = GroupPair {
            peering: Some(pending),
            ..there.into()
        };
        let refused = authorize(&control, here, through_other).await;
        assert_eq!(refused, Err(Error::DifferentNetworks));
        let through = GroupPair {
            peering: Some(active),
            ..there.into()
        };
        assert_eq!(authorize(&control, here, through).await, Ok(()));

        let reference = async || {
            let region = control.read(&caller()).await.expect("a region");
            foreign_peer(&region, &region.security_groups[&here], there)
        };
        let seen = reference().await.expect("another VPC's group");
        assert_eq!((seen.peering, seen.is_active), (Some(active), true));
        assert!(seen.vpc.is_some());

        // A reference from another VPC does not keep the group; the rule is stale then.
        let deleted = control
            .delete_security_group(&caller(), &there.into())
            .await;
        assert_eq!(deleted, Ok(there));
        let seen = reference().await.expect("a group that is gone");
        assert_eq!((seen.vpc, seen.is_active), (None, false));
    }

    #[tokio::test]
    async fn a_group_of_the_same_vpc_is_no_foreign_one() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller()).await.expect("a region");
        let own = &region.security_groups[&place.groups[0]];
        assert_eq!(foreign_peer(&region, own, place.groups[1]), None);
        assert_eq!(foreign_peer(&region, own, own.id), None);
        let apart = foreign_peer(&region, own, place.foreign_group);
        let apart = apart.map(|peer| (peer.vpc.is_some(), peer.peering, peer.is_active));
        assert_eq!(apart, Some((true, None, false)));
    }
}
