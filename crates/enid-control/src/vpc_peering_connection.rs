//! VPC peering connections, between two VPCs of one account and region.
//!
//! A request that nobody answers expires by the clock ([`peering_status`]): the record is brought up
//! to date when somebody changes it, or by the sweep. Dead connections stay visible for a while.

use enid_model::id::{VpcId, VpcPeeringConnectionId};
use enid_model::key::Kind;
use enid_model::state::{RegionState, Stored};
use enid_model::time::Timestamp;
use enid_model::vpc::Vpc;
use enid_model::vpc_peering_connection::{PeeredVpc, PeeringStatus, VpcPeeringConnection};

use crate::security_group_reference::active_peering;
use crate::{Caller, Control, Draft, Error, RoutingError, TagSpecification, tag};

/// What CreateVpcPeeringConnection takes.
#[derive(Debug, Clone)]
pub struct CreateVpcPeeringConnection {
    /// The VPC that asks.
    pub requester: VpcId,
    /// The VPC that is asked.
    pub accepter: VpcId,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

/// How long a request waits to be accepted.
const PENDING_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long a dead connection is visible. AWS's guide: failed ones two hours, others at least that
/// long for the side that did not end them.
const DEAD_VISIBLE_MS: i64 = 2 * 60 * 60 * 1000;

/// How far a connection is at a time.
#[must_use]
pub fn peering_status(connection: &VpcPeeringConnection, now: Timestamp) -> PeeringStatus {
    match connection.status {
        PeeringStatus::PendingAcceptance if now >= expiration_time(connection) => {
            PeeringStatus::Expired
        }
        status => status,
    }
}

/// When a request that nobody answers expires.
#[must_use]
pub fn expiration_time(connection: &VpcPeeringConnection) -> Timestamp {
    Timestamp(connection.create_time.0 + PENDING_MS)
}

/// Whether a connection is still shown: dead ones are forgotten after a while.
#[must_use]
pub fn is_peering_visible(connection: &VpcPeeringConnection, now: Timestamp) -> bool {
    let since = match (connection.status, peering_status(connection, now)) {
        (_, PeeringStatus::Active | PeeringStatus::PendingAcceptance) => return true,
        (PeeringStatus::PendingAcceptance, _) => expiration_time(connection),
        _ => connection.status_time,
    };
    now.0 - since.0 < DEAD_VISIBLE_MS
}

impl Control {
    /// CreateVpcPeeringConnection. A repetition of a request that waits or was accepted makes
    /// nothing new; VPCs with overlapping blocks get a connection that has failed.
    pub async fn create_vpc_peering_connection(
        &self,
        caller: &Caller,
        input: &CreateVpcPeeringConnection,
    ) -> Result<VpcPeeringConnection, Error> {
        let tags = tag::specified(&input.tag_specifications, "vpc-peering-connection")?;
        self.transact(caller, |draft| {
            let requester = draft.require::<Vpc>(input.requester)?;
            let accepter = draft.require::<Vpc>(input.accepter)?;
            if requester.id == accepter.id {
                return Err(RoutingError::PeeringWithItself { vpc: requester.id }.into());
            }
            let known = standing(&draft.region, &requester, &accepter, draft.now);
            if let Some(known) = known {
                return Ok(VpcPeeringConnection::clone(known));
            }
            check_outstanding(draft)?;
            draft.demand_none_new(Kind::VpcPeeringConnection);
            let status = match overlap(&requester, &accepter) {
                true => PeeringStatus::Failed,
                false => PeeringStatus::PendingAcceptance,
            };
            let connection = VpcPeeringConnection {
                id: draft.mint(),
                requester: side(&requester),
                accepter: side(&accepter),
                status,
                create_time: draft.now,
                status_time: draft.now,
                tags: tags.clone(),
            };
            draft.create(connection.clone());
            Ok(connection)
        })
        .await
    }

    /// AcceptVpcPeeringConnection.
    pub async fn accept_vpc_peering_connection(
        &self,
        caller: &Caller,
        id: VpcPeeringConnectionId,
    ) -> Result<VpcPeeringConnection, Error> {
        self.transact(caller, |draft| {
            let connection = pending(draft, id, "provisioning")?;
            let region = std::sync::Arc::clone(&draft.region);
            let sides = [connection.requester.vpc, connection.accepter.vpc];
            let [requester, accepter] = sides;
            if active_peering(&region, requester, accepter).is_some() {
                return Err(RoutingError::PeeringExists { id }.into());
            }
            for vpc in sides {
                if active_peerings(&region, vpc).count() >= draft.quotas.peerings_per_vpc {
                    return Err(RoutingError::PeeringsPerVpcExceeded { vpc }.into());
                }
            }
            draft.demand_none_new(Kind::VpcPeeringConnection);
            let requester = draft.require::<Vpc>(requester)?;
            let accepter = draft.require::<Vpc>(accepter)?;
            // The VPCs may have got other blocks since they were asked.
            let status = match overlap(&requester, &accepter) {
                true => PeeringStatus::Failed,
                false => PeeringStatus::Active,
            };
            let new = VpcPeeringConnection {
                requester: side(&requester),
                accepter: side(&accepter),
                status,
                status_time: draft.now,
                ..VpcPeeringConnection::clone(&connection)
            };
            draft.update(&connection, new.clone());
            Ok(new)
        })
        .await
    }

    /// RejectVpcPeeringConnection.
    pub async fn reject_vpc_peering_connection(
        &self,
        caller: &Caller,
        id: VpcPeeringConnectionId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let connection = pending(draft, id, "rejected")?;
            end(draft, &connection, PeeringStatus::Rejected);
            Ok(())
        })
        .await
    }

    /// DeleteVpcPeeringConnection. Routes to it stay and drop packets.
    pub async fn delete_vpc_peering_connection(
        &self,
        caller: &Caller,
        id: VpcPeeringConnectionId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let connection = visible(draft, id)?;
            if !is_alive(&connection, draft.now) {
                let status = peering_status(&connection, draft.now);
                return Err(transition(id, status, "deleting"));
            }
            end(draft, &connection, PeeringStatus::Deleted);
            Ok(())
        })
        .await
    }

    /// ModifyVpcPeeringConnectionOptions: whether public names of the requester's and of the accepter's
    /// VPC resolve to private addresses on the other side. Answers what holds now.
    pub async fn modify_vpc_peering_options(
        &self,
        caller: &Caller,
        id: VpcPeeringConnectionId,
        requester: Option<bool>,
        accepter: Option<bool>,
    ) -> Result<VpcPeeringConnection, Error> {
        self.transact(caller, |draft| {
            let connection = visible(draft, id)?;
            if connection.status != PeeringStatus::Active {
                return Err(RoutingError::PeeringNotActive { id }.into());
            }
            let mut new = VpcPeeringConnection::clone(&connection);
            let sides = [
                (&mut new.requester, requester),
                (&mut new.accepter, accepter),
            ];
            for (side, allow) in sides {
                side.allow_dns_resolution = allow.unwrap_or(side.allow_dns_resolution);
            }
            if new != *connection {
                draft.update(&connection, new.clone());
            }
            Ok(new)
        })
        .await
    }
}

/// The connection that a request for peering stands for already: the same VPC has asked before.
fn standing<'a>(
    region: &'a RegionState,
    requester: &Vpc,
    accepter: &Vpc,
    now: Timestamp,
) -> Option<&'a Stored<VpcPeeringConnection>> {
    let connections = region.peerings_of_vpc(requester.id);
    let mut connections = connections.filter_map(|id| region.vpc_peering_connections.get(&id));
    connections.find(|known| {
        let sides = (known.requester.vpc, known.accepter.vpc);
        sides == (requester.id, accepter.id) && is_alive(known, now)
    })
}

/// Whether a connection is in force or can come into force.
fn is_alive(connection: &VpcPeeringConnection, now: Timestamp) -> bool {
    matches!(
        peering_status(connection, now),
        PeeringStatus::Active | PeeringStatus::PendingAcceptance
    )
}

/// Ends the connections of a VPC that goes.
pub(crate) fn end_of_vpc(draft: &mut Draft<'_>, vpc: VpcId) {
    draft.demand_unnamed(Kind::VpcPeeringConnection, vpc);
    let region = std::sync::Arc::clone(&draft.region);
    for id in region.peerings_of_vpc(vpc) {
        let Some(connection) = region.vpc_peering_connections.get(&id) else {
            continue;
        };
        if is_alive(connection, draft.now) {
            end(draft, connection, PeeringStatus::Deleted);
        }
    }
}

/// Marks requests that have expired, and removes what is not visible any more.
pub(crate) fn sweep(draft: &mut Draft<'_>) {
    let region = std::sync::Arc::clone(&draft.region);
    for connection in region.vpc_peering_connections.values() {
        if !is_peering_visible(connection, draft.now) {
            draft.delete(connection);
        } else if peering_status(connection, draft.now) != connection.status {
            let status_time = expiration_time(connection);
            draft.edit(connection, |connection| {
                connection.status = PeeringStatus::Expired;
                connection.status_time = status_time;
            });
        }
    }
}

fn end(draft: &mut Draft<'_>, connection: &Stored<VpcPeeringConnection>, status: PeeringStatus) {
    let now = draft.now;
    draft.edit(connection, |connection| {
        connection.status = status;
        connection.status_time = now;
    });
}

/// A connection that the caller can see.
fn visible(
    draft: &mut Draft<'_>,
    id: VpcPeeringConnectionId,
) -> Result<Stored<VpcPeeringConnection>, Error> {
    let connection = draft.require::<VpcPeeringConnection>(id)?;
    match is_peering_visible(&connection, draft.now) {
        true => Ok(connection),
        false => Err(Error::not_found(id)),
    }
}

/// A request that waits; else it cannot come to another status.
fn pending(
    draft: &mut Draft<'_>,
    id: VpcPeeringConnectionId,
    to: &'static str,
) -> Result<Stored<VpcPeeringConnection>, Error> {
    let connection = visible(draft, id)?;
    match peering_status(&connection, draft.now) {
        PeeringStatus::PendingAcceptance => Ok(connection),
        status => Err(transition(id, status, to)),
    }
}

fn transition(id: VpcPeeringConnectionId, from: PeeringStatus, to: &'static str) -> Error {
    let from = status_code(from);
    RoutingError::PeeringTransition { id, from, to }.into()
}

/// AWS's word for a status.
#[must_use]
pub fn status_code(status: PeeringStatus) -> &'static str {
    match status {
        PeeringStatus::Active => "active",
        PeeringStatus::Deleted => "deleted",
        PeeringStatus::Expired => "expired",
        PeeringStatus::Failed => "failed",
        PeeringStatus::PendingAcceptance => "pending-acceptance",
        PeeringStatus::Rejected => "rejected",
    }
}

fn check_outstanding(draft: &Draft<'_>) -> Result<(), Error> {
    let connections = draft.region.vpc_peering_connections.values();
    let waiting = connections.filter(|connection| {
        peering_status(connection, draft.now) == PeeringStatus::PendingAcceptance
    });
    if waiting.count() >= draft.quotas.outstanding_peerings {
        return Err(RoutingError::OutstandingPeeringsExceeded.into());
    }
    Ok(())
}

fn active_peerings(
    region: &RegionState,
    vpc: VpcId,
) -> impl Iterator<Item = &Stored<VpcPeeringConnection>> {
    let connections = region.peerings_of_vpc(vpc);
    let connections = connections.filter_map(|id| region.vpc_peering_connections.get(&id));
    connections.filter(|connection| connection.status == PeeringStatus::Active)
}

/// Whether two VPCs have addresses in common: packets would not know whose they are.
fn overlap(one: &Vpc, other: &Vpc) -> bool {
    one.cidrs().any(|a| {
        let mut others = other.cidrs();
        others.any(|b| a.contains(&b) || b.contains(&a))
    })
}

fn side(vpc: &Vpc) -> PeeredVpc {
    PeeredVpc {
        vpc: vpc.id,
        cidrs: vpc.ipv4_cidrs().collect(),
        ipv6_cidrs: vpc.ipv6_cidrs.iter().map(|block| block.cidr).collect(),
        allow_dns_resolution: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateVpc, Quotas};

    async fn vpc(control: &Control, cidr: &str) -> VpcId {
        let input = CreateVpc {
            cidr_block: cidr.to_owned(),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller(), &input).await;
        vpc.expect("a VPC").id
    }

    async fn ask(
        control: &Control,
        requester: VpcId,
        accepter: VpcId,
    ) -> Result<VpcPeeringConnection, Error> {
        let input = CreateVpcPeeringConnection {
            requester,
            accepter,
            tag_specifications: Vec::new(),
        };
        let caller = caller();
        control.create_vpc_peering_connection(&caller, &input).await
    }

    /// Moves the time of a connection into the past.
    async fn age(control: &Control, id: VpcPeeringConnectionId, ms: i64) {
        let shift = |draft: &mut Draft<'_>| {
            let read = draft.require::<VpcPeeringConnection>(id)?;
            draft.edit(&read, |connection| {
                connection.create_time.0 -= ms;
                connection.status_time.0 -= ms;
            });
            Ok(())
        };
        control.transact(&caller(), shift).await.expect("older");
    }

    #[tokio::test]
    async fn a_request_is_accepted_once_and_a_pair_has_one_connection() {
        let (control, caller) = (control(), caller());
        let one = vpc(&control, "10.0.0.0/16").await;
        let other = vpc(&control, "10.1.0.0/16").await;
        let first = ask(&control, one, other).await.expect("asked");
        assert_eq!(first.status, PeeringStatus::PendingAcceptance);
        let again = ask(&control, one, other).await.map(|again| again.id);
        assert_eq!(again, Ok(first.id));
        let reverse = ask(&control, other, one).await.expect("asked").id;
        assert_ne!(reverse, first.id);
        let accepted = control.accept_vpc_peering_connection(&caller, first.id);
        let accepted = accepted.await.map(|accepted| accepted.status);
        assert_eq!(accepted, Ok(PeeringStatus::Active));
        let second = control.accept_vpc_peering_connection(&caller, reverse);
        let second = second.await.map(|_| ());
        assert_eq!(
            second,
            Err(RoutingError::PeeringExists { id: reverse }.into())
        );
        let twice = control.accept_vpc_peering_connection(&caller, first.id);
        let id = first.id;
        assert_eq!(
            twice.await.map(|_| ()).map_err(|error| error.to_string()),
            Err(format!(
                "Invalid state transition for {id}, attempted to transition from active to provisioning"
            ))
        );
        assert_eq!(
            control.delete_vpc_peering_connection(&caller, id).await,
            Ok(())
        );
        let accepted = control.accept_vpc_peering_connection(&caller, reverse);
        assert!(accepted.await.is_ok());
        let itself = ask(&control, one, one).await.map(|_| ());
        assert_eq!(
            itself,
            Err(RoutingError::PeeringWithItself { vpc: one }.into())
        );
    }

    #[tokio::test]
    async fn overlapping_blocks_fail() {
        let control = control();
        let one = vpc(&control, "10.0.0.0/16").await;
        let other = vpc(&control, "10.0.128.0/20").await;
        let failed = ask(&control, one, other).await.expect("asked");
        assert_eq!(failed.status, PeeringStatus::Failed);
        let id = failed.id;
        let (from, to) = ("failed", "deleting");
        let deleted = control.delete_vpc_peering_connection(&caller(), id).await;
        assert_eq!(
            deleted,
            Err(RoutingError::PeeringTransition { id, from, to }.into())
        );
        // The next request is a new one.
        let next = ask(&control, one, other).await.map(|next| next.id);
        assert_ne!(next, Ok(id));
    }

    #[tokio::test]
    async fn requests_expire_and_the_dead_are_forgotten() {
        let (control, caller) = (control(), caller());
        let one = vpc(&control, "10.0.0.0/16").await;
        let other = vpc(&control, "10.1.0.0/16").await;
        let id = ask(&control, one, other).await.expect("asked").id;
        age(&control, id, PENDING_MS - 1).await;
        let read = async || {
            let region = control.read(&caller).await.expect("a region");
            let connection = region.vpc_peering_connections.get(&id);
            connection.map(|connection| VpcPeeringConnection::clone(connection))
        };
        let now = control.now();
        let connection = read().await.expect("the connection");
        assert_eq!(
            peering_status(&connection, now),
            PeeringStatus::PendingAcceptance
        );
        age(&control, id, 1).await;
        let connection = read().await.expect("the connection");
        assert_eq!(peering_status(&connection, now), PeeringStatus::Expired);
        let (from, to) = ("expired", "provisioning");
        let late = control.accept_vpc_peering_connection(&caller, id).await;
        assert_eq!(
            late.map(|_| ()),
            Err(RoutingError::PeeringTransition { id, from, to }.into())
        );
        control.sweep(&caller).await.expect("swept");
        let connection = read().await.expect("the connection");
        assert_eq!(connection.status, PeeringStatus::Expired);
        assert!(is_peering_visible(&connection, now));
        age(&control, id, DEAD_VISIBLE_MS).await;
        let gone = control.reject_vpc_peering_connection(&caller, id).await;
        assert_eq!(gone, Err(Error::not_found(id)));
        control.sweep(&caller).await.expect("swept");
        assert_eq!(read().await, None);
    }

    #[tokio::test]
    async fn a_vpc_takes_its_connections_along() {
        let (control, caller) = (control(), caller());
        let one = vpc(&control, "10.0.0.0/16").await;
        let other = vpc(&control, "10.1.0.0/16").await;
        let id = ask(&control, one, other).await.expect("asked").id;
        control
            .accept_vpc_peering_connection(&caller, id)
            .await
            .expect("accepted");
        assert_eq!(control.delete_vpc(&caller, other).await, Ok(()));
        let region = control.read(&caller).await.expect("a region");
        let connection = region.vpc_peering_connections.get(&id);
        let status = connection.map(|connection| connection.status);
        assert_eq!(status, Some(PeeringStatus::Deleted));
    }

    #[tokio::test]
    async fn there_are_quotas() {
        let control = control().with_quotas(Quotas {
            outstanding_peerings: 2,
            peerings_per_vpc: 1,
            ..Quotas::default()
        });
        let caller = caller();
        let hub = vpc(&control, "10.0.0.0/16").await;
        let first = ask(&control, hub, vpc(&control, "10.1.0.0/16").await).await;
        let second = vpc(&control, "10.2.0.0/16").await;
        let second = ask(&control, second, hub).await.expect("asked").id;
        let third = vpc(&control, "10.3.0.0/16").await;
        let full = ask(&control, hub, third).await.map(|_| ());
        assert_eq!(full, Err(RoutingError::OutstandingPeeringsExceeded.into()));
        let first = first.expect("asked").id;
        let accepted = control.accept_vpc_peering_connection(&caller, first);
        assert!(accepted.await.is_ok());
        let full = control.accept_vpc_peering_connection(&caller, second).await;
        assert_eq!(
            full.map(|_| ()),
            Err(RoutingError::PeeringsPerVpcExceeded { vpc: hub }.into())
        );
        assert!(ask(&control, hub, third).await.is_ok());
    }
}
