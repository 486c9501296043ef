//! An instance: what it may use of the network, all its interfaces together.

use enid_model::id::ResourceId as _;
use enid_model::instance::Instance;

use crate::allowance::Allowances;
use crate::tables::Tables;

/// An instance that runs on a host which enforces allowances.
pub(crate) fn of_instance(instance: &Instance, allowances: &Allowances) -> Tables {
    let mut tables = Tables::default();
    let allowance = allowances.of(&instance.instance_type);
    tables.allowances.insert(instance.id.bits(), allowance);
    tables
}
