//! `enid key create`: another access key. A running daemon accepts it at once.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use enid_api::policy::Policy;
use enid_model::key::AccountId;

use crate::cli::Common;
use crate::keys;

pub(crate) fn create(
    common: &Common,
    account: AccountId,
    policy: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let policy = policy.map(read_policy).transpose()?;
    let data = common.data_dir()?;
    data.create()?;
    let key = keys::create(&data.keys(), account, policy)?;
    common.printer().print(&key, |key| {
        format!(
            "export AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}",
            key.access_key_id, key.secret_access_key
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a policy that a daemon can obey whole.
fn read_policy(path: &Path) -> anyhow::Result<serde_json::Value> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("read {name}"))?;
    Policy::parse(&text).with_context(|| format!("the policy {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("the policy {name}"))
}
