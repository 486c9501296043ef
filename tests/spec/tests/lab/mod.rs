//! A place for tests of the loaded kernel program: a namespace with devices, and pins, of the test's own.

use std::process::Command;

use enid_host::netns::NetNs;
use enid_host::{Installation, loader};
use enid_pipeline::table::Outside;
use enid_spec::random::ENIS;
use enid_spec::region::{FAR, NEAR};

/// Verdicts of a TC program.
pub(crate) const REDIRECT: u32 = 7;
pub(crate) const SHOT: u32 = 2;

/// A namespace and pins of the test's own; gone when it ends, however it ends.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    /// The namespace's name.
    pub(crate) name: String,
}

impl Lab {
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "tests of the kernel program need root, and in CI nothing skips"
            );
            eprintln!("skipped: tests of the kernel program need root");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = format!("enid-spec-{}", Installation::of(dir.path()));
        NetNs::create(&name).expect("a namespace");
        Some(Self { dir, name })
    }

    pub(crate) fn installation(&self) -> Installation {
        Installation::of(self.dir.path())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        NetNs::delete(&self.name).expect("the namespace goes");
        loader::remove_pins(self.installation()).expect("the pins go");
    }
}

/// Devices in the present namespace: one for each interface, and the one that leads outside.
pub(crate) fn devices() -> ([u32; ENIS], u32) {
    let ip = |words: &[&str]| {
        let output = Command::new("ip").args(words).output().expect("ip runs");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("ip speaks UTF-8")
    };
    for pair in 0..=ENIS / 2 {
        let (a, b) = (format!("d{}", pair * 2), format!("d{}", pair * 2 + 1));
        ip(&["link", "add", &a, "type", "veth", "peer", "name", &b]);
    }
    let index = |number: usize| -> u32 {
        let line = ip(&["-o", "link", "show", &format!("d{number}")]);
        let index = line.split(':').next().expect("ip shows the index");
        index.parse().expect("the index is a number")
    };
    (std::array::from_fn(index), index(ENIS))
}

/// The way to the outside by a device.
pub(crate) const fn way_out(ifindex: u32) -> Outside {
    Outside {
        ifindex,
        far_mac: FAR,
        near_mac: NEAR,
    }
}
