//! Network ACLs, and which subnets they judge.
//!
//! A subnet always has exactly one; its association is in the subnet's record and is replaced, never
//! removed. The ACL that came with a VPC goes with it.

use enid_model::id::{NetworkAclAssociationId, NetworkAclId, VpcId};
use enid_model::key::Kind;
use enid_model::network_acl::NetworkAcl;
use enid_model::subnet::{Subnet, SubnetNetworkAcl};
use enid_model::vpc::Vpc;

use crate::{Caller, Control, Error, RoutingError, TagSpecification, tag};

/// What CreateNetworkAcl takes.
#[derive(Debug, Clone)]
pub struct CreateNetworkAcl {
    /// Its VPC.
    pub vpc: VpcId,
    /// Makes a repetition harmless.
    pub client_token: Option<String>,
    /// Tags for it.
    pub tag_specifications: Vec<TagSpecification>,
}

impl Control {
    /// CreateNetworkAcl. Until it has entries, it lets nothing pass.
    pub async fn create_network_acl(
        &self,
        caller: &Caller,
        input: &CreateNetworkAcl,
    ) -> Result<NetworkAcl, Error> {
        const OPERATION: &str = "CreateNetworkAcl";
        let tags = tag::specified(&input.tag_specifications, "network-acl")?;
        let token = input.client_token.as_deref();
        let parameters = format!("{} {tags:?}", input.vpc);
        self.transact(caller, |draft| {
            if let Some(acl) = draft.resource_made_before(OPERATION, token, &parameters)? {
                return Ok(acl);
            }
            let vpc = draft.require::<Vpc>(input.vpc)?;
            if draft.region.acls_of_vpc(vpc.id).count() >= draft.quotas.network_acls_per_vpc {
                return Err(RoutingError::NetworkAclLimitExceeded.into());
            }
            draft.demand_unnamed(Kind::NetworkAcl, vpc.id);
            let acl = NetworkAcl {
                id: draft.mint(),
                vpc: vpc.id,
                is_default: false,
                entries: Vec::new(),
                tags: tags.clone(),
            };
            draft.create(acl.clone());
            draft.remember(OPERATION, token, &parameters, vec![acl.id.to_string()]);
            Ok(acl)
        })
        .await
    }

    /// DeleteNetworkAcl.
    pub async fn delete_network_acl(&self, caller: &Caller, id: NetworkAclId) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let acl = draft.require::<NetworkAcl>(id)?;
            if acl.is_default {
                return Err(RoutingError::DefaultNetworkAcl { id }.into());
            }
            if draft.region.subnets_of_acl(id).next().is_some() {
                return Err(RoutingError::NetworkAclInUse { id }.into());
            }
            draft.demand_unnamed(Kind::Subnet, id);
            draft.delete(&acl);
            Ok(())
        })
        .await
    }

    /// ReplaceNetworkAclAssociation: gives a subnet another ACL. The answer is the id of the new
    /// association.
    pub async fn replace_network_acl_association(
        &self,
        caller: &Caller,
        association: NetworkAclAssociationId,
        acl: NetworkAclId,
    ) -> Result<NetworkAclAssociationId, Error> {
        self.transact(caller, |draft| {
            let mut subnets = draft.region.subnets.values();
            let subnet = subnets.find(|subnet| subnet.network_acl.association == association);
            let subnet = subnet.map(|subnet| subnet.id);
            let subnet = subnet.ok_or_else(|| Error::not_found(association))?;
            let subnet = draft.require::<Subnet>(subnet)?;
            let acl = draft.require::<NetworkAcl>(acl)?;
            if acl.vpc != subnet.vpc {
                return Err(RoutingError::acl_and_subnet(acl.id, subnet.id).into());
            }
            let new = SubnetNetworkAcl {
                association: draft.mint(),
                acl: acl.id,
            };
            draft.edit(&subnet, |subnet| subnet.network_acl = new);
            Ok(new.association)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CreateSubnet;
    use crate::fixture::{caller, control, place};

    #[tokio::test]
    async fn a_subnet_has_one_acl_and_new_ones_the_default() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller).await.expect("a region");
        let subnet = region.subnets.get(&place.subnet).expect("the subnet");
        let (vpc, old) = (subnet.vpc, subnet.network_acl);
        let input = CreateNetworkAcl {
            vpc,
            client_token: None,
            tag_specifications: Vec::new(),
        };
        let acl = control.create_network_acl(&caller, &input).await;
        let acl = acl.expect("an ACL").id;
        let new = control
            .replace_network_acl_association(&caller, old.association, acl)
            .await
            .expect("replaced");
        assert_ne!(new, old.association);
        let again = control.replace_network_acl_association(&caller, old.association, acl);
        let again = again.await.map_err(|error| error.code());
        assert_eq!(again, Err("InvalidAssociationID.NotFound"));

        let region = control.read(&caller).await.expect("a region");
        assert_eq!(
            region.subnets_of_acl(acl).collect::<Vec<_>>(),
            [place.subnet]
        );
        let next = CreateSubnet::new(vpc, "10.0.9.0/24");
        let next = control.create_subnet(&caller, &next).await;
        assert_eq!(next.map(|subnet| subnet.network_acl.acl), Ok(old.acl));
        let used = control.delete_network_acl(&caller, acl).await;
        assert_eq!(used, Err(RoutingError::NetworkAclInUse { id: acl }.into()));
        let default = control.delete_network_acl(&caller, old.acl).await;
        assert_eq!(
            default,
            Err(RoutingError::DefaultNetworkAcl { id: old.acl }.into())
        );
        control
            .replace_network_acl_association(&caller, new, old.acl)
            .await
            .expect("replaced");
        assert_eq!(control.delete_network_acl(&caller, acl).await, Ok(()));
    }
}
