//! What the tests of this crate that act on the kernel share.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use enid_host::netns::NetNs;
use enid_host::sandbox::{InitProgram, Sandbox, Spec};
use enid_host::{Installation, clean};
use enid_model::id::InstanceId;

/// The program that launches sandboxes and runs commands in them.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_enid-sandbox");

/// A data directory of its own, whose traces in the kernel go when the test ends, however it ends.
pub(crate) struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    /// A new data directory, or `None` when the test has to be skipped.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "tests with namespaces need root, and in CI nothing skips"
            );
            eprintln!("skipped: tests with namespaces need root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        Some(Self { dir })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn installation(&self) -> Installation {
        Installation::of(self.data_dir())
    }

    /// An instance that no other test has: instances' namespaces share one directory of names.
    pub(crate) fn instance(&self, number: u64) -> InstanceId {
        let mark = u64::from_str_radix(&self.installation().to_string(), 16).unwrap();
        InstanceId(mark << 16 | number)
    }

    pub(crate) fn sandbox(&self, number: u64) -> Sandbox {
        Sandbox::of(self.data_dir(), self.instance(number))
    }

    /// `enid exec` for a shell's command line: exit code, output and errors.
    pub(crate) fn shell(&self, number: u64, line: &str) -> (Option<i32>, String, String) {
        let output = self.exec(number).args(["sh", "-c", line]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    pub(crate) fn exec(&self, number: u64) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("exec")
            .arg(self.data_dir())
            .arg(self.instance(number).to_string());
        command
    }

    /// What the kernel still has of this installation.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for (pid, instance) in clean::first_processes(self.installation()).unwrap() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            traces.push(format!("process {pid} of {instance}: {stat}"));
        }
        for (eni, index) in enid_host::device::EniDevice::list(self.installation()).unwrap() {
            traces.push(format!("link {index} of {eni}"));
        }
        for number in 0..8 {
            let name = self.instance(number).to_string();
            if NetNs::exists(&name) {
                traces.push(format!("namespace {name}"));
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let data_dir = self.data_dir().to_str().unwrap();
        let ours = mounts.lines().filter(|line| line.contains(data_dir));
        traces.extend(ours.map(str::to_owned));
        traces
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let failures = clean::everything(self.data_dir());
        if !std::thread::panicking() {
            assert!(failures.is_empty(), "{failures:?}");
            assert_eq!(self.traces(), Vec::<String>::new());
        }
    }
}

pub(crate) fn spec() -> Spec {
    Spec {
        image: "ami-00000000000000001".to_owned(),
        hostname: "ip-10-0-0-5".to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 5),
        resolv_conf: "nameserver 10.0.0.2\n".to_owned(),
        user_data: None,
        authorized_key: None,
        grace: Duration::from_secs(2),
        init: InitProgram::Path(PathBuf::from(PROGRAM)),
    }
}

/// Waits until something is so, for as long as a loaded machine may need.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        // Level-triggered: the condition is looked at again, nothing is assumed of the time.
        std::thread::park_timeout(Duration::from_millis(5));
    }
    panic!("in vain waited until {what}");
}
