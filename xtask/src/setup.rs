//! `cargo xtask setup`: installs what is missing, and is quick when nothing is.
//!
//! What is installed, in which version and why is in `pins.rs`. Needs root, directly or through
//! sudo, only when a package is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::pins::{
    BENCH_PACKAGES, BPF_LINKER, BPF_LINKER_FEATURE, LLVM_PREFIX, LLVM_SYS_PREFIX, PACKAGES,
    Package, REQUIREMENTS, TEST_PACKAGES,
};
use crate::{kernel, prometheus, unpacked};

/// Installs what is missing.
pub(crate) fn run(root: &Path) -> Result<()> {
    packages(PACKAGES)?;
    linker()?;
    clients(root)
}

/// Installs what is missing and only tests need.
pub(crate) fn for_tests() -> Result<()> {
    packages(TEST_PACKAGES)?;
    prometheus::fetch()?;
    kernel::fetch()
}

/// Installs what is missing and only `make bench` needs.
pub(crate) fn for_bench() -> Result<()> {
    packages(BENCH_PACKAGES)?;
    unpacked::fetch()
}

/// Where tools of the build are kept, outside the source tree so that clones share them.
pub(crate) fn tools() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENID_TOOLS") {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set; set ENID_TOOLS instead")?;
    Ok(Path::new(&home).join(".cache/enid/tools"))
}

fn packages(wanted: &[Package]) -> Result<()> {
    let names: Vec<&str> = wanted.iter().map(|package| package.name).collect();
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"])
        .args(&names)
        .output()
        .context(
            "run dpkg-query (set-up knows Debian and Ubuntu; elsewhere see ARCHITECTURE.md)",
        )?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let missing: Vec<_> = wanted
        .iter()
        .filter(|package| {
            !listed.lines().any(|line| {
                let mut words = line.split(' ');
                words.next() == Some(package.name)
                    && words.next().is_some_and(|v| v.starts_with(package.version))
                    && words.next() == Some("installed")
            })
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        println!("setup: installing {} ({})", package.name, package.purpose);
    }
    let wanted: Vec<String> = missing
        .iter()
        .map(|package| match package.version {
            "" => package.name.to_owned(),
            version => format!("{}={version}*", package.name),
        })
        .collect();
    as_root(Command::new("apt-get").args(["update", "-qq"]))?;
    as_root(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&wanted),
    )
}

/// Runs a command as root: as it is, or through sudo.
pub(crate) fn as_root(command: &Command) -> Result<()> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    let mut command = if is_root {
        let mut plain = Command::new(command.get_program());
        plain.args(command.get_args());
        plain
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(command.get_program()).args(command.get_args());
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(&mut command)
}

fn linker() -> Result<()> {
    let tools = tools()?;
    let program = tools.join("bin/bpf-linker");
    // The version file says which LLVM the linker was built against, which it does not say itself.
    let stamp = tools.join("bpf-linker.version");
    let wanted = format!("{BPF_LINKER} {BPF_LINKER_FEATURE} {}", llvm_version()?);
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("setup: building bpf-linker {BPF_LINKER}");
    run_command(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["install", "bpf-linker", "--locked", "--force", "--version"])
            .args([BPF_LINKER, "--no-default-features", "--features"])
            .args([BPF_LINKER_FEATURE, "--root"])
            .arg(&tools)
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env(LLVM_SYS_PREFIX, LLVM_PREFIX)
            .env_remove("CARGO_TARGET_DIR"),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

/// The LLVM that the linker is built against. The compiler's must be the same.
fn llvm_version() -> Result<String> {
    let program = Path::new(LLVM_PREFIX).join("bin/llvm-config");
    let output = Command::new(&program).arg("--version").output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let linker = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let output = Command::new("/usr/bin/rustc").arg("-vV").output();
    let output = output.context("run Debian's /usr/bin/rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let compiler = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .context("rustc does not say its LLVM version")?;
    if compiler != linker {
        bail!(
            "the kernel program's compiler has LLVM {compiler}, its linker {linker}; they must be equal"
        );
    }
    Ok(linker)
}

fn clients(root: &Path) -> Result<()> {
    let requirements = root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("read {}", requirements.display()))?;
    let venv = root.join(".venv");
    let stamp = venv.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("setup: installing the clients into .venv");
    run_command(
        Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--clear"])
            .arg(&venv),
    )?;
    run_command(
        Command::new(venv.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&requirements),
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

pub(crate) fn run_command(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
