//! `cargo xtask ebpf`: builds the kernel program and puts it where `enid-host` finds it.
//!
//! The program needs `core` for BPF. Debian ships one, built by its own compiler, which is preferred:
//! its LLVM is the linker's. Else rustup's nightly builds `core` from its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::tools;
use crate::stack;

const TARGET: &str = "bpfel-unknown-none";
const PROFILE: &str = "bpf";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// Builds `target/bpf/enid.bpf.o`; quick when nothing changed.
pub(crate) fn run(root: &Path) -> Result<()> {
    let linker = tools()?.join("bin/bpf-linker");
    if !linker.exists() {
        bail!("{} is missing: run `cargo xtask setup`", linker.display());
    }
    let directory = target_directory(root).join("bpf");
    let mut cargo = if has_debian_core() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        cargo
    } else {
        let mut rustup = Command::new("rustup");
        rustup.args(["run", "nightly", "cargo", "-Z", "build-std=core"]);
        rustup
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO");
        rustup
    };
    cargo
        .args([
            "build",
            "--quiet",
            "-p",
            "enid-ebpf",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker)
        // Without this the linker keeps every clearing of memory as a call that goes byte by byte.
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
            "-C link-arg=--disable-expand-memcpy-in-order",
        )
        // Flags that are meant for this machine's processor.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .current_dir(root);
    let status = cargo.status().context("run cargo for the kernel program")?;
    if !status.success() {
        bail!("the kernel program does not build");
    }
    let built = directory.join(TARGET).join(PROFILE).join("enid");
    let object = root.join("target/bpf/enid.bpf.o");
    stack::check(&fs::read(&built).with_context(|| format!("read {}", built.display()))?)?;
    copy_if_different(&built, &object)
}

/// Whether Debian's compiler and its `core` for BPF are installed.
fn has_debian_core() -> bool {
    Path::new(DEBIAN_RUSTC).exists() && Path::new(DEBIAN_CORE).exists()
}

fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Leaves an equal file untouched, so that nothing that depends on it is built again.
fn copy_if_different(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    // In one step: a build that runs meanwhile reads the old file or the new.
    let staged = to.with_extension("new");
    fs::write(&staged, new).with_context(|| format!("write {}", staged.display()))?;
    fs::rename(&staged, to).with_context(|| format!("rename to {}", to.display()))
}
