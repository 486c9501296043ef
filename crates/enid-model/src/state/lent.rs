//! Interfaces and instances of two accounts that are attached to each other: what one account's
//! region alone cannot tell.

use std::sync::Arc;

use crate::id::InstanceId;
use crate::instance::Instance;
use crate::key::Scope;
use crate::network_interface::NetworkInterface;
use crate::network_interface_permission::LentInterface;
use crate::state::{RegionState, State, Stored};

impl State {
    /// The instance that an interface is attached to, whosever it is. The scope is the interface's.
    #[must_use]
    pub fn instance_of(&self, scope: &Scope, eni: &NetworkInterface) -> Option<&Stored<Instance>> {
        let attachment = eni.attachment.as_ref()?;
        let region = self.region(&attachment.scope_of_instance(scope))?;
        region.instances.get(&attachment.instance)
    }

    /// An interface that is lent to an account, with its owner's region. The scope is the borrower's.
    #[must_use]
    pub fn lent(&self, scope: &Scope, lent: &LentInterface) -> Option<Lent<'_>> {
        let owner = Scope {
            account: lent.owner,
            region: scope.region.clone(),
        };
        let (scope, region) = self.regions().get_key_value(&owner)?;
        let eni = region.network_interfaces.get(&lent.id)?;
        Some(Lent { scope, region, eni })
    }

    /// The interfaces of other accounts that an instance has, by card and device index. The scope is
    /// the instance's.
    #[must_use]
    pub fn lent_to(&self, scope: &Scope, instance: InstanceId) -> Vec<Lent<'_>> {
        let Some(region) = self.region(scope) else {
            return Vec::new();
        };
        let ids = region.lent_to_instance(instance);
        let lent = ids.filter_map(|id| region.lent_interfaces.get(&id));
        let mut found: Vec<_> = lent.filter_map(|lent| self.lent(scope, lent)).collect();
        found.sort_by_key(|lent| {
            let attachment = lent.eni.attachment.as_ref();
            attachment.map(|it| (it.network_card_index, it.device_index))
        });
        found
    }
}

/// An interface where its owner has it.
#[derive(Clone, Copy)]
pub struct Lent<'a> {
    /// Whose it is, and where.
    pub scope: &'a Scope,
    /// What its owner has there.
    pub region: &'a Arc<RegionState>,
    /// The interface.
    pub eni: &'a Stored<NetworkInterface>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EniId, NetworkInterfacePermissionId};
    use crate::key::{AccountId, Key, Kind, RegionName};
    use crate::record::Record;
    use crate::state::Revision;

    fn scope(account: u64) -> Scope {
        Scope {
            account: AccountId(account),
            region: RegionName::new("us-east-1"),
        }
    }

    fn eni(owner_of_instance: Option<u64>) -> Record {
        let json = serde_json::json!({
            "v": 1, "id": EniId(1), "subnet": crate::id::SubnetId(1), "vpc": crate::id::VpcId(1),
            "mac": "02:00:00:00:00:01", "description": "", "groups": [], "addresses": ["10.0.0.9"],
            "source_dest_check": true, "requester_id": null, "tags": {},
            "attachment": {
                "id": crate::id::AttachmentId(1), "instance": InstanceId(7), "device_index": 1,
                "network_card_index": 0, "attach_time": 0, "delete_on_termination": false,
                "instance_owner": owner_of_instance,
            },
        });
        let bytes = json.to_string().into_bytes();
        Record::from_bytes(Kind::NetworkInterface, &bytes).expect("an interface")
    }

    #[test]
    fn a_lent_interface_is_found_by_its_instance_and_by_no_other() {
        let mut state = State::default();
        let mut put = |account, kind, name: String, record| {
            let key = Key {
                scope: scope(account),
                kind,
                name: name.into(),
            };
            state.apply(Revision(1), &key, Some(record));
        };
        put(
            1,
            Kind::NetworkInterface,
            EniId(1).to_string(),
            eni(Some(2)),
        );
        let lent = LentInterface {
            id: EniId(1),
            owner: AccountId(1),
            permission: Some(NetworkInterfacePermissionId(1)),
            attachment: Some(crate::network_interface_permission::LentAttachment {
                id: crate::id::AttachmentId(1),
                instance: InstanceId(7),
            }),
        };
        let record = Record::LentInterface(lent);
        put(2, Kind::LentInterface, EniId(1).to_string(), record);
        let found = state.lent_to(&scope(2), InstanceId(7));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].scope, found[0].eni.id), (&scope(1), EniId(1)));
        assert!(state.lent_to(&scope(2), InstanceId(8)).is_empty());
        // The same id in the owner's own region is another instance's.
        assert!(state.lent_to(&scope(1), InstanceId(7)).is_empty());
        let attachment = found[0].eni.attachment.as_ref().expect("it is attached");
        assert_eq!(attachment.scope_of_instance(&scope(1)), scope(2));
        assert_eq!(attachment.own_instance(), None);
        // An attachment of a version that knew no other accounts is to the owner's own instance.
        let Record::NetworkInterface(own) = eni(None) else {
            panic!("an interface");
        };
        let attachment = own.attachment.expect("it is attached");
        assert_eq!(attachment.scope_of_instance(&scope(1)), scope(1));
        assert_eq!(attachment.own_instance(), Some(InstanceId(7)));
    }
}
