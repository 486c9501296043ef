//! `cargo xtask`: set-up, code generation and checks. Each task is a module of its own.

#![forbid(unsafe_code)]

mod codegen;
mod codegen_model;
mod codegen_names;
mod codegen_operations;
mod codegen_request;
mod codegen_response;
mod codegen_support;
mod coverage;
mod ebpf;
mod kernel;
mod pins;
mod prometheus;
mod reach;
mod setup;
mod stack;
mod tidy;
mod unpacked;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "\
usage: cargo xtask TASK

  codegen [--check]   requests, answers and docs/coverage.md from the API models
  ebpf                builds the kernel program (target/bpf/enid.bpf.o)
  setup [--tests|--bench]  installs what building needs, or what only tests or figures need
  tidy [--write]      what no compiler checks
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["codegen" | "coverage"] => root().and_then(|root| codegen::run(&root, false)),
        ["codegen" | "coverage", "--check"] => root().and_then(|root| codegen::run(&root, true)),
        ["tidy"] => root().and_then(|root| tidy::run(&root, false)),
        ["tidy", "--write"] => root().and_then(|root| tidy::run(&root, true)),
        ["ebpf"] => root().and_then(|root| ebpf::run(&root)),
        ["setup"] => root().and_then(|root| setup::run(&root)),
        ["setup", "--bench"] => setup::for_bench(),
        ["setup", "--tests"] => setup::for_tests(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .context("xtask lies below the root")
}
