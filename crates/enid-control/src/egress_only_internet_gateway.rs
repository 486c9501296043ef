//! Egress-only internet gateways: IPv6 out, and only answers in. One belongs to its VPC for life.

use enid_model::gateway::EgressOnlyInternetGateway;
use enid_model::id::{EgressOnlyInternetGatewayId, VpcId};
use enid_model::key::Kind;
use enid_model::vpc::Vpc;

use crate::tag::{TagSpecification, specified};
use crate::{Caller, Control, Error};

/// What CreateEgressOnlyInternetGateway takes.
#[derive(Debug, Clone)]
pub struct CreateEgressOnlyInternetGateway {
    /// Its VPC.
    pub vpc: VpcId,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Its tags.
    pub tags: Vec<TagSpecification>,
}

impl Control {
    /// CreateEgressOnlyInternetGateway.
    pub async fn create_egress_only_internet_gateway(
        &self,
        caller: &Caller,
        input: CreateEgressOnlyInternetGateway,
    ) -> Result<EgressOnlyInternetGateway, Error> {
        let tags = specified(&input.tags, "egress-only-internet-gateway")?;
        let (token, parameters) = {
            let mut rest = input.clone();
            let token = rest.client_token.take();
            (token, format!("{rest:?}"))
        };
        self.transact(caller, |draft| {
            let made = draft.made_before(OPERATION, token.as_deref(), &parameters)?;
            if let Some(id) = made.and_then(|made| made.first()?.parse().ok()) {
                let known = draft.require::<EgressOnlyInternetGateway>(id)?;
                return Ok(EgressOnlyInternetGateway::clone(&known));
            }
            let vpc = draft.require::<Vpc>(input.vpc)?.id;
            let gateways = &draft.region.egress_only_internet_gateways;
            if gateways.len() >= draft.quotas.egress_only_internet_gateways {
                return Err(Error::EgressOnlyGatewayLimitExceeded);
            }
            if draft
                .region
                .egress_only_gateways_of_vpc(vpc)
                .next()
                .is_some()
            {
                return Err(Error::NetworkHasEgressOnlyGateway { vpc });
            }
            draft.demand_none_new(Kind::EgressOnlyInternetGateway);
            let gateway = EgressOnlyInternetGateway {
                id: draft.mint(),
                vpc,
                tags: tags.clone(),
            };
            draft.create(gateway.clone());
            let made = vec![gateway.id.to_string()];
            draft.remember(OPERATION, token.as_deref(), &parameters, made);
            Ok(gateway)
        })
        .await
    }

    /// DeleteEgressOnlyInternetGateway. Routes to it become blackholes.
    pub async fn delete_egress_only_internet_gateway(
        &self,
        caller: &Caller,
        id: EgressOnlyInternetGatewayId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let gateway = draft.require::<EgressOnlyInternetGateway>(id)?;
            draft.delete(&gateway);
            Ok(())
        })
        .await
    }
}

const OPERATION: &str = "CreateEgressOnlyInternetGateway";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quotas;
    use crate::fixture::{caller, control};

    fn new(vpc: VpcId) -> CreateEgressOnlyInternetGateway {
        CreateEgressOnlyInternetGateway {
            vpc,
            client_token: Some("once".to_owned()),
            tags: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_vpc_has_one_for_life() {
        let (control, caller) = (control(), caller());
        let region = control.read(&caller).await.expect("a region");
        let vpc = crate::default_vpc(&region).expect("a default VPC").id;
        let create = |input| control.create_egress_only_internet_gateway(&caller, input);
        let made = create(new(vpc)).await.expect("a gateway");
        assert_eq!(create(new(vpc)).await, Ok(made.clone()), "a repetition");
        let second = CreateEgressOnlyInternetGateway {
            client_token: None,
            ..new(vpc)
        };
        let refused = Err(Error::NetworkHasEgressOnlyGateway { vpc });
        assert_eq!(create(second.clone()).await, refused);
        let unknown = CreateEgressOnlyInternetGateway {
            vpc: VpcId(7),
            ..second.clone()
        };
        assert_eq!(create(unknown).await, Err(Error::not_found(VpcId(7))));
        let delete = || control.delete_egress_only_internet_gateway(&caller, made.id);
        assert_eq!(delete().await, Ok(()));
        assert_eq!(delete().await, Err(Error::not_found(made.id)));
        assert!(create(second).await.is_ok());
    }

    #[tokio::test]
    async fn the_quota_is_of_the_region() {
        let control = control().with_quotas(Quotas {
            egress_only_internet_gateways: 0,
            ..Quotas::default()
        });
        let region = control.read(&caller()).await.expect("a region");
        let vpc = crate::default_vpc(&region).expect("a default VPC").id;
        let refused = control
            .create_egress_only_internet_gateway(&caller(), new(vpc))
            .await;
        assert_eq!(refused, Err(Error::EgressOnlyGatewayLimitExceeded));
    }
}
