//! Interfaces that are lent to other accounts: each side has what the other one says.

use super::Report;
use crate::instance::DesiredState;
use crate::key::{AccountId, Scope};
use crate::network_interface_permission::{LentAttachment, LentInterface};

impl Report<'_> {
    pub(super) fn network_interface_permissions(&mut self) {
        let region = self.region;
        let permissions = region.network_interface_permissions.values();
        let borrowers = permissions.map(|it| (format!("{} {}", it.eni, it.account), it.id));
        let borrowers = borrowers.map(|(pair, id)| (pair, id.to_string()));
        self.unique("its account has no other one", borrowers);
        for (id, permission) in &region.network_interface_permissions {
            self.need(
                *id == permission.id,
                id,
                "its key is its id",
                &permission.id,
            );
            self.eni(id, permission.eni);
            let other = permission.account != self.scope.account;
            let invariant = "it is another account's";
            self.need(other, id, invariant, &permission.account);
            let lent = self.region_of(permission.account).and_then(|region| {
                let lent = region.lent_interfaces.get(&permission.eni)?;
                Some((lent.owner, lent.permission))
            });
            let agrees = lent == Some((self.scope.account, Some(*id)));
            let invariant = "its account has the interface lent by it";
            self.need(agrees, id, invariant, &permission.account);
        }
    }

    pub(super) fn lent_interfaces(&mut self) {
        let region = self.region;
        for (id, lent) in &region.lent_interfaces {
            self.need(*id == lent.id, id, "its key is its id", &lent.id);
            let needed = lent.permission.is_some() || lent.attachment.is_some();
            self.need(needed, id, "it is permitted or attached", &lent.owner);
            self.permission_of(lent);
            if let Some(attachment) = &lent.attachment {
                self.lent_attachment(lent, attachment);
            }
        }
    }

    fn permission_of(&mut self, lent: &LentInterface) {
        let Some(id) = lent.permission else {
            return;
        };
        let owner = self.region_of(lent.owner);
        let permission = owner.and_then(|owner| owner.network_interface_permissions.get(&id));
        let holds = permission.is_some_and(|permission| {
            permission.eni == lent.id && permission.account == self.scope.account
        });
        self.need(holds, &lent.id, "its permission is there", &id);
    }

    fn lent_attachment(&mut self, lent: &LentInterface, attachment: &LentAttachment) {
        let owner = self.region_of(lent.owner);
        let eni = owner.and_then(|owner| owner.network_interfaces.get(&lent.id));
        let told = eni.and_then(|eni| eni.attachment.as_ref());
        let agrees = told.is_some_and(|told| {
            let account = Some(self.scope.account);
            let places = (told.id, told.instance, told.instance_owner);
            places == (attachment.id, attachment.instance, account)
        });
        let invariant = "its owner has it attached as well";
        self.need(agrees, &lent.id, invariant, &attachment.id);
        let instance = self.region.instances.get(&attachment.instance);
        let lives = instance.is_some_and(|it| it.desired != DesiredState::Terminated);
        let invariant = "its instance is there, and not terminated";
        self.need(lives, &lent.id, invariant, &attachment.instance);
    }

    /// What another account has in the same region.
    fn region_of(&self, account: AccountId) -> Option<&crate::state::RegionState> {
        let scope = Scope {
            account,
            region: self.scope.region.clone(),
        };
        self.state.region(&scope).map(|region| &**region)
    }
}
