//! What `make bench` measures beside: Debian's packages, unpacked and never installed, as that would start
//! them on the user's machine. The libraries that they need are installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::kernel::{remove, try_download};
use crate::pins::UNPACKED;
use crate::setup::{run_command, tools};

/// Gets the programs that are not there.
pub(crate) fn fetch() -> Result<()> {
    UNPACKED
        .iter()
        .try_for_each(|(program, packages)| fetch_one(program, packages))
}

fn fetch_one(program: &str, packages: &[&str]) -> Result<()> {
    let place = tools()?.join(program);
    // Renamed to when whole.
    if place.is_dir() {
        return Ok(());
    }
    let staged = place.with_extension("new");
    remove(&staged)?;
    for name in packages {
        let directory = staged.join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let package = try_download(name, "what make bench measures against", &directory)?;
        unpack(&package, &staged)?;
        remove(&directory)?;
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
