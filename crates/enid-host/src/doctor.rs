//! What a host must have to run instances and the datapath, and how to get what it lacks.
//!
//! Each check tries the thing itself where that leaves no trace; it does not conclude from names
//! and version numbers what can be asked directly.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::mount::MountFlags;
use rustix::thread::CapabilitySet;

use crate::datapath::Attach;
use crate::maps::{self, Hook};
use crate::netlink::{Netlink, VethPair};
use crate::netns::NetNs;
use crate::outside::Wanted;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub subject: &'static str,
    /// What came out.
    pub state: State,
    /// What was seen, in a few words.
    pub seen: String,
    /// What to do when it is not as it should be.
    pub remedy: &'static str,
}

/// What came out of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is there, but there is no more of it for one more daemon.
    Exhausted,
    /// Without it nothing is enforced.
    Missing,
    /// It is there.
    Ok,
    /// It was missing and has been set up.
    Repaired,
}

/// Runs all checks, in the order in which what is missing has to be got.
#[must_use]
pub fn examine() -> Vec<Finding> {
    vec![
        privileges(),
        kernel_version(),
        bpf_filesystem(),
        type_information(),
        namespaces(),
        hooks(),
        overlay(),
    ]
}

/// Whether the host can run instances and enforce policy.
#[must_use]
pub fn is_fit(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.state != State::Missing)
}

/// Whether a further daemon finds pools of public addresses that nobody on this host has routes to. One
/// that has run before has its own already.
#[must_use]
pub fn public_pools(wanted: &Wanted) -> Finding {
    let (state, seen) = match wanted.first_free() {
        Ok([Some(ipv4), Some(ipv6)]) => (State::Ok, format!("{ipv4} and {ipv6} are free")),
        Ok(_) => (
            State::Exhausted,
            "others have routes to all of them".to_owned(),
        ),
        Err(error) => (State::Exhausted, crate::chain(&error)),
    };
    Finding {
        subject: "pools of public addresses",
        state,
        seen,
        remedy: "name others in the configuration: pool and ipv6_pool in its section [outside]",
    }
}

fn privileges() -> Finding {
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let lacking: Vec<&str> = NEEDED
        .iter()
        .filter(|(capability, _)| !held.is_ok_and(|held| held.contains(*capability)))
        .map(|(_, name)| *name)
        .collect();
    Finding {
        subject: "privileges",
        state: when(lacking.is_empty()),
        seen: if lacking.is_empty() {
            "all that are needed".to_owned()
        } else {
            format!("without {}", lacking.join(", "))
        },
        remedy: "run as root (sudo); in a container, run it with --privileged",
    }
}

fn kernel_version() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    Finding {
        subject: "kernel",
        state: when(version_of(&release).is_some_and(|version| version >= SINCE)),
        seen: release,
        remedy: "use Linux 6.1 or later: Debian 12 has it",
    }
}

/// Mounts the filesystem when it is missing: nothing else on the host cares where it is.
fn bpf_filesystem() -> Finding {
    let path = Path::new(BPF_PATH);
    let mut state = when(is_bpf(path));
    let mut seen = format!("mounted at {BPF_PATH}");
    if state == State::Missing {
        match rustix::mount::mount("bpf", path, "bpf", MountFlags::empty(), None) {
            Ok(()) => state = State::Repaired,
            Err(e) => seen = format!("not mounted at {BPF_PATH}: {e}"),
        }
    }
    Finding {
        subject: "bpf filesystem",
        state,
        seen,
        remedy: "mount -t bpf bpf /sys/fs/bpf; the kernel needs CONFIG_BPF_SYSCALL",
    }
}

fn type_information() -> Finding {
    let path = crate::btf::KERNEL;
    let found = fs::metadata(path).is_ok();
    Finding {
        subject: "kernel type information",
        state: when(found),
        seen: format!("{path} {}", if found { "is there" } else { "is not there" }),
        remedy: "use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions ship it",
    }
}

/// Makes a namespace with a pair of links into it, and removes both.
fn namespaces() -> Finding {
    let made = try_namespace();
    Finding {
        subject: "network namespaces and veth",
        state: when(made.is_ok()),
        seen: made.map_or_else(|e| chain(e.as_ref()), |()| "can be made".to_owned()),
        remedy: "the kernel needs CONFIG_NET_NS and CONFIG_VETH (modprobe veth), and /run/netns \
                 must allow mounts",
    }
}

/// Puts a program on a device that nobody else has.
fn hooks() -> Finding {
    let tried = Attach::best().map_err(Box::from).and_then(|attach| {
        in_namespace(|netlink| try_hooks(netlink, attach))?;
        Ok::<_, Box<dyn std::error::Error>>(attach)
    });
    Finding {
        subject: "hooks for programs",
        state: when(tried.is_ok()),
        seen: match tried {
            Ok(Attach::Tcx) => "tcx links".to_owned(),
            Ok(Attach::Tc) => "tc filters (Linux 6.6 and later have tcx links)".to_owned(),
            Err(e) => chain(e.as_ref()),
        },
        remedy: "the kernel needs CONFIG_BPF_JIT and, before Linux 6.6, CONFIG_NET_CLS_BPF and \
                 CONFIG_NET_SCH_INGRESS (modprobe -a cls_bpf sch_ingress)",
    }
}

fn try_hooks(netlink: &mut Netlink, attach: Attach) -> Result<(), Box<dyn std::error::Error>> {
    let program = maps::load_dropping_program()?;
    let device = netlink.link_index(DEVICE)?.unwrap_or_default();
    match attach {
        Attach::Tcx => {
            maps::attach(program.as_fd(), device, Hook::Ingress)?;
        }
        Attach::Tc => {
            netlink.add_hooks(device)?;
            netlink.put_filter(device, Hook::Ingress, program.as_fd(), "enid-doctor")?;
        }
    }
    Ok(())
}

fn try_namespace() -> Result<(), Box<dyn std::error::Error>> {
    in_namespace(|_netlink| Ok(()))
}

/// Does something in a namespace with a pair of links, which are gone afterwards.
fn in_namespace(
    work: impl FnOnce(&mut Netlink) -> Result<(), Box<dyn std::error::Error>> + Send,
) -> Result<(), Box<dyn std::error::Error>> {
    let name = format!("enid-doctor-{}", std::process::id());
    let namespace = NetNs::create(&name)?;
    let tried = namespace.run(|| {
        let made = Netlink::open().and_then(|mut netlink| {
            netlink.create_veth(VethPair {
                name: DEVICE,
                mac: enid_model::network_interface::Mac([2, 0, 0, 0, 0, 1]),
                peer_name: "enid1",
                peer_mac: enid_model::network_interface::Mac([2, 0, 0, 0, 0, 2]),
                peer_namespace: Some(&namespace),
                mtu: crate::device::MTU,
            })?;
            Ok(netlink)
        });
        // Errors of all kinds leave the thread as text.
        let worked = made.map_err(|e| chain(&e));
        worked.and_then(|mut netlink| work(&mut netlink).map_err(|e| chain(e.as_ref())))
    });
    NetNs::delete(&name)?;
    Ok(tried??)
}

/// The device that the checks make.
const DEVICE: &str = "enid0";

fn overlay() -> Finding {
    let list = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let found = has_filesystem(&list, "overlay") || Path::new("/sys/module/overlay").exists();
    Finding {
        subject: "overlay filesystem",
        state: when(found),
        seen: if found {
            "known to the kernel"
        } else {
            "unknown to the kernel"
        }
        .to_owned(),
        remedy: "modprobe overlay; the kernel needs CONFIG_OVERLAY_FS",
    }
}

fn when(is_there: bool) -> State {
    if is_there { State::Ok } else { State::Missing }
}

fn is_bpf(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC)
}

fn has_filesystem(list: &str, name: &str) -> bool {
    list.lines()
        .filter_map(|line| line.split_whitespace().last())
        .any(|known| known == name)
}

/// The first two numbers of a kernel's release.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Where pins are kept.
pub const BPF_PATH: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` in linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The oldest kernel that the programs are tested on.
const SINCE: (u32, u32) = (6, 1);

const NEEDED: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version_of("6.18.44-fc"), Some((6, 18)));
        assert!(version_of("6.10.0").unwrap() >= SINCE);
        assert!(version_of("6.1.0-28-amd64").unwrap() >= SINCE);
        assert!(version_of("5.19.0").unwrap() < SINCE);
        assert_eq!(version_of("unknown"), None);
    }

    #[test]
    fn a_filesystem_is_found_by_its_whole_name() {
        let list = "nodev\tsysfs\nnodev\toverlay\n\text4\n";
        assert!(has_filesystem(list, "overlay"));
        assert!(has_filesystem(list, "ext4"));
        assert!(!has_filesystem(list, "over"));
    }

    #[test]
    fn one_missing_thing_makes_a_host_unfit() {
        let finding = |state| Finding {
            subject: "x",
            state,
            seen: String::new(),
            remedy: "",
        };
        assert!(is_fit(&[finding(State::Ok), finding(State::Repaired)]));
        assert!(is_fit(&[finding(State::Exhausted)]));
        assert!(!is_fit(&[finding(State::Ok), finding(State::Missing)]));
    }
}
