//! `enid key create`: another access key. A running daemon accepts it at once.

use std::process::ExitCode;

use enid_model::key::AccountId;

use crate::cli::Common;
use crate::keys;

pub(crate) fn create(common: &Common, account: AccountId) -> anyhow::Result<ExitCode> {
    let data = common.data_dir()?;
    data.create()?;
    let key = keys::create(&data.keys(), account)?;
    common.printer().print(&key, |key| {
        format!(
            "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}",
            key.access_key_id, key.secret_access_key
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
