//! `enid env`: what an AWS client needs to know.

use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::Common;
use crate::keys;

/// The region of clients that name none.
const DEFAULT_REGION: &str = "us-east-1";

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Environment {
    aws_endpoint_url: String,
    aws_access_key_id: String,
    aws_secret_access_key: String,
    aws_default_region: &'static str,
    /// Some operations have a prefix before the endpoint's host name, where nothing resolves.
    aws_disable_host_prefix_injection: &'static str,
}

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let data = common.data_dir()?;
    let path = data.keys();
    let key = keys::root(keys::read(&path)?).with_context(|| {
        format!(
            "{} has no key yet: `enid serve` makes the first one",
            path.display()
        )
    })?;
    let environment = Environment {
        aws_endpoint_url: common.endpoint()?,
        aws_access_key_id: key.access_key_id,
        aws_secret_access_key: key.secret_access_key,
        aws_default_region: DEFAULT_REGION,
        aws_disable_host_prefix_injection: "true",
    };
    common.printer().print(&environment, |environment| {
        format!(
            "export AWS_ENDPOINT_URL={}\nexport AWS_ACCESS_KEY_ID={}\n\
             export AWS_SECRET_ACCESS_KEY={}\nexport AWS_DEFAULT_REGION={}\n\
             export AWS_DISABLE_HOST_PREFIX_INJECTION={}",
            environment.aws_endpoint_url,
            environment.aws_access_key_id,
            environment.aws_secret_access_key,
            environment.aws_default_region,
            environment.aws_disable_host_prefix_injection,
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
