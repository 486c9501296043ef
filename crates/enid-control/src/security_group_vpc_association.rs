//! Security groups that interfaces of other VPCs may carry.

use enid_model::id::{SecurityGroupId, VpcId};
use enid_model::key::Kind;
use enid_model::security_group::SecurityGroup;
use enid_model::vpc::Vpc;

use crate::{Caller, Control, Error};

impl Control {
    /// AssociateSecurityGroupVpc. To associate again what is associated changes nothing.
    pub async fn associate_security_group_vpc(
        &self,
        caller: &Caller,
        group: SecurityGroupId,
        vpc: VpcId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let group = draft.require::<SecurityGroup>(group)?;
            let vpc = draft.require::<Vpc>(vpc)?;
            let home = draft.require::<Vpc>(group.vpc)?;
            if home.default_group == group.id {
                return Err(Error::DefaultGroupAssociated { id: group.id });
            }
            if vpc.is_default || home.is_default {
                return Err(Error::DefaultVpcAssociated);
            }
            if group.vpc == vpc.id {
                return Err(Error::GroupAssociatedWithOwnVpc {
                    id: group.id,
                    vpc: vpc.id,
                });
            }
            draft.edit(&group, |group| {
                group.associated_vpcs.insert(vpc.id);
            });
            Ok(())
        })
        .await
    }

    /// DisassociateSecurityGroupVpc. Not while an interface of the VPC carries the group.
    pub async fn disassociate_security_group_vpc(
        &self,
        caller: &Caller,
        group: SecurityGroupId,
        vpc: VpcId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let group = draft.require::<SecurityGroup>(group)?;
            let id = group.id;
            if !group.associated_vpcs.contains(&vpc) {
                return Err(Error::GroupNotAssociated { id, vpc });
            }
            let region = std::sync::Arc::clone(&draft.region);
            let mut carriers = region.enis_of_group(id);
            let carried = carriers.any(|eni| {
                let eni = region.network_interfaces.get(&eni);
                eni.is_some_and(|eni| eni.vpc == vpc)
            });
            if carried {
                return Err(Error::GroupInUse { id });
            }
            draft.demand_none_new(Kind::NetworkInterface);
            draft.edit(&group, |group| {
                group.associated_vpcs.remove(&vpc);
            });
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CreateSecurityGroup;
    use crate::fixture::{caller, control, new_eni, place};
    use crate::vpc::default_vpc;

    #[tokio::test]
    async fn interfaces_of_an_associated_vpc_carry_the_group() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller).await.expect("a region");
        let vpc = region.subnets.get(&place.foreign_subnet).map(|s| s.vpc);
        let (group, vpc) = (place.groups[0], vpc.expect("another VPC"));
        let carry = async || {
            let mut input = new_eni(&place);
            input.subnet = place.foreign_subnet;
            input.groups = vec![group];
            control.create_network_interface(&caller, input).await
        };
        let apart = carry().await.map(|eni| eni.id);
        assert_eq!(apart, Err(Error::DifferentNetworks));
        for _ in 0..2 {
            let done = control.associate_security_group_vpc(&caller, group, vpc);
            assert_eq!(done.await, Ok(()));
        }
        let eni = carry().await.expect("an interface").id;
        let disassociate = async || {
            let done = control.disassociate_security_group_vpc(&caller, group, vpc);
            done.await
        };
        assert_eq!(disassociate().await, Err(Error::GroupInUse { id: group }));
        let deleted = control.delete_network_interface(&caller, eni).await;
        assert_eq!(deleted, Ok(()));
        let kept = control.delete_security_group(&caller, &group.into()).await;
        assert_eq!(kept, Err(Error::GroupInUse { id: group }));
        assert_eq!(disassociate().await, Ok(()));
        let again = disassociate().await;
        assert_eq!(again, Err(Error::GroupNotAssociated { id: group, vpc }));
        let deleted = control.delete_security_group(&caller, &group.into()).await;
        assert_eq!(deleted, Ok(group));
    }

    #[tokio::test]
    async fn what_is_default_or_at_home_is_not_associated() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let region = control.read(&caller).await.expect("a region");
        let vpc_of = |subnet| region.subnets.get(&subnet).map(|subnet| subnet.vpc);
        let home = vpc_of(place.subnet).expect("a VPC");
        let foreign = vpc_of(place.foreign_subnet).expect("a VPC");
        let default = default_vpc(&region).expect("a default VPC").id;
        let in_default = CreateSecurityGroup {
            name: "web".to_owned(),
            description: "web".to_owned(),
            ..CreateSecurityGroup::default()
        };
        let in_default = control.create_security_group(&caller, &in_default).await;
        let in_default = in_default.expect("a group").id;
        let group = place.groups[0];
        let error = |id, vpc| Error::GroupAssociatedWithOwnVpc { id, vpc };
        for (group, vpc, refused) in [
            (group, home, error(group, home)),
            (group, default, Error::DefaultVpcAssociated),
            (in_default, foreign, Error::DefaultVpcAssociated),
            (
                place.default_group,
                foreign,
                Error::DefaultGroupAssociated {
                    id: place.default_group,
                },
            ),
            (group, VpcId(7), Error::not_found(VpcId(7))),
        ] {
            let done = control.associate_security_group_vpc(&caller, group, vpc);
            assert_eq!(done.await, Err(refused));
        }
    }
}
