//! Finds the kernel program that `cargo xtask ebpf` built, so that the binary can carry it.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=ENID_BPF_OBJECT");
    let object = std::env::var("ENID_BPF_OBJECT").unwrap_or_else(|_| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        root.join("target/bpf/enid.bpf.o").display().to_string()
    });
    println!("cargo::rerun-if-changed={object}");
    if !Path::new(&object).exists() {
        println!(
            "cargo::error=the kernel program {object} is not there: build it with `cargo xtask ebpf` \
             (`cargo xtask setup` installs what that needs)"
        );
        return;
    }
    println!("cargo::rustc-env=ENID_BPF_OBJECT={object}");
}
