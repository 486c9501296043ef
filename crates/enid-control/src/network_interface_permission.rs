//! Permissions to attach a network interface to instances of another account, and what follows from
//! them: interfaces that are lent.
//!
//! The interface and its permission are the owner's records. The borrower's region has a
//! [`LentInterface`] while there is a permission or an attachment, and every operation that touches
//! one side touches the other within the same transaction ([`Draft::within`]): whoever permits, takes
//! back, attaches and detaches writes the borrower's record, so that of two such operations at the
//! same time one runs again.

use enid_model::id::{EniId, InstanceId, NetworkInterfacePermissionId};
use enid_model::key::{AccountId, Kind};
use enid_model::network_interface::{Attachment, NetworkInterface};
use enid_model::network_interface_permission::{
    LentAttachment, LentInterface, NetworkInterfacePermission,
};
use enid_model::state::Stored;

use crate::network_interface::require_own;
use crate::{Caller, Control, Draft, Error};

impl Control {
    /// CreateNetworkInterfacePermission. One account at a time may have it; the same one again is
    /// the same permission.
    pub async fn create_network_interface_permission(
        &self,
        caller: &Caller,
        eni: EniId,
        account: AccountId,
    ) -> Result<NetworkInterfacePermission, Error> {
        self.transact(caller, |draft| {
            let eni = require_own(draft, eni)?;
            if account == draft.scope().account {
                return Err(Error::PermissionOfOwner { account });
            }
            let given = draft.region.permissions_of_eni(eni.id).next();
            let given = given.and_then(|id| draft.region.network_interface_permissions.get(&id));
            if let Some(given) = given {
                if given.account == account {
                    return Ok(NetworkInterfacePermission::clone(given));
                }
                return Err(Error::PermissionOfOther { id: eni.id });
            }
            draft.demand_unnamed(Kind::NetworkInterfacePermission, eni.id);
            let permission = NetworkInterfacePermission {
                id: draft.mint(),
                eni: eni.id,
                account,
            };
            draft.create(permission.clone());
            let owner = draft.scope().account;
            draft.within(account, |draft| {
                match draft.region.lent_interfaces.get(&eni.id).cloned() {
                    // Taken back by force while it was attached, and given again.
                    Some(lent) => draft.edit(&lent, |lent| lent.permission = Some(permission.id)),
                    None => draft.create(LentInterface {
                        id: eni.id,
                        owner,
                        permission: Some(permission.id),
                        attachment: None,
                    }),
                }
            });
            Ok(permission)
        })
        .await
    }

    /// DeleteNetworkInterfacePermission: while the account has the interface attached only by force,
    /// and then the interface stays where it is.
    pub async fn delete_network_interface_permission(
        &self,
        caller: &Caller,
        id: NetworkInterfacePermissionId,
        force: bool,
    ) -> Result<(), Error> {
        self.transact(caller, |draft| {
            let permission = draft.require::<NetworkInterfacePermission>(id)?;
            let eni = permission.eni;
            let is_free = draft.within(permission.account, |draft| {
                let lent = draft.region.lent_interfaces.get(&eni).cloned();
                let Some(lent) = lent else { return true };
                if lent.attachment.is_none() {
                    draft.delete(&lent);
                    return true;
                }
                draft.edit(&lent, |lent| lent.permission = None);
                force
            });
            if !is_free {
                return Err(Error::PermissionInUse { id, eni });
            }
            draft.delete(&permission);
            Ok(())
        })
        .await
    }
}

/// The interface of another account that is lent under this id.
pub(crate) fn lent(draft: &Draft<'_>, id: EniId) -> Option<Stored<LentInterface>> {
    draft.region.lent_interfaces.get(&id).cloned()
}

/// The interfaces of other accounts that an instance has, each with its owner.
pub(crate) fn lent_to(
    draft: &Draft<'_>,
    instance: InstanceId,
) -> Vec<(AccountId, Stored<NetworkInterface>)> {
    let lent = draft.state.lent_to(draft.scope(), instance);
    let lent = lent.into_iter();
    lent.map(|lent| (lent.scope.account, lent.eni.clone()))
        .collect()
}

/// Notes an attachment on the side of the instance, whose account lent the interface.
pub(crate) fn note_attached(
    draft: &mut Draft<'_>,
    lent: &Stored<LentInterface>,
    attachment: &Attachment,
) {
    let attachment = LentAttachment {
        id: attachment.id,
        instance: attachment.instance,
    };
    draft.edit(lent, |lent| lent.attachment = Some(attachment));
}

/// Notes on the side of its instance, if that is another account's, that an interface of this one is
/// no more attached. Without a permission nothing is left to know of it there.
pub(crate) fn note_detached(draft: &mut Draft<'_>, eni: &NetworkInterface) {
    let attachment = eni.attachment.as_ref();
    let Some(account) = attachment.and_then(|attachment| attachment.instance_owner) else {
        return;
    };
    draft.within(account, |draft| match lent(draft, eni.id) {
        Some(lent) if lent.permission.is_none() => draft.delete(&lent),
        Some(lent) => draft.edit(&lent, |lent| lent.attachment = None),
        None => {}
    });
}

/// Ends the permissions of an interface that is about to be deleted, and what other accounts know of it.
pub(crate) fn end_permissions(draft: &mut Draft<'_>, eni: &NetworkInterface) {
    let region = std::sync::Arc::clone(&draft.region);
    let permissions = region.permissions_of_eni(eni.id);
    let permissions = permissions.filter_map(|id| region.network_interface_permissions.get(&id));
    let attachment = eni.attachment.as_ref();
    let mut accounts: Vec<AccountId> = attachment
        .and_then(|attachment| attachment.instance_owner)
        .into_iter()
        .collect();
    for permission in permissions {
        draft.delete(permission);
        accounts.push(permission.account);
    }
    accounts.sort_unstable();
    accounts.dedup();
    for account in accounts {
        draft.within(account, |draft| {
            if let Some(lent) = lent(draft, eni.id) {
                draft.delete(&lent);
            }
        });
    }
    draft.demand_unnamed(Kind::NetworkInterfacePermission, eni.id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Place, caller, control, new_eni, new_instance, place};
    use crate::{AttachNetworkInterface, ModifyNetworkInterface, RunInstances};

    const BORROWER: AccountId = AccountId(222_222_222_222);

    fn borrower() -> Caller {
        Caller {
            account: BORROWER,
            ..caller()
        }
    }

    /// An interface of one account, and an instance of another one in the same zone.
    struct Loan {
        control: Control,
        lender: Caller,
        borrower: Caller,
        place: Place,
        eni: EniId,
        instance: InstanceId,
    }

    async fn loan() -> Loan {
        let control = control();
        let (lender, borrower) = (caller(), borrower());
        let place = place(&control, "10.0.0.0/24").await;
        let eni = control.create_network_interface(&lender, new_eni(&place));
        let eni = eni.await.expect("an interface").id;
        // In the default VPC of its account, in the zone of the place.
        let input = RunInstances {
            subnet: None,
            zone: Some("eu-west-1a".to_owned()),
            ..new_instance(&place)
        };
        let launched = control.run_instances(&borrower, input).await;
        let instance = launched.expect("a launch").instances[0].id;
        Loan {
            control,
            lender,
            borrower,
            place,
            eni,
            instance,
        }
    }

    impl Loan {
        async fn permit(&self) -> NetworkInterfacePermissionId {
            let control = &self.control;
            let made =
                control.create_network_interface_permission(&self.lender, self.eni, BORROWER);
            made.await.expect("a permission").id
        }

        async fn attach(&self, device_index: i32) -> Result<Attachment, Error> {
            let input = AttachNetworkInterface {
                eni: self.eni,
                instance: self.instance,
                device_index,
                network_card_index: 0,
            };
            let control = &self.control;
            control
                .attach_network_interface(&self.borrower, input)
                .await
        }

        async fn take_back(
            &self,
            id: NetworkInterfacePermissionId,
            force: bool,
        ) -> Result<(), Error> {
            let control = &self.control;
            let deleted = control.delete_network_interface_permission(&self.lender, id, force);
            deleted.await
        }

        /// Whether the interface is attached, and what the borrower knows of it; nothing is
        /// inconsistent.
        fn look(&self) -> (Option<bool>, Option<(bool, bool)>) {
            let state = self.control.store().state();
            let mut findings = enid_model::check::check(&state);
            // The groups of the fixture have not claimed their names.
            findings.retain(|finding| finding.kind != "security-group");
            assert_eq!(findings, []);
            let own = state.region(&self.lender.scope()).expect("a region");
            let there = state.region(&self.borrower.scope()).expect("a region");
            let eni = own.network_interfaces.get(&self.eni);
            let lent = there.lent_interfaces.get(&self.eni);
            (
                eni.map(|eni| eni.attachment.is_some()),
                lent.map(|lent| (lent.permission.is_some(), lent.attachment.is_some())),
            )
        }
    }

    #[tokio::test]
    async fn an_account_attaches_what_it_is_permitted_to_and_nothing_else() {
        let loan = loan().await;
        let unknown = Err(Error::not_found(loan.eni));
        assert_eq!(loan.attach(1).await.map(|_| ()), unknown);
        let id = loan.permit().await;
        assert_eq!(loan.look(), (Some(false), Some((true, false))));
        let taken = loan.attach(0).await;
        assert!(matches!(taken, Err(Error::DeviceIndexInUse { .. })));
        let attachment = loan.attach(1).await.expect("it is permitted");
        assert_eq!(attachment.instance_owner, Some(BORROWER));
        assert_eq!(loan.look(), (Some(true), Some((true, true))));
        let again = loan.attach(2).await;
        assert_eq!(again, Err(Error::InterfaceInUse { id: loan.eni }));

        let refused = loan.take_back(id, false).await;
        let error = Error::PermissionInUse { id, eni: loan.eni };
        assert_eq!(refused, Err(error));
        assert_eq!(loan.take_back(id, true).await, Ok(()));
        assert_eq!(loan.look(), (Some(true), Some((false, true))));
        let detached = loan
            .control
            .detach_network_interface(&loan.borrower, attachment.id);
        assert_eq!(detached.await, Ok(()));
        assert_eq!(loan.look(), (Some(false), None));
        assert_eq!(loan.attach(1).await.map(|_| ()), unknown);
    }

    #[tokio::test]
    async fn one_account_at_a_time() {
        let loan = loan().await;
        let control = &loan.control;
        let permit =
            |account| control.create_network_interface_permission(&loan.lender, loan.eni, account);
        let own = caller().account;
        let refused = permit(own).await;
        assert_eq!(refused, Err(Error::PermissionOfOwner { account: own }));
        let id = loan.permit().await;
        assert_eq!(loan.permit().await, id);
        let refused = permit(AccountId(3)).await;
        assert_eq!(refused, Err(Error::PermissionOfOther { id: loan.eni }));
        assert_eq!(loan.take_back(id, false).await, Ok(()));
        assert_eq!(loan.take_back(id, false).await, Err(Error::not_found(id)));
        assert!(permit(AccountId(3)).await.is_ok());
        assert_eq!(loan.look(), (Some(false), None));
        let deleted = control
            .delete_network_interface(&loan.lender, loan.eni)
            .await;
        assert_eq!(deleted, Ok(()));
        assert_eq!(loan.look(), (None, None));
    }

    #[tokio::test]
    async fn the_owner_may_take_it_off_the_instance() {
        let loan = loan().await;
        loan.permit().await;
        let attachment = loan.attach(1).await.expect("it is permitted").id;
        let control = &loan.control;
        let deleted = control
            .delete_network_interface(&loan.lender, loan.eni)
            .await;
        assert_eq!(deleted, Err(Error::InterfaceInUse { id: loan.eni }));
        let stranger = Caller {
            account: AccountId(3),
            ..caller()
        };
        let refused = control.detach_network_interface(&stranger, attachment);
        assert_eq!(refused.await, Err(Error::not_found(attachment)));
        let detached = control.detach_network_interface(&loan.lender, attachment);
        assert_eq!(detached.await, Ok(()));
        assert_eq!(loan.look(), (Some(false), Some((true, false))));
    }

    #[tokio::test]
    async fn it_outlives_the_instance_unless_it_shall_go_with_it() {
        for goes in [false, true] {
            let loan = loan().await;
            loan.permit().await;
            let attachment = loan.attach(1).await.expect("it is permitted").id;
            let input = ModifyNetworkInterface {
                attachment: Some((attachment, goes)),
                ..ModifyNetworkInterface::default()
            };
            let control = &loan.control;
            let modified = control.modify_network_interface(&loan.lender, loan.eni, input);
            assert_eq!(modified.await, Ok(()));
            let ended = control
                .terminate_instances(&loan.borrower, &[loan.instance])
                .await;
            assert!(ended.is_ok());
            let left = if goes {
                (None, None)
            } else {
                (Some(false), Some((true, false)))
            };
            assert_eq!(loan.look(), left);
        }
    }

    #[tokio::test]
    async fn an_instance_counts_what_it_borrowed() {
        let loan = loan().await;
        loan.permit().await;
        assert!(loan.attach(1).await.is_ok());
        // A t3.micro has room for two.
        let control = &loan.control;
        let eni = control.create_network_interface(&loan.lender, new_eni(&loan.place));
        let eni = eni.await.expect("an interface").id;
        let made = control.create_network_interface_permission(&loan.lender, eni, BORROWER);
        assert!(made.await.is_ok());
        let at = |device_index| AttachNetworkInterface {
            eni,
            instance: loan.instance,
            device_index,
            network_card_index: 0,
        };
        let refused = control
            .attach_network_interface(&loan.borrower, at(1))
            .await;
        let id = loan.instance;
        assert_eq!(refused, Err(Error::DeviceIndexInUse { id, index: 1 }));
        let refused = control
            .attach_network_interface(&loan.borrower, at(2))
            .await;
        let limit = Error::AttachmentLimitExceeded {
            count: 3,
            instance_type: "t3.micro".into(),
        };
        assert_eq!(refused, Err(limit));
    }

    #[tokio::test]
    async fn it_is_not_lent_across_zones() {
        let loan = loan().await;
        let mut input = new_eni(&loan.place);
        input.subnet = loan.place.far_subnet;
        let control = &loan.control;
        let eni = control.create_network_interface(&loan.lender, input).await;
        let eni = eni.expect("an interface").id;
        let made = control.create_network_interface_permission(&loan.lender, eni, BORROWER);
        assert!(made.await.is_ok());
        let input = AttachNetworkInterface {
            eni,
            instance: loan.instance,
            device_index: 1,
            network_card_index: 0,
        };
        let refused = control
            .attach_network_interface(&loan.borrower, input)
            .await;
        assert_eq!(refused, Err(Error::AttachmentAcrossZones));
    }
}
