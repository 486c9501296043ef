//! The one place that pins what is installed, and which parts must fit each other.
//!
//! A BPF linker reads only bitcode of its own LLVM, at times down to the patch level, so compiler,
//! linker and LLVM are one choice. With Debian's packages both sides are LLVM 22.1.

/// Packages that building and testing need, each with the program or file that shows it is there.
/// The version is a prefix; empty where any version of a Debian release will do.
pub(crate) const PACKAGES: &[Package] = &[
    package("bind9-dnsutils", "", "dig, for tests of the resolver"),
    package("busybox-static", "", "the image of test containers"),
    package("ca-certificates", "", "the registries' certificates"),
    package("curl", "", "tests of the metadata service"),
    package("gcc", "", "the linker of Rust programs"),
    package("g++", "", "the BPF linker's bindings to LLVM"),
    package("iproute2", "", "ip, for tests and the tour"),
    package("iputils-ping", "", "ping, for tests and the tour"),
    package("isc-dhcp-client", "", "a client of DHCP, for tests"),
    package("libc6-dev", "", "what Rust programs link to"),
    package("libstd-rust-web-dev-bpf", "1.96", "core, built for BPF"),
    package("libzstd-dev", "", "what LLVM links to"),
    package("llvm-22-dev", "1:22.1", "the BPF linker's LLVM"),
    package("nftables", "", "what `make bench` measures against"),
    package(
        "podman",
        "4.3",
        "the container engine of the tests: one that knows CNI",
    ),
    package("python3", "", "the API models and the client tests"),
    package("python3-venv", "", "the API models and the client tests"),
    package("runc", "", "what runs the engine's containers"),
    package("rustc-web", "1.96", "the compiler of the kernel program"),
    package("zlib1g-dev", "", "what LLVM links to"),
];

/// Packages that only the tests need.
pub(crate) const TEST_PACKAGES: &[Package] = &[
    package(
        "busybox-static",
        "",
        "the programs of the tests' other machine",
    ),
    package(
        "qemu-system-x86",
        "1:7.2",
        "the tests' other machine, in emulation",
    ),
];

/// The package of Prometheus, which is unpacked only.
pub(crate) const PROMETHEUS_PACKAGE: &str = "prometheus";

/// Packages that only `make bench` needs.
pub(crate) const BENCH_PACKAGES: &[Package] = &[
    package("ethtool", "", "offloads off, where Open vSwitch lacks them"),
    package("libbpf1", "", "what Open vSwitch links to"),
    package("libcap-ng0", "", "what Open vSwitch links to"),
    package("liblua5.3-0", "", "what HAProxy links to"),
    package("libnuma1", "", "what Open vSwitch links to"),
    package("libopentracing-c-wrapper0", "", "what HAProxy links to"),
    package("libunbound8", "", "what Open vSwitch links to"),
    package("libxdp1", "", "what Open vSwitch links to"),
];

/// Programs of `make bench`, each with its packages, which are unpacked only.
pub(crate) const UNPACKED: &[(&str, &[&str])] = &[
    ("haproxy", &["haproxy"]),
    ("nginx", &["nginx", "libnginx-mod-stream"]),
    ("openvswitch", &["openvswitch-common", "openvswitch-switch"]),
];

/// The kernel of the tests' other machine: the oldest that Enid runs on, and Debian 12's own.
pub(crate) const KERNEL: &str = "6.1";
/// The package that depends on the newest one of Debian.
pub(crate) const KERNEL_PACKAGE: &str = "linux-image-amd64";
/// The modules that it loads, each after those that it needs.
pub(crate) const KERNEL_MODULES: &[&str] = &[
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/char/hw_random/virtio-rng",
    "net/9p/9pnet",
    "net/9p/9pnet_virtio",
    "fs/netfs/netfs",
    "fs/fscache/fscache",
    "fs/9p/9p",
    "fs/overlayfs/overlay",
    "drivers/net/veth",
    "drivers/net/tun",
    "net/sched/sch_ingress",
    "net/sched/cls_bpf",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

/// A Debian package.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) purpose: &'static str,
}

const fn package(name: &'static str, version: &'static str, purpose: &'static str) -> Package {
    Package {
        name,
        version,
        purpose,
    }
}

/// The BPF linker, and the LLVM that it is built against: the one of `rustc-web`.
pub(crate) const BPF_LINKER: &str = "0.13.0";
pub(crate) const BPF_LINKER_FEATURE: &str = "llvm-22";
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// The environment variable by which llvm-sys finds that LLVM.
pub(crate) const LLVM_SYS_PREFIX: &str = "LLVM_SYS_221_PREFIX";

/// The clients' lock: PyPI packages with their versions.
pub(crate) const REQUIREMENTS: &str = "tests/requirements.txt";
