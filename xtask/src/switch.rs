//! Open vSwitch, which `make bench` measures beside: Debian's packages, unpacked and never installed, as
//! that would start it on the user's machine. The libraries that it needs are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::kernel::{remove, try_download};
use crate::pins::SWITCH_PACKAGES;
use crate::setup::{run_command, tools};

/// Gets the programs, if they are not there.
pub(crate) fn fetch() -> Result<()> {
    let place = tools()?.join("openvswitch");
    // Renamed to when whole.
    if place.is_dir() {
        return Ok(());
    }
    let staged = place.with_extension("new");
    remove(&staged)?;
    for name in SWITCH_PACKAGES {
        let packages = staged.join(name);
        fs::create_dir_all(&packages).with_context(|| format!("create {}", packages.display()))?;
        let package = try_download(name, "what make bench measures against", &packages)?;
        unpack(&package, &staged)?;
        remove(&packages)?;
    }
    fs::rename(&staged, &place).with_context(|| format!("rename to {}", place.display()))
}

fn unpack(package: &Path, directory: &Path) -> Result<()> {
    run_command(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(directory),
    )
}
