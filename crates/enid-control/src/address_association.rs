//! Associations of Elastic IPs with private addresses.
//!
//! A private address has at most one Elastic IP, and the other way round. Associating moves an
//! Elastic IP from where it was, unless that is forbidden, and silently frees the one that the
//! private address had.

use std::net::Ipv4Addr;

use enid_model::address::{ElasticIp, ElasticIpAssociation};
use enid_model::id::{AllocationId, AssociationId, EniId, InstanceId};
use enid_model::network_interface::{InterfaceType, NetworkInterface};
use enid_model::state::Stored;

use crate::address::AddressSelector;
use crate::attachment::attached;
use crate::instance::require_visible;
use crate::instance_state::InstanceState;
use crate::internet_gateway::depend_on_gateway;
use crate::public_address::{associations, settle};
use crate::{Caller, Control, Draft, Error};

/// What an Elastic IP shall stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssociationTarget {
    /// The only interface of an instance.
    Instance(InstanceId),
    /// An interface.
    NetworkInterface(EniId),
}

impl AssociationTarget {
    /// Exactly one of the two.
    pub fn new(instance: Option<InstanceId>, eni: Option<EniId>) -> Result<Self, Error> {
        match (instance, eni) {
            (Some(id), None) => Ok(Self::Instance(id)),
            (None, Some(id)) => Ok(Self::NetworkInterface(id)),
            (None, None) => Err(Error::NoAssociationTarget),
            (Some(_), Some(_)) => Err(Error::InstanceAndInterface),
        }
    }
}

/// What AssociateAddress takes.
#[derive(Debug, Clone, Copy)]
pub struct AssociateAddress {
    /// The Elastic IP.
    pub address: AddressSelector,
    /// With what.
    pub target: AssociationTarget,
    /// Which of the interface's addresses; the primary one if none is named.
    pub private_ip: Option<Ipv4Addr>,
    /// Whether it may be taken from where it is.
    pub allow_reassociation: bool,
}

impl Control {
    /// AssociateAddress.
    pub async fn associate_address(
        &self,
        caller: &Caller,
        input: AssociateAddress,
    ) -> Result<AssociationId, Error> {
        self.transact(caller, |draft| {
            let id = input
                .address
                .allocation(draft, Error::AllocationIdMissing)?;
            let elastic_ip = draft.require::<ElasticIp>(id)?;
            let eni = match input.target {
                AssociationTarget::NetworkInterface(id) => draft.require::<NetworkInterface>(id)?,
                AssociationTarget::Instance(id) => self.interface_of(draft, id)?,
            };
            if eni.requester_id.is_some() {
                return Err(Error::ManagedByService);
            }
            let private_ip = input.private_ip.unwrap_or_else(|| eni.primary_address());
            if !eni.addresses.contains(&private_ip) {
                return Err(Error::AddressesNotAssigned { id: eni.id });
            }
            if !depend_on_gateway(draft, eni.vpc) {
                return Err(Error::NetworkNotAttached { vpc: eni.vpc });
            }
            if let Some(present) = &elastic_ip.association {
                if present.eni == eni.id && present.private_ip == private_ip {
                    return Ok(present.id);
                }
                if is_managed(draft, present)? {
                    return Err(Error::ManagedByService);
                }
                if !input.allow_reassociation {
                    let association = present.id;
                    return Err(Error::ElasticIpAssociated { id, association });
                }
            }
            associate(draft, &elastic_ip, &eni, private_ip)
        })
        .await
    }

    /// DisassociateAddress.
    pub async fn disassociate_address(
        &self,
        caller: &Caller,
        association: AssociationId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let elastic_ip = elastic_ip_of(draft, association)?;
            let Some(present) = elastic_ip.association else {
                return Err(Error::not_found(association));
            };
            if is_managed(draft, &present)? {
                return Err(Error::ManagedByService);
            }
            disassociate(draft, &present)?;
            draft.edit(&elastic_ip, |elastic_ip| elastic_ip.association = None);
            Ok(())
        })
        .await
    }

    /// DisassociateAddress by the address, as in EC2-Classic: found, and refused.
    pub async fn disassociate_public_ip(
        &self,
        caller: &Caller,
        address: AddressSelector,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let named = address.allocation(draft, Error::AssociationIdMissing);
            named.and(Err(Error::AssociationIdMissing))
        })
        .await
    }

    /// The only interface of an instance that can have an Elastic IP.
    fn interface_of(
        &self,
        draft: &mut Draft<'_>,
        id: InstanceId,
    ) -> Result<Stored<NetworkInterface>, Error> {
        let instance = require_visible(draft, id)?;
        let state = self.instance_state(&instance);
        match state {
            InstanceState::Running | InstanceState::Stopped | InstanceState::Stopping => {}
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                let state = state.name();
                return Err(Error::InstanceNotAssociable { id, state });
            }
        }
        match attached(draft, id).as_slice() {
            [only] => draft.require::<NetworkInterface>(only.id),
            _ => Err(Error::SeveralInterfaces { id }),
        }
    }
}

/// Makes an Elastic IP stand for an address of an interface, wherever it was before. The VPC has
/// an internet gateway, which the draft depends on.
pub(crate) fn associate(
    draft: &mut Draft<'_>,
    elastic_ip: &Stored<ElasticIp>,
    eni: &Stored<NetworkInterface>,
    private_ip: Ipv4Addr,
) -> Result<AssociationId, Error> {
    let mut there = associations(&draft.region, eni.id);
    if let Some(present) = &elastic_ip.association {
        if present.eni == eni.id {
            there.remove(&present.private_ip);
        } else {
            disassociate(draft, present)?;
        }
    }
    if let Some(displaced) = there.insert(private_ip, elastic_ip.id) {
        let displaced = draft.require::<ElasticIp>(displaced)?;
        draft.edit(&displaced, |elastic_ip| elastic_ip.association = None);
    }
    let mut new = NetworkInterface::clone(eni);
    settle(draft, &mut new, &there)?;
    // Written even if it is as before: two associations with one address must not pass each other.
    draft.update(eni, new);
    let association = ElasticIpAssociation {
        id: draft.mint(),
        eni: eni.id,
        private_ip,
    };
    draft.edit(elastic_ip, |new| new.association = Some(association));
    Ok(association.id)
}

/// Puts the interface right that an Elastic IP leaves. The Elastic IP's own record is the caller's.
pub(crate) fn disassociate(
    draft: &mut Draft<'_>,
    present: &ElasticIpAssociation,
) -> Result<(), Error> {
    let read = draft.require::<NetworkInterface>(present.eni)?;
    let mut left = associations(&draft.region, present.eni);
    left.remove(&present.private_ip);
    let mut eni = NetworkInterface::clone(&read);
    settle(draft, &mut eni, &left)?;
    draft.update(&read, eni);
    Ok(())
}

/// Whether an association is a service's own: a NAT gateway's.
fn is_managed(draft: &mut Draft<'_>, present: &ElasticIpAssociation) -> Result<bool, Error> {
    let eni = draft.require::<NetworkInterface>(present.eni)?;
    Ok(eni.interface_type != InterfaceType::Interface)
}

/// The Elastic IP with an association.
fn elastic_ip_of(
    draft: &mut Draft<'_>,
    association: AssociationId,
) -> Result<Stored<ElasticIp>, Error> {
    let mut all = draft.region.elastic_ips.values();
    let found = all.find(|found| found.association.is_some_and(|a| a.id == association));
    let id: Option<AllocationId> = found.map(|found| found.id);
    draft.require::<ElasticIp>(id.ok_or_else(|| Error::not_found(association))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fixture::{Place, caller, control, internet, new_eni, new_instance, place};
    use crate::{AllocateAddress, AssignPrivateAddresses, AttachNetworkInterface};

    async fn allocate(control: &Control) -> AllocationId {
        let input = AllocateAddress::default();
        let made = control.allocate_address(&caller(), &input).await;
        made.expect("an address is free").id
    }

    async fn create(control: &Control, place: &Place, secondary: u32) -> NetworkInterface {
        let mut input = new_eni(place);
        input.addresses.secondary_count = Some(secondary);
        let made = control.create_network_interface(&caller(), input).await;
        made.expect("an interface")
    }

    fn to(id: AllocationId, eni: EniId) -> AssociateAddress {
        AssociateAddress {
            address: AddressSelector::Allocation(id),
            target: AssociationTarget::NetworkInterface(eni),
            private_ip: None,
            allow_reassociation: true,
        }
    }

    async fn associate(control: &Control, input: AssociateAddress) -> Result<AssociationId, Error> {
        control.associate_address(&caller(), input).await
    }

    async fn place_of(control: &Control, id: AllocationId) -> Option<(EniId, Ipv4Addr)> {
        let region = control.read(&caller()).await.expect("a region");
        let elastic_ip = region.elastic_ips.get(&id).expect("the address");
        elastic_ip.association.map(|a| (a.eni, a.private_ip))
    }

    #[tokio::test]
    async fn an_address_moves_and_displaces() {
        let control = control();
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let (first, second) = (allocate(&control).await, allocate(&control).await);
        let one = create(&control, &place, 1).await;
        let two = create(&control, &place, 0).await;
        let made = associate(&control, to(first, one.id)).await;
        let association = made.expect("it is associated");
        let stay = AssociateAddress {
            allow_reassociation: false,
            ..to(first, two.id)
        };
        let id = first;
        let refused = Err(Error::ElasticIpAssociated { id, association });
        assert_eq!(associate(&control, stay).await, refused);
        let same = AssociateAddress {
            allow_reassociation: false,
            ..to(first, one.id)
        };
        assert_eq!(associate(&control, same).await, Ok(association));
        // To another address of the same interface, and on to another interface.
        let secondary = AssociateAddress {
            private_ip: Some(one.addresses[1]),
            ..to(first, one.id)
        };
        assert!(associate(&control, secondary).await.is_ok());
        let there = Some((one.id, one.addresses[1]));
        assert_eq!(place_of(&control, first).await, there);
        assert!(associate(&control, to(first, two.id)).await.is_ok());
        assert!(associate(&control, to(second, two.id)).await.is_ok());
        assert_eq!(place_of(&control, first).await, None);
        let there = Some((two.id, two.primary_address()));
        assert_eq!(place_of(&control, second).await, there);
    }

    #[tokio::test]
    async fn a_target_must_be_reachable() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        let id = allocate(&control).await;
        let eni = create(&control, &place, 0).await;
        let unreachable = Error::NetworkNotAttached { vpc: eni.vpc };
        assert_eq!(associate(&control, to(id, eni.id)).await, Err(unreachable));
        internet(&control, &place).await;
        let foreign = AssociateAddress {
            private_ip: Some(Ipv4Addr::new(10, 0, 0, 200)),
            ..to(id, eni.id)
        };
        let not_assigned = Err(Error::AddressesNotAssigned { id: eni.id });
        assert_eq!(associate(&control, foreign).await, not_assigned);
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let with_instance = AssociateAddress {
            target: AssociationTarget::Instance(instance),
            ..to(id, eni.id)
        };
        assert!(associate(&control, with_instance).await.is_ok());
        let attach = AttachNetworkInterface {
            eni: eni.id,
            instance,
            device_index: 1,
            network_card_index: 0,
        };
        let attached = control.attach_network_interface(&caller, attach).await;
        assert!(attached.is_ok());
        let several = Err(Error::SeveralInterfaces { id: instance });
        assert_eq!(associate(&control, with_instance).await, several);
        let ended = control.terminate_instances(&caller, &[instance]).await;
        assert!(ended.is_ok());
        assert_eq!(
            place_of(&control, id).await,
            None,
            "it went with the instance"
        );
        let gone = Error::InstanceNotAssociable {
            id: instance,
            state: "terminated",
        };
        assert_eq!(associate(&control, with_instance).await, Err(gone));
    }

    #[tokio::test]
    async fn an_association_goes_where_its_private_address_goes() {
        let (control, caller) = (control(), caller());
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let id = allocate(&control).await;
        let (from, into) = (
            create(&control, &place, 1).await,
            create(&control, &place, 0).await,
        );
        let moving = from.addresses[1];
        let input = AssociateAddress {
            private_ip: Some(moving),
            ..to(id, from.id)
        };
        assert!(associate(&control, input).await.is_ok());
        let assign = AssignPrivateAddresses {
            eni: into.id,
            addresses: vec![moving],
            allow_reassignment: true,
            ..AssignPrivateAddresses::default()
        };
        let moved = control.assign_private_addresses(&caller, assign).await;
        assert_eq!(moved.map(|moved| moved.addresses), Ok(vec![moving]));
        assert_eq!(place_of(&control, id).await, Some((into.id, moving)));
        let gone = control
            .unassign_private_addresses(&caller, into.id, &[moving], &[])
            .await;
        assert_eq!(gone, Ok(()));
        assert_eq!(place_of(&control, id).await, None);
        assert!(associate(&control, to(id, into.id)).await.is_ok());
        let deleted = control.delete_network_interface(&caller, into.id).await;
        assert_eq!(deleted, Ok(()));
        assert_eq!(place_of(&control, id).await, None);
    }

    #[tokio::test]
    async fn disassociating_names_the_association() {
        let (control, caller) = (control(), caller());
        let unknown = AssociationId(7);
        let refused = control.disassociate_address(&caller, unknown).await;
        assert_eq!(refused, Err(Error::not_found(unknown)));
        let made = control
            .allocate_address(&caller, &AllocateAddress::default())
            .await;
        let known = AddressSelector::PublicIp(made.expect("an address").public_ip);
        let refused = control.disassociate_public_ip(&caller, known).await;
        assert_eq!(refused, Err(Error::AssociationIdMissing));
        let foreign = AddressSelector::PublicIp(Ipv4Addr::new(198, 18, 0, 1));
        let refused = control.disassociate_public_ip(&caller, foreign).await;
        assert!(matches!(refused, Err(Error::PublicAddressNotFound { .. })));
        let target = AssociationTarget::new(None, None);
        assert_eq!(target, Err(Error::NoAssociationTarget));
        let target = AssociationTarget::new(Some(InstanceId(1)), Some(EniId(1)));
        assert_eq!(target, Err(Error::InstanceAndInterface));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_addresses_associated_at_once_one_stays() {
        let control = Arc::new(control());
        let place = place(&control, "10.0.0.0/24").await;
        internet(&control, &place).await;
        let eni = create(&control, &place, 0).await.id;
        let mut rivals = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let control = Arc::clone(&control);
            rivals.spawn(async move {
                let id = allocate(&control).await;
                associate(&control, to(id, eni)).await
            });
        }
        assert!(rivals.join_all().await.iter().all(Result::is_ok));
        let region = control.read(&caller()).await.expect("a region");
        let associated = region.elastic_ips.values();
        let associated = associated.filter(|elastic_ip| elastic_ip.association.is_some());
        assert_eq!(associated.count(), 1);
        assert_eq!(region.elastic_ips_of_eni(eni).count(), 1);
    }
}
