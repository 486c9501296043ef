//! The kernel of the other machine that tests boot: Debian's package, unpacked and never installed.
//!
//! A distribution without that kernel goes without its tests.
//!
//! Kept below the tools of the build: `vmlinuz`, the modules that such a machine loads, and `modules`, their
//! names in the order in which they are loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::pins::{KERNEL, KERNEL_MODULES, KERNEL_PACKAGE};
use crate::setup::{as_root, run_command, tools};

const PURPOSE: &str = "the kernel of the tests' other machine";

/// Gets the kernel, if it is not there.
pub(crate) fn fetch() -> Result<()> {
    let place = tools()?.join(format!("linux-{KERNEL}"));
    let wanted: String = KERNEL_MODULES
        .iter()
        .map(|path| format!("{}\n", name_of(path)))
        .collect();
    // Written last.
    if fs::read_to_string(place.join("modules")).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let staged = place.with_extension("new");
    remove(&staged)?;
    fs::create_dir_all(&staged).with_context(|| format!("create {}", staged.display()))?;
    let Some(package) = download(&staged)? else {
        println!("setup: no Linux {KERNEL} in this distribution; its tests will be skipped");
        return remove(&staged);
    };
    unpack(&package, &staged)?;
    fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
    let list = staged.join("modules");
    fs::write(&list, wanted).with_context(|| format!("write {}", list.display()))?;
    remove(&place)?;
    fs::rename(&staged, &place).with_context(|| format!("rename to {}", place.display()))
}

/// Downloads the package into a directory; with new lists, if the old ones do not know it or lead
/// nowhere. `None` if the distribution has no such kernel.
fn download(directory: &Path) -> Result<Option<PathBuf>> {
    if let Some(name) = package_name()?
        && let Ok(package) = try_download(&name, PURPOSE, directory)
    {
        return Ok(Some(package));
    }
    as_root(Command::new("apt-get").args(["update", "-qq"]))?;
    let name = package_name()?;
    name.map(|name| try_download(&name, PURPOSE, directory))
        .transpose()
}

/// Downloads a package into an empty directory.
pub(crate) fn try_download(name: &str, purpose: &str, directory: &Path) -> Result<PathBuf> {
    println!("setup: fetching {name} ({purpose})");
    run_command(
        Command::new("apt-get")
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root", name])
            .current_dir(directory),
    )?;
    let mut files = fs::read_dir(directory)
        .with_context(|| format!("list {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let package = files.find(|path| path.extension().is_some_and(|it| it == "deb"));
    package.with_context(|| format!("apt-get left no package in {}", directory.display()))
}

/// The newest kernel of the pinned series: what the distribution's package of that name depends on.
fn package_name() -> Result<Option<String>> {
    let output = Command::new("apt-cache")
        .args([
            "depends",
            "--no-recommends",
            "--no-suggests",
            KERNEL_PACKAGE,
        ])
        .output()
        .context("run apt-cache")?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let series = format!("linux-image-{KERNEL}.");
    let mut names = listed
        .split_whitespace()
        .filter(|it| it.starts_with(&series));
    Ok(names.next().map(str::to_owned))
}

/// Takes the kernel and its modules out of the package.
fn unpack(package: &Path, directory: &Path) -> Result<()> {
    let modules = KERNEL_MODULES
        .iter()
        .map(|path| format!("./lib/modules/*/kernel/{path}.ko"));
    let content = directory.join("content.tar");
    let file = fs::File::create(&content).context("make a file for the package's content")?;
    run_command(
        Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(file),
    )?;
    run_command(
        Command::new("tar")
            .args(["--extract", "--wildcards", "--transform=s|.*/||", "--file"])
            .arg(&content)
            .arg("--directory")
            .arg(directory)
            .arg("./boot/vmlinuz-*")
            .args(modules),
    )?;
    fs::remove_file(&content).context("remove the package's content")?;
    let mut files = fs::read_dir(directory)
        .with_context(|| format!("list {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let kernel = files.find(|path| name_of(&path.to_string_lossy()).starts_with("vmlinuz-"));
    let kernel = kernel.context("the package has no kernel")?;
    fs::rename(&kernel, directory.join("vmlinuz")).context("rename the kernel")
}

/// The last part of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Removes a directory, if it is there.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_by_their_files_names() {
        assert_eq!(name_of("drivers/char/hw_random/virtio-rng"), "virtio-rng");
        assert_eq!(name_of("veth"), "veth");
    }
}
