//! The IPv6 block of a subnet: a /64 inside one of its VPC's.

use std::net::Ipv6Addr;
use std::sync::Arc;

use enid_model::id::{SubnetCidrAssociationId, SubnetId};
use enid_model::key::Kind;
use enid_model::state::{RegionState, Stored};
use enid_model::subnet::{Subnet, SubnetIpv6Cidr};
use enid_model::vpc::Vpc;
use enid_store::Condition;
use ipnet::IpNet;

use crate::vpc::ipv6_block;
use crate::{AddressingError, Caller, Control, Draft, Error};

impl Control {
    /// AssociateSubnetCidrBlock.
    pub async fn associate_subnet_cidr_block(
        &self,
        caller: &Caller,
        id: SubnetId,
        cidr: &str,
    ) -> Result<SubnetIpv6Cidr, Error> {
        self.transact(caller, |draft| {
            let subnet = draft.require::<Subnet>(id)?;
            let vpc = draft.require::<Vpc>(subnet.vpc)?;
            if subnet.ipv6_cidr.is_some() {
                return Err(AddressingError::SubnetCidrLimitExceeded { id }.into());
            }
            let block = choose_ipv6_block(draft, &vpc, cidr)?;
            draft.edit(&subnet, |subnet| subnet.ipv6_cidr = Some(block));
            Ok(block)
        })
        .await
    }

    /// DisassociateSubnetCidrBlock. Returns the subnet, and the block that it had.
    pub async fn disassociate_subnet_cidr_block(
        &self,
        caller: &Caller,
        id: SubnetCidrAssociationId,
    ) -> Result<(SubnetId, SubnetIpv6Cidr), Error> {
        self.transact(caller, |draft| {
            let region = Arc::clone(&draft.region);
            let (subnet, block) = find(&region, id).ok_or_else(|| Error::not_found(id))?;
            if subnet.attributes.assign_ipv6_address_on_creation {
                return Err(AddressingError::SubnetCidrAssigns { id }.into());
            }
            if is_in_use(&region, subnet) {
                return Err(AddressingError::SubnetCidrInUse { id }.into());
            }
            for kind in [Kind::Ipv6Lease, Kind::Ipv6PrefixLease] {
                let leases = format!("{}/", subnet.id).into();
                draft.demand(Condition::Empty(caller.scope(), kind, leases));
            }
            draft.demand_unnamed(Kind::SubnetCidrReservation, subnet.id);
            draft.edit(subnet, |subnet| subnet.ipv6_cidr = None);
            Ok((subnet.id, block))
        })
        .await
    }
}

/// A block for a subnet of this VPC that no other subnet has, also at the commit.
pub(crate) fn choose_ipv6_block(
    draft: &mut Draft<'_>,
    vpc: &Vpc,
    text: &str,
) -> Result<SubnetIpv6Cidr, Error> {
    let cidr = ipv6_block(text)?;
    let is_in_vpc = vpc.ipv6_cidrs.iter().any(|own| own.cidr.contains(&cidr));
    // Limit: AWS has lately come to permit other sizes.
    if cidr.prefix_len() != BLOCK_PREFIX || !is_in_vpc {
        return Err(AddressingError::SubnetIpv6Range { cidr: text.into() }.into());
    }
    draft.demand_unnamed(Kind::Subnet, vpc.id);
    let has_it = |id: SubnetId| {
        let neighbour = draft.region.subnets.get(&id);
        let theirs = neighbour.and_then(|subnet| subnet.ipv6_cidr);
        theirs.is_some_and(|theirs| theirs.cidr == cidr)
    };
    if draft.region.subnets_of_vpc(vpc.id).any(has_it) {
        return Err(AddressingError::SubnetIpv6Conflict { cidr: text.into() }.into());
    }
    Ok(SubnetIpv6Cidr {
        association: draft.mint(),
        cidr,
    })
}

fn find(
    region: &RegionState,
    id: SubnetCidrAssociationId,
) -> Option<(&Stored<Subnet>, SubnetIpv6Cidr)> {
    let mut subnets = region.subnets.values();
    subnets.find_map(|subnet| {
        let own = subnet.ipv6_cidr.filter(|own| own.association == id)?;
        Some((subnet, own))
    })
}

/// Whether interfaces hold addresses or prefixes of a subnet's IPv6 block, or reservations keep some.
fn is_in_use(region: &RegionState, subnet: &Subnet) -> bool {
    let all = (subnet.id, Ipv6Addr::UNSPECIFIED)..=(subnet.id, Ipv6Addr::from(u128::MAX));
    let mut reservations = region
        .reservations_of_subnet(subnet.id)
        .filter_map(|id| region.subnet_cidr_reservations.get(&id));
    region.ipv6_leases.range(all.clone()).next().is_some()
        || region.ipv6_prefix_leases.range(all).next().is_some()
        || reservations.any(|reservation| matches!(reservation.cidr, IpNet::V6(_)))
}

/// The prefix length of every subnet's IPv6 block.
const BLOCK_PREFIX: u8 = 64;

#[cfg(test)]
mod tests {
    use enid_model::id::EniId;
    use enid_model::record::Record;
    use enid_model::state::lease_name;
    use enid_model::subnet::Ipv6Lease;

    use super::*;
    use crate::fixture::{caller, control};
    use crate::{CreateSubnet, CreateVpc, ModifySubnetAttribute, WantedIpv6Block};

    #[tokio::test]
    async fn a_block_is_a_64th_of_the_vpcs_own_and_no_other_subnets() {
        let (control, caller) = (control(), caller());
        let vpc = CreateVpc {
            cidr_block: "10.0.0.0/16".to_owned(),
            ipv6: Some(WantedIpv6Block::AmazonProvided),
            ..CreateVpc::default()
        };
        let vpc = control.create_vpc(&caller, &vpc).await.expect("a VPC");
        let base = vpc.ipv6_cidrs[0].cidr.network();
        let part = |length: u8| format!("{base}/{length}");
        let mut number = 0;
        let mut create = async |block: Option<String>| {
            number += 1;
            let mut input = CreateSubnet::new(vpc.id, &format!("10.0.{number}.0/24"));
            input.ipv6_cidr_block = block;
            control.create_subnet(&caller, &input).await
        };
        for (length, code) in [
            (60, "InvalidSubnet.Range"),
            (80, "InvalidSubnet.Range"),
            (56, "InvalidSubnet.Range"),
        ] {
            let refused = create(Some(part(length))).await;
            assert_eq!(refused.map_err(|error| error.code()), Err(code));
        }
        let outside = create(Some("2001:db8:ffff:ffff::/64".to_owned())).await;
        let words = "The IPv6 CIDR '2001:db8:ffff:ffff::/64' is invalid.";
        assert_eq!(outside.map_err(|e| e.to_string()), Err(words.to_owned()));
        let first = create(Some(part(64))).await.expect("a subnet");
        let taken = create(Some(part(64))).await;
        assert_eq!(taken.map_err(|e| e.code()), Err("InvalidSubnet.Conflict"));
        let second = create(None).await.expect("a subnet").id;
        let add = async |cidr: &str| {
            control
                .associate_subnet_cidr_block(&caller, second, cidr)
                .await
        };
        let taken = add(&part(64)).await;
        assert_eq!(taken.map_err(|e| e.code()), Err("InvalidSubnet.Conflict"));
        let other = Ipv6Addr::from(u128::from(base) + (1 << 64));
        let block = add(&format!("{other}/64")).await.expect("a block");
        let more = add(&format!("{other}/64")).await;
        assert_eq!(
            more,
            Err(AddressingError::SubnetCidrLimitExceeded { id: second }.into())
        );
        let vpc_block = vpc.ipv6_cidrs[0].association;
        let in_use = control
            .disassociate_vpc_cidr_block(&caller, vpc_block)
            .await;
        assert_eq!(
            in_use,
            Err(AddressingError::VpcCidrInUse { id: vpc_block }.into())
        );

        let go = |id| control.disassociate_subnet_cidr_block(&caller, id);
        let gone = go(block.association).await;
        assert_eq!(gone, Ok((second, block)));
        let id = block.association;
        assert_eq!(go(id).await, Err(Error::not_found(id)));

        let assign = |value| {
            let input = ModifySubnetAttribute {
                assign_ipv6_address_on_creation: Some(value),
                ..ModifySubnetAttribute::default()
            };
            (input, first.id)
        };
        let modify = async |(input, id)| control.modify_subnet_attribute(&caller, id, input).await;
        let (input, _) = assign(true);
        let without = modify((input, second)).await;
        assert_eq!(
            without,
            Err(AddressingError::AssignIpv6WithoutBlock { id: second }.into())
        );
        assert_eq!(modify(assign(true)).await, Ok(()));
        let id = first.ipv6_cidr.expect("its block").association;
        assert_eq!(
            go(id).await,
            Err(AddressingError::SubnetCidrAssigns { id }.into())
        );
        assert_eq!(modify(assign(false)).await, Ok(()));
        let lease = |draft: &mut Draft<'_>| {
            let lease = Record::Ipv6Lease(Ipv6Lease { eni: EniId(1) });
            draft.claim(lease_name(first.id, base), lease);
            Ok(())
        };
        assert_eq!(control.transact(&caller, lease).await, Ok(()));
        assert_eq!(
            go(id).await,
            Err(AddressingError::SubnetCidrInUse { id }.into())
        );
    }
}
