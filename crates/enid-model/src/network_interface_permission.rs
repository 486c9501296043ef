//! What lets another account attach an interface to its instances.
//!
//! The interface stays in its owner's region: record, addresses, groups and permission. The other
//! account's region has a [`LentInterface`] for as long as there is a permission or an attachment:
//! that is how its operations and descriptions find what is not its own. Whatever changes one side
//! changes the other in the same transaction.

use serde::{Deserialize, Serialize};

use crate::id::{AttachmentId, EniId, InstanceId, NetworkInterfacePermissionId};
use crate::key::AccountId;

/// The permission of another account to attach an interface to its instances. In the region of the
/// interface's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterfacePermission {
    /// Its id.
    pub id: NetworkInterfacePermissionId,
    /// The interface.
    pub eni: EniId,
    /// Who may attach it.
    pub account: AccountId,
}

/// An interface of another account that may be attached to instances of this one, or is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentInterface {
    /// The interface.
    pub id: EniId,
    /// Whose it is.
    pub owner: AccountId,
    /// What permits it; none if that was taken back by force while the interface was attached.
    pub permission: Option<NetworkInterfacePermissionId>,
    /// To which instance it is attached.
    pub attachment: Option<LentAttachment>,
}

/// The attachment of a lent interface, as far as the instance's side has to know it; the rest is in the
/// interface's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentAttachment {
    /// Its id.
    pub id: AttachmentId,
    /// The instance.
    pub instance: InstanceId,
}
