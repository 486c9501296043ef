//! `enid verify`: does the kernel hold what the store says.

use std::process::ExitCode;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cli::Common;
use crate::client;

/// What the daemon answers at `/_enid/verify`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Verified {
    pub(crate) agree: bool,
    pub(crate) differences: Vec<String>,
    pub(crate) entries: usize,
    pub(crate) devices: usize,
}

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let answer = client::request(&common.endpoint()?, "GET", "/_enid/verify")?;
    anyhow::ensure!(answer.status == 200, "{}", answer.body.trim());
    let verified: Verified =
        serde_json::from_str(&answer.body).context("read the daemon's answer")?;
    common.printer().print(&verified, |verified| {
        let Verified {
            entries, devices, ..
        } = verified;
        if verified.agree {
            return format!("store and kernel agree: {entries} table entries, {devices} devices");
        }
        let mut text = String::from("store and kernel differ:");
        for difference in &verified.differences {
            text.push_str("\n  ");
            text.push_str(difference);
        }
        text
    })?;
    Ok(if verified.agree {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
