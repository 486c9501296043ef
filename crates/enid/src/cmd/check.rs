//! `enid check`: is the stored region consistent. Asks the daemon if one runs; else it reads the
//! store itself.

use std::process::ExitCode;

use anyhow::Context as _;
use enid_model::check::{Finding, check};
use enid_model::state::State;
use enid_store::Store;
use serde::{Deserialize, Serialize};

use crate::cli::Common;
use crate::client;
use crate::paths::DataDir;

/// What the daemon answers at `/_enid/check`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Checked {
    consistent: bool,
    revision: u64,
    regions: usize,
    findings: Vec<Finding>,
}

impl Checked {
    /// Holds a state against what must be true of it.
    pub(crate) fn of(state: &State) -> Self {
        let findings = check(state);
        Self {
            consistent: findings.is_empty(),
            revision: state.revision.0,
            regions: state.regions().len(),
            findings,
        }
    }
}

pub(crate) fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let data = common.data_dir()?;
    let checked = match common.names_endpoint() || data.is_locked()? {
        true => ask(common)?,
        false => Checked::of(&read(&data)?),
    };
    common.printer().print(&checked, |checked| {
        let Checked {
            revision, regions, ..
        } = checked;
        if checked.consistent {
            return format!("consistent: {regions} regions at revision {revision}");
        }
        let lines: Vec<String> = checked.findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    })?;
    Ok(if checked.consistent {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ask(common: &Common) -> anyhow::Result<Checked> {
    let answer = client::request(&common.endpoint()?, "GET", "/_enid/check")?;
    anyhow::ensure!(answer.status == 200, "{}", answer.body.trim());
    serde_json::from_str(&answer.body).context("read the daemon's answer")
}

/// What is stored in a directory that no daemon uses.
fn read(data: &DataDir) -> anyhow::Result<State> {
    let path = data.path();
    let at = || format!("the store in {}", path.display());
    anyhow::ensure!(
        path.join("enid.redb").exists(),
        "there is no store in {}",
        path.display()
    );
    let lock = data.lock()?;
    anyhow::ensure!(lock.is_some(), "a daemon has just taken {}", path.display());
    if let Some(state) = Store::read(path).with_context(at)? {
        return Ok(state);
    }
    eprintln!(
        "enid: {} was cut off while it was written; repairing it",
        at()
    );
    let store = Store::open(path).with_context(at)?;
    Ok(State::clone(&store.state()))
}
