//! Prometheus, which tests have scrape the daemon: Debian's package, unpacked and never installed, as that
//! would start it on the user's machine. The program needs nothing but the C library.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::kernel::{remove, try_download};
use crate::pins::PROMETHEUS_PACKAGE;
use crate::setup::{as_root, run_command, tools};

/// Gets the program, if it is not there.
pub(crate) fn fetch() -> Result<()> {
    let place = tools()?.join("prometheus");
    // Renamed to when whole.
    if place.is_dir() {
        return Ok(());
    }
    let staged = place.with_extension("new");
    let packages = staged.join("packages");
    let fetched = || {
        remove(&staged)?;
        fs::create_dir_all(&packages).with_context(|| format!("create {}", packages.display()))?;
        try_download(
            PROMETHEUS_PACKAGE,
            "what scrapes metrics in tests",
            &packages,
        )
    };
    let package = match fetched() {
        Ok(package) => package,
        // The lists of packages may be old.
        Err(_) => {
            as_root(Command::new("apt-get").args(["update", "-qq"]))?;
            fetched()?
        }
    };
    run_command(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&package)
            .arg(&staged),
    )?;
    remove(&packages)?;
    fs::rename(&staged, &place).with_context(|| format!("rename to {}", place.display()))
}
