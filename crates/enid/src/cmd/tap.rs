//! `enid tap`: what a virtual machine monitor has to know of an instance's taps.

use std::process::ExitCode;

use crate::cli::Common;
use crate::cmd::USAGE;
use crate::cmd::adopt::instance_id;
use crate::wiring::socket::{Guest, Request, ask};

pub(crate) fn run(
    common: &Common,
    instance: &str,
    owner: Option<u32>,
    group: Option<u32>,
) -> anyhow::Result<ExitCode> {
    let Some(instance) = instance_id(instance) else {
        return Ok(ExitCode::from(USAGE));
    };
    let request = Request::Taps {
        instance,
        owner,
        group,
    };
    let guest: Guest = ask(&common.data_dir()?.socket(), &request)?;
    common.printer().print(&guest, |guest| {
        let lines = guest.interfaces.iter().map(|it| {
            let (addresses, mac, mtu) = (it.addresses(), &it.mac, it.mtu);
            let (device, eni) = (&it.device, &it.eni);
            format!("{device} {eni} mac {mac} mtu {mtu} {addresses}")
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
