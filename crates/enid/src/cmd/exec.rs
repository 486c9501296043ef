//! `enid exec`: a command inside an instance. It needs no daemon.

use std::ffi::OsString;
use std::process::ExitCode;

use enid_host::exec;
use enid_model::id::InstanceId;

use crate::cli::Common;
use crate::cmd::USAGE;

pub(crate) fn run(
    common: &Common,
    instance: &str,
    command: &[OsString],
) -> anyhow::Result<ExitCode> {
    let Ok(id) = instance.parse::<InstanceId>() else {
        eprintln!("enid: \"{instance}\" is no instance id (i-… and 17 hexadecimal digits)");
        return Ok(ExitCode::from(USAGE));
    };
    let data = common.data_dir()?.serving();
    match exec::run(data.path(), id, command) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            eprintln!("enid: {}", enid_host::chain(&error));
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
