//! What root may do in a sandbox.
//!
//! The set is the one that container engines give by default, plus `NET_ADMIN`, less `MKNOD`:
//! people configure interfaces, firewalls and tunnels on an instance, and nothing in it needs
//! devices of the host. The set bounds the first process and every command run in the sandbox.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// The capabilities that a sandbox keeps.
const KEPT: CapabilitySet = CapabilitySet::AUDIT_WRITE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// Takes every other capability from what the calling thread's children can ever have.
pub(crate) fn bound() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel knows no more capabilities.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Takes every other capability from the calling thread itself.
pub(crate) fn drop_own() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?.permitted;
    let kept = held.intersection(KEPT);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stays_out_of_reach() {
        for capability in [
            CapabilitySet::BPF,
            CapabilitySet::MKNOD,
            CapabilitySet::SYS_ADMIN,
            CapabilitySet::SYS_BOOT,
            CapabilitySet::SYS_MODULE,
            CapabilitySet::SYS_PTRACE,
            CapabilitySet::SYS_RAWIO,
        ] {
            assert!(!KEPT.contains(capability));
        }
        assert!(KEPT.contains(CapabilitySet::NET_ADMIN));
    }
}
