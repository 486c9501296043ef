//! Attaching network interfaces to instances, within the limits of the instance type.
//!
//! An attachment lives in the interface's record. What an instance may have depends on all its
//! interfaces, so an operation that attaches one writes the instance's record as well: of two
//! such operations at the same time, one runs again. An interface of another account is attached where its
//! owner has it; see [`network_interface_permission`](crate::network_interface_permission).

use std::collections::BTreeMap;

use enid_model::id::{AttachmentId, EniId, InstanceId};
use enid_model::instance::{DesiredState, Instance};
use enid_model::instance_type::InstanceType;
use enid_model::network_interface::{Attachment, NetworkInterface};
use enid_model::state::Stored;
use enid_model::subnet::Subnet;

use crate::address_limit::Slots;
use crate::network_interface_permission::{lent, lent_to, note_attached, note_detached};
use crate::{Caller, Control, Draft, Error};

/// The input of AttachNetworkInterface.
#[derive(Debug, Clone, Copy)]
pub struct AttachNetworkInterface {
    /// The interface.
    pub eni: EniId,
    /// The instance.
    pub instance: InstanceId,
    /// The place on the card.
    pub device_index: i32,
    /// The network card.
    pub network_card_index: i32,
}

/// Where in an instance an interface is: (network card, device index).
pub(crate) type Place = (u8, u8);

/// The primary interface's place.
pub(crate) const PRIMARY: Place = (0, 0);

impl Control {
    /// AttachNetworkInterface.
    pub async fn attach_network_interface(
        &self,
        caller: &Caller,
        input: AttachNetworkInterface,
    ) -> Result<Attachment, Error> {
        let place = place(input.network_card_index, input.device_index)?;
        self.transact(caller, |draft| {
            // An interface of one's own, or one that its owner permits to attach.
            let borrower = draft.scope().account;
            let lent = lent(draft, input.eni);
            let owner = lent.as_ref().map_or(borrower, |lent| lent.owner);
            let (eni, subnet) = draft.within(owner, |draft| {
                let eni = draft.require::<NetworkInterface>(input.eni)?;
                let subnet = draft.require::<Subnet>(eni.subnet)?;
                Ok::<_, Error>((eni, subnet))
            })?;
            let instance = crate::instance::require_visible(draft, input.instance)?;
            if eni.is_in_use() {
                return Err(Error::InterfaceInUse { id: eni.id });
            }
            if instance.desired == DesiredState::Terminated {
                return Err(Error::InstanceNotAttachable { id: instance.id });
            }
            if subnet.zone != instance.zone {
                return Err(Error::AttachmentAcrossZones);
            }
            // It may be of another VPC: AWS has had that since 2023. Each interface stays in its own one.
            let attached = attached(draft, instance.id);
            let mut places: Vec<Place> = attached.iter().filter_map(|eni| place_of(eni)).collect();
            if places.contains(&place) {
                let (_, index) = place;
                let id = instance.id;
                return Err(Error::DeviceIndexInUse { id, index });
            }
            places.push(place);
            let limits = Limits::of(&instance.instance_type)?;
            limits.check_places(&places)?;
            Slots::held(&eni).check(Some(limits))?;
            let attachment = Attachment {
                id: draft.mint(),
                instance: instance.id,
                instance_owner: (owner != borrower).then_some(borrower),
                device_index: place.1,
                network_card_index: place.0,
                attach_time: draft.now,
                delete_on_termination: false,
            };
            draft.within(owner, |draft| {
                draft.edit(&eni, |eni| eni.attachment = Some(attachment.clone()));
            });
            if let Some(lent) = &lent {
                note_attached(draft, lent, &attachment);
            }
            draft.update(&instance, Instance::clone(&instance));
            Ok(attachment)
        })
        .await
    }

    /// DetachNetworkInterface. The interface's owner may, and the instance's.
    pub async fn detach_network_interface(
        &self,
        caller: &Caller,
        attachment: AttachmentId,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let lent = draft.region.lent_interfaces.values().find(|lent| {
                let here = lent.attachment.as_ref();
                here.is_some_and(|here| here.id == attachment)
            });
            let owner = lent.map_or_else(|| draft.scope().account, |lent| lent.owner);
            draft.within(owner, |draft| {
                let eni = draft.region.eni_of_attachment(attachment).cloned();
                let eni = eni.ok_or_else(|| Error::not_found(attachment))?;
                if place_of(&eni) == Some(PRIMARY) {
                    return Err(Error::PrimaryInterfaceDetached);
                }
                note_detached(draft, &eni);
                draft.edit(&eni, |eni| eni.attachment = None);
                Ok(())
            })
        })
        .await
    }
}

/// The interfaces of an instance, those of other accounts included.
pub(crate) fn attached(draft: &Draft<'_>, instance: InstanceId) -> Vec<Stored<NetworkInterface>> {
    let own = draft.region.enis_of_instance(instance).cloned();
    let lent = lent_to(draft, instance);
    own.chain(lent.into_iter().map(|(_, eni)| eni)).collect()
}

/// The place that a request names.
pub(crate) fn place(network_card_index: i32, device_index: i32) -> Result<Place, Error> {
    let index = u8::try_from(device_index).or(Err(Error::DeviceIndexInvalid {
        index: device_index,
    }))?;
    let card = u8::try_from(network_card_index).or(Err(Error::NetworkCardInvalid {
        card: network_card_index,
    }))?;
    Ok((card, index))
}

pub(crate) fn place_of(eni: &NetworkInterface) -> Option<Place> {
    let attachment = eni.attachment.as_ref()?;
    Some((attachment.network_card_index, attachment.device_index))
}

/// What an instance type allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    name: &'a str,
    found: &'static InstanceType,
}

impl<'a> Limits<'a> {
    /// The limits of a type by its name.
    pub(crate) fn of(name: &'a str) -> Result<Self, Error> {
        let found = InstanceType::named(name);
        let found = found.ok_or_else(|| Error::InstanceTypeUnknown { name: name.into() })?;
        Ok(Self { name, found })
    }

    /// The type.
    pub(crate) fn found(self) -> &'static InstanceType {
        self.found
    }

    /// Its name.
    pub(crate) fn name(self) -> &'a str {
        self.name
    }

    /// An instance of the type may have interfaces at all these places.
    pub(crate) fn check_places(self, places: &[Place]) -> Result<(), Error> {
        let exceeded = |count| Error::AttachmentLimitExceeded {
            count,
            instance_type: self.name.into(),
        };
        if places.len() > usize::from(self.found.max_enis) {
            return Err(exceeded(places.len()));
        }
        let mut by_card: BTreeMap<u8, usize> = BTreeMap::new();
        for (card, _) in places {
            *by_card.entry(*card).or_default() += 1;
        }
        for (card, count) in by_card {
            let Some(limit) = self.interfaces_on_card(card) else {
                return Err(Error::NetworkCardInvalid { card: card.into() });
            };
            if count > usize::from(limit) {
                return Err(exceeded(count));
            }
        }
        Ok(())
    }

    fn interfaces_on_card(self, card: u8) -> Option<u16> {
        if card == 0 {
            return Some(self.found.max_enis_card0);
        }
        let card = self.found.each_card().nth(usize::from(card))?;
        Some(card.max_enis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{caller, control, new_eni, new_instance, place as new_place};

    #[test]
    fn a_type_limits_interfaces_in_all_and_per_card() {
        let check = |name, places: &[Place]| Limits::of(name).and_then(|l| l.check_places(places));
        assert_eq!(check("t3.micro", &[(0, 0), (0, 1)]), Ok(()));
        let refused = check("m1.small", &[(0, 0), (0, 1), (0, 2)]);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("Interface count 3 exceeds the limit for m1.small".to_owned())
        );
        let no_such_card = Err(Error::NetworkCardInvalid { card: 1 });
        assert_eq!(check("t3.micro", &[(0, 0), (1, 1)]), no_such_card);
        // c6in.32xlarge: two cards of eight.
        let on_card = |card, indexes: std::ops::Range<u8>| indexes.map(move |index| (card, index));
        let all: Vec<_> = on_card(0, 0..8).chain(on_card(1, 8..16)).collect();
        assert_eq!(check("c6in.32xlarge", &all), Ok(()));
        let one_card: Vec<_> = on_card(0, 0..9).collect();
        assert!(check("c6in.32xlarge", &one_card).is_err());
        // The same index on two cards is two places.
        assert_eq!(check("c6in.32xlarge", &[(0, 0), (0, 1), (1, 1)]), Ok(()));
    }

    #[test]
    fn places_are_small_numbers() {
        assert_eq!(place(0, 1), Ok((0, 1)));
        assert_eq!(place(0, -1), Err(Error::DeviceIndexInvalid { index: -1 }));
        assert_eq!(place(300, 1), Err(Error::NetworkCardInvalid { card: 300 }));
    }

    fn attach(eni: EniId, instance: InstanceId, device_index: i32) -> AttachNetworkInterface {
        AttachNetworkInterface {
            eni,
            instance,
            device_index,
            network_card_index: 0,
        }
    }

    #[tokio::test]
    async fn a_secondary_interface_comes_and_goes() {
        let (control, caller) = (control(), caller());
        let place = new_place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let create = || control.create_network_interface(&caller, new_eni(&place));
        let eni = create().await.expect("an interface").id;
        let at =
            |eni, index| control.attach_network_interface(&caller, attach(eni, instance, index));

        let index = 0;
        let refused = at(eni, index).await;
        let error = Error::DeviceIndexInUse {
            id: instance,
            index: 0,
        };
        assert_eq!(refused, Err(error));
        let attachment = at(eni, 1).await.expect("place 1 is free");
        assert!(!attachment.delete_on_termination);
        assert_eq!(at(eni, 2).await, Err(Error::InterfaceInUse { id: eni }));
        let deleted = control.delete_network_interface(&caller, eni).await;
        assert_eq!(deleted, Err(Error::InterfaceInUse { id: eni }));
        let third = create().await.expect("an interface").id;
        let limit = Error::AttachmentLimitExceeded {
            count: 3,
            instance_type: "t3.micro".into(),
        };
        assert_eq!(at(third, 2).await, Err(limit));

        let detached = control
            .detach_network_interface(&caller, attachment.id)
            .await;
        assert_eq!(detached, Ok(()));
        let again = control
            .detach_network_interface(&caller, attachment.id)
            .await;
        assert_eq!(again, Err(Error::not_found(attachment.id)));
        assert!(at(third, 2).await.is_ok());
    }

    #[tokio::test]
    async fn the_primary_interface_stays() {
        let (control, caller) = (control(), caller());
        let place = new_place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let region = control.read(&caller).await.expect("the region is alive");
        let mut enis = region.enis_of_instance(instance);
        let attachment = enis.next().and_then(|eni| eni.attachment.clone());
        let attachment = attachment.expect("the primary interface is attached");
        let refused = control
            .detach_network_interface(&caller, attachment.id)
            .await;
        assert_eq!(refused, Err(Error::PrimaryInterfaceDetached));
    }

    #[tokio::test]
    async fn interface_and_instance_are_neighbours() {
        let (control, caller) = (control(), caller());
        let place = new_place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let mut input = new_eni(&place);
        input.subnet = place.far_subnet;
        let eni = control.create_network_interface(&caller, input).await;
        let request = attach(eni.expect("an interface").id, instance, 1);
        let refused = control.attach_network_interface(&caller, request).await;
        assert_eq!(refused, Err(Error::AttachmentAcrossZones));
        let mut input = new_eni(&place);
        input.addresses.secondary_count = Some(2);
        let eni = control.create_network_interface(&caller, input).await;
        let eni = eni
            .expect("an unattached interface may have more addresses")
            .id;
        let request = attach(eni, instance, 1);
        let refused = control.attach_network_interface(&caller, request).await;
        assert_eq!(refused, Err(Error::PrivateAddressLimitExceeded));
        let unknown = attach(eni, InstanceId(7), 1);
        let refused = control.attach_network_interface(&caller, unknown).await;
        assert_eq!(refused, Err(Error::not_found(InstanceId(7))));
        let ended = control.terminate_instances(&caller, &[instance]).await;
        assert!(ended.is_ok());
        let refused = control.attach_network_interface(&caller, request).await;
        assert_eq!(refused, Err(Error::InstanceNotAttachable { id: instance }));
    }

    #[tokio::test]
    async fn an_interface_of_another_vpc_stays_there() {
        let (control, caller) = (control(), caller());
        let place = new_place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].clone();
        let mut input = new_eni(&place);
        input.subnet = place.foreign_subnet;
        let eni = control.create_network_interface(&caller, input).await;
        let eni = eni.expect("an interface");
        assert_ne!(eni.vpc, instance.vpc);
        let request = attach(eni.id, instance.id, 1);
        let attached = control.attach_network_interface(&caller, request).await;
        assert!(attached.is_ok());
        let region = control.read(&caller).await.expect("the region is alive");
        assert_eq!(region.instances[&instance.id].vpc, instance.vpc);
        assert_eq!(region.network_interfaces[&eni.id].vpc, eni.vpc);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_two_at_once_one_gets_the_place() {
        let (control, caller) = (std::sync::Arc::new(control()), caller());
        let place = new_place(&control, "10.0.0.0/24").await;
        let launched = control.run_instances(&caller, new_instance(&place)).await;
        let instance = launched.expect("a launch").instances[0].id;
        let mut calls = Vec::new();
        for _ in 0..8 {
            let eni = control
                .create_network_interface(&caller, new_eni(&place))
                .await;
            let request = attach(eni.expect("an interface").id, instance, 1);
            let (control, caller) = (std::sync::Arc::clone(&control), caller.clone());
            calls.push(tokio::spawn(async move {
                control.attach_network_interface(&caller, request).await
            }));
        }
        let mut attached = 0;
        for call in calls {
            attached += usize::from(call.await.expect("no call panics").is_ok());
        }
        assert_eq!(attached, 1);
    }
}
