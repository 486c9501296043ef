//! Internet gateways.
//!
//! A VPC has at most one. While public addresses stand for private ones of the VPC, the gateway
//! that translates between them stays attached.

use enid_model::gateway::InternetGateway;
use enid_model::id::{InternetGatewayId, VpcId};
use enid_model::key::Kind;
use enid_model::state::{RegionState, Stored};
use enid_model::vpc::Vpc;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Draft, Error};

impl Control {
    /// CreateInternetGateway: one that is attached to nothing.
    pub async fn create_internet_gateway(
        &self,
        caller: &Caller,
        tags: &[TagSpecification],
    ) -> Result<InternetGateway, Error> {
        let tags = specified(tags, "internet-gateway")?;
        self.transact(caller, |draft| {
            check_gateway_quota(draft)?;
            let gateway = InternetGateway {
                id: draft.mint(),
                vpc: None,
                route_table: None,
                tags: tags.clone(),
            };
            draft.create(gateway.clone());
            Ok(gateway)
        })
        .await
    }

    /// AttachInternetGateway.
    pub async fn attach_internet_gateway(
        &self,
        caller: &Caller,
        id: InternetGatewayId,
        vpc: VpcId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = draft.require::<InternetGateway>(id)?;
            let vpc = draft.require::<Vpc>(vpc)?;
            if let Some(vpc) = gateway.vpc {
                return Err(Error::InternetGatewayAttached { id, vpc });
            }
            if gateway_of(&draft.region, vpc.id).is_some() {
                return Err(Error::NetworkHasGateway { vpc: vpc.id });
            }
            draft.edit(&gateway, |gateway| gateway.vpc = Some(vpc.id));
            // Of two gateways that are attached at the same time, the second finds the first.
            draft.update(&vpc, Vpc::clone(&vpc));
            Ok(())
        })
        .await
    }

    /// DetachInternetGateway. Its edge route table, which was one of the VPC, goes with the
    /// attachment; routes to it become blackholes.
    pub async fn detach_internet_gateway(
        &self,
        caller: &Caller,
        id: InternetGatewayId,
        vpc: VpcId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = draft.require::<InternetGateway>(id)?;
            draft.require::<Vpc>(vpc)?;
            if gateway.vpc != Some(vpc) {
                return Err(Error::InternetGatewayNotAttached { id, vpc });
            }
            if has_public_addresses(&draft.region, vpc) {
                return Err(Error::PublicAddressesMapped { vpc });
            }
            draft.demand_none_new(Kind::ElasticIp);
            draft.demand_none_new(Kind::NetworkInterface);
            draft.edit(&gateway, |gateway| {
                gateway.vpc = None;
                gateway.route_table = None;
            });
            Ok(())
        })
        .await
    }

    /// DeleteInternetGateway.
    pub async fn delete_internet_gateway(
        &self,
        caller: &Caller,
        id: InternetGatewayId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = draft.require::<InternetGateway>(id)?;
            if gateway.vpc.is_some() {
                return Err(Error::InternetGatewayInUse { id });
            }
            draft.delete(&gateway);
            Ok(())
        })
        .await
    }
}

/// The region has room for one more internet gateway; also at the commit.
pub(crate) fn check_gateway_quota(draft: &mut Draft<'_>) -> Result<(), Error> {
    draft.demand_none_new(Kind::InternetGateway);
    if draft.region.internet_gateways.len() >= draft.quotas.internet_gateways {
        return Err(Error::InternetGatewayLimitExceeded);
    }
    Ok(())
}

/// The internet gateway of a VPC, if it has one.
#[must_use]
pub fn gateway_of(region: &RegionState, vpc: VpcId) -> Option<&Stored<InternetGateway>> {
    let id = region.internet_gateways_of_vpc(vpc).next()?;
    region.internet_gateways.get(&id)
}

/// Whether a VPC has an internet gateway; if so, it must still have it at the commit.
pub(crate) fn depend_on_gateway(draft: &mut Draft<'_>, vpc: VpcId) -> bool {
    let gateway = gateway_of(&draft.region, vpc).cloned();
    if let Some(gateway) = &gateway {
        draft.depend(gateway);
    }
    gateway.is_some()
}

/// Whether a public address stands for any private one of a VPC.
fn has_public_addresses(region: &RegionState, vpc: VpcId) -> bool {
    let enis = region.enis_of_vpc(vpc);
    let mut enis = enis.filter_map(|id| region.network_interfaces.get(&id));
    enis.any(|eni| {
        eni.public_address.is_some() || region.elastic_ips_of_eni(eni.id).next().is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Quotas;
    use crate::fixture::{caller, control, internet, place};

    async fn vpc_of(control: &Control, gateway: InternetGatewayId) -> Option<VpcId> {
        let region = control.read(&caller()).await.expect("a region");
        let gateway = region.internet_gateways.get(&gateway);
        gateway.expect("the gateway").vpc
    }

    #[tokio::test]
    async fn a_gateway_is_attached_to_one_vpc_and_a_vpc_has_one() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let id = internet(&control, &place).await;
        let vpc = vpc_of(&control, id).await.expect("it is attached");
        let region = control.read(&caller).await.expect("a region");
        let default = crate::default_vpc(&region).expect("a default VPC").id;
        let attached = control.attach_internet_gateway(&caller, id, default).await;
        assert_eq!(attached, Err(Error::InternetGatewayAttached { id, vpc }));
        let second = control.create_internet_gateway(&caller, &[]).await;
        let second = second.expect("a gateway").id;
        let attached = control.attach_internet_gateway(&caller, second, vpc).await;
        assert_eq!(attached, Err(Error::NetworkHasGateway { vpc }));
        let not = Error::InternetGatewayNotAttached { id: second, vpc };
        let detached = control.detach_internet_gateway(&caller, second, vpc).await;
        assert_eq!(detached, Err(not));
        let deleted = control.delete_internet_gateway(&caller, id).await;
        assert_eq!(deleted, Err(Error::InternetGatewayInUse { id }));
        let detached = control.detach_internet_gateway(&caller, id, vpc).await;
        assert_eq!(detached, Ok(()));
        assert_eq!(vpc_of(&control, id).await, None);
        assert_eq!(control.delete_internet_gateway(&caller, id).await, Ok(()));
        let gone = control.delete_internet_gateway(&caller, id).await;
        assert_eq!(gone, Err(Error::not_found(id)));
    }

    #[tokio::test]
    async fn the_quota_counts_all_gateways() {
        let control = control().with_quotas(Quotas {
            internet_gateways: 2,
            ..Quotas::default()
        });
        let create = || async {
            let made = control.create_internet_gateway(&caller(), &[]).await;
            made.map(|_| ()).map_err(|error| error.code())
        };
        // The default VPC has one.
        assert_eq!(create().await, Ok(()));
        assert_eq!(create().await, Err("InternetGatewayLimitExceeded"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_gateways_attached_at_once_one_wins() {
        let control = Arc::new(control().with_quotas(Quotas {
            internet_gateways: 20,
            ..Quotas::default()
        }));
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller()).await.expect("a region");
        let vpc = region.subnets.get(&place.subnet).expect("the subnet").vpc;
        let mut rivals = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let control = Arc::clone(&control);
            rivals.spawn(async move {
                let made = control.create_internet_gateway(&caller(), &[]).await;
                let id = made.expect("a gateway").id;
                control.attach_internet_gateway(&caller(), id, vpc).await
            });
        }
        let outcomes = rivals.join_all().await;
        let refused = Err(Error::NetworkHasGateway { vpc });
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1);
        assert!(outcomes.iter().all(|o| o.is_ok() || *o == refused));
    }
}
