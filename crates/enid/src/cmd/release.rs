//! `enid release`: the interfaces of an adopted instance leave its namespace.

use std::process::ExitCode;

use crate::cli::Common;
use crate::cmd::USAGE;
use crate::cmd::adopt::instance_id;
use crate::wiring::socket::{Released, Request, ask};

pub(crate) fn run(common: &Common, instance: &str) -> anyhow::Result<ExitCode> {
    let Some(instance) = instance_id(instance) else {
        return Ok(ExitCode::from(USAGE));
    };
    let request = Request::Release { instance };
    let released: Released = ask(&common.data_dir()?.socket(), &request)?;
    common
        .printer()
        .print(&released, |released| match released.released {
            true => format!("{instance} waits for another namespace"),
            false => format!("{instance} was in no namespace"),
        })?;
    Ok(ExitCode::SUCCESS)
}
