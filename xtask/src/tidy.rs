//! `cargo xtask tidy`: what no compiler checks. The crates' graph, file sizes, unsafe code, generated
//! files' first lines, the table of reasons against its page, and the licences of dependencies.
//!
//! All findings are listed, not only the first. `--write` writes the page of reasons anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Which crates of this workspace a crate may use: the design's arrows, and all that lies below.
const MAY_USE: &[(&str, &[&str])] = &[
    ("enid-pipeline", &[]),
    ("enid-model", &[]),
    ("enid-ebpf", &["enid-pipeline"]),
    ("enid-store", &["enid-model"]),
    ("enid-plan", &["enid-model", "enid-pipeline"]),
    ("enid-control", &["enid-store", "enid-model"]),
    (
        "enid-api",
        &["enid-control", "enid-store", "enid-telemetry", "enid-model"],
    ),
    (
        "enid-telemetry",
        &["enid-model", "enid-pipeline", "enid-plan"],
    ),
    ("enid-host", &["enid-plan", "enid-model", "enid-pipeline"]),
    ("enid-advise", &["enid-plan", "enid-model", "enid-pipeline"]),
    ("enid-spec", &["enid-plan", "enid-model", "enid-pipeline"]),
    (
        "enid-fuzz",
        &[
            "enid-api",
            "enid-control",
            "enid-host",
            "enid-model",
            "enid-pipeline",
            "enid-plan",
            "enid-store",
            "enid-telemetry",
        ],
    ),
    ("enid-bench-probe", &[]),
    // Of the daemon it knows what any client knows.
    ("enid-cni", &[]),
    ("xtask", &[]),
];

/// Crates at the kernel boundary; every other one forbids unsafe code.
const UNSAFE_CRATES: &[&str] = &["enid-ebpf", "enid-host"];
/// Files of the host crate that may hold unsafe code.
const UNSAFE_FILES: &[&str] = &[
    "maps.rs",
    "netns.rs",
    "offload.rs",
    "packet_socket.rs",
    "tap.rs",
    "tcp_info.rs",
];

/// A longer file is two files.
const LINES_MAX: usize = 800;

/// Licences that may be linked into an Apache-2.0 program.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const REASONS: &str = "crates/enid-pipeline/src/reason.rs";
const REASONS_PAGE: &str = "docs/reasons.md";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Checks everything; fails with all findings.
pub(crate) fn run(root: &Path, write: bool) -> Result<()> {
    let mut findings = Vec::new();
    let metadata = metadata(root)?;
    graph(&metadata, &mut findings);
    licences(&metadata, &mut findings);
    files(root, &mut findings)?;
    reasons(root, write, &mut findings)?;
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    bail!("{} findings", findings.len())
}

fn metadata(root: &Path) -> Result<Metadata> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("read cargo's metadata")
}

fn graph(metadata: &Metadata, findings: &mut Vec<String>) {
    let own: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none())
        .map(|package| package.name.as_str())
        .collect();
    let may_use: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    for package in metadata.packages.iter().filter(|p| p.source.is_none()) {
        let name = package.name.as_str();
        // The binary wires everything.
        if name == "enid" {
            continue;
        }
        let Some(allowed) = may_use.get(name) else {
            findings.push(format!(
                "crate {name} is not in the graph of xtask/src/tidy.rs"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            let is_test = dependency.kind.as_deref() == Some("dev");
            if own.contains(used) && !is_test && !allowed.contains(&used) {
                findings.push(format!("crate {name} may not use {used}"));
            }
        }
    }
}

fn licences(metadata: &Metadata, findings: &mut Vec<String>) {
    for package in metadata.packages.iter().filter(|p| p.source.is_some()) {
        let expression = package.license.as_deref().unwrap_or("");
        let normal = expression.replace('/', " OR ").replace(['(', ')'], " ");
        // Enough for the expressions in use: one alternative, all of whose parts are allowed.
        let fits = normal.split(" OR ").any(|alternative| {
            alternative
                .split(" AND ")
                .all(|part| LICENCES.contains(&part.trim()))
        });
        if !fits {
            let name = &package.name;
            findings.push(format!(
                "licence of {name} is not allowed: \"{expression}\""
            ));
        }
    }
}

fn files(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .args(["*.rs", "*.py", "*.sh"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in listed.lines() {
        let path = root.join(name);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if name.contains("/generated/") && !name.ends_with("/mod.rs") {
            let first = text.lines().next().unwrap_or("");
            if !first.contains("cargo xtask codegen") {
                findings.push(format!("{name} does not start with its generator's name"));
            }
            continue;
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!(
                "{name} has {lines} lines; more than {LINES_MAX} are two files"
            ));
        }
        unsafe_code(name, &text, findings);
    }
    Ok(())
}

fn unsafe_code(name: &str, text: &str, findings: &mut Vec<String>) {
    let path = PathBuf::from(name);
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let owner = match (parts.next().as_deref(), parts.next()) {
        (Some("crates" | "tests"), Some(owner)) => owner.into_owned(),
        _ => return,
    };
    let is_root = name.ends_with("src/lib.rs") || name.ends_with("enid/src/main.rs");
    if is_root
        && !UNSAFE_CRATES.contains(&owner.as_str())
        && !text.contains("#![forbid(unsafe_code)]")
    {
        findings.push(format!("{name} does not forbid unsafe code"));
    }
    let file = path.file_name().map(|f| f.to_string_lossy().into_owned());
    let allowed = owner == "enid-ebpf"
        || owner == "enid-host" && file.is_some_and(|f| UNSAFE_FILES.contains(&f.as_str()));
    let uses = text.lines().any(|line| {
        let code = line.split("//").next().unwrap_or("");
        code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
    });
    if uses && !allowed && name.ends_with(".rs") {
        findings.push(format!(
            "{name} holds unsafe code outside the kernel boundary"
        ));
    }
}

/// The page lists every reason ever given, so it also tells when a number changes its meaning.
fn reasons(root: &Path, write: bool, findings: &mut Vec<String>) -> Result<()> {
    let source = fs::read_to_string(root.join(REASONS)).context(REASONS)?;
    let mut rows = Vec::new();
    for line in source.lines() {
        let mut quoted = line.split('"');
        let Some((number, _)) = quoted
            .next()
            .and_then(|head| head.trim().split_once(' '))
            .and_then(|(number, variant)| Some((number.parse::<u32>().ok()?, variant)))
        else {
            continue;
        };
        if let (Some(label), Some(words)) = (quoted.next(), quoted.nth(1)) {
            rows.push((number, label.to_owned(), words.to_owned()));
        }
    }
    if rows.is_empty() {
        findings.push(format!("{REASONS} has no table of reasons"));
    }
    let path = root.join(REASONS_PAGE);
    let mut changed_meaning = false;
    let page = fs::read_to_string(&path).unwrap_or_default();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (number, label) = (cells.next(), cells.next());
        let Some(number) = number.and_then(|text| text.parse::<u32>().ok()) else {
            continue;
        };
        let label = label.map(|text| text.trim_matches('`')).unwrap_or_default();
        if !rows.iter().any(|(n, l, _)| *n == number && l == label) {
            changed_meaning = true;
            findings.push(format!(
                "reason {number} was `{label}` and may not be anything else"
            ));
        }
    }
    let mut wanted = String::from(
        "# Reasons of drops\n\nGenerated by `cargo xtask tidy --write` from \
         `crates/enid-pipeline/src/reason.rs`. Numbers are appended, never changed.\n\n\
         | number | label | the packet was dropped because |\n|---|---|---|\n",
    );
    for (number, label, words) in &rows {
        wanted.push_str(&format!("| {number} | `{label}` | {words} |\n"));
    }
    if page != wanted {
        if write && !changed_meaning {
            fs::write(&path, wanted).with_context(|| format!("write {}", path.display()))?;
        } else {
            findings.push(format!(
                "{REASONS_PAGE} is not current: cargo xtask tidy --write"
            ));
        }
    }
    Ok(())
}
