//! Programs on devices of kernels without tcx: filters, found again by their names.
//!
//! There is nothing to pin: a filter holds its program and stays until its device goes, whatever becomes
//! of the daemon. Its name has the installation's mark, the ENI and what the program is for.
//!
//! Limit: whoever is root can put another filter before ours, or remove it, as nobody can by chance with
//! a tcx link. `enid verify` says so, and the next start of the daemon puts it back.

use std::os::fd::BorrowedFd;

use super::DatapathError;
use crate::Installation;
use crate::loader::Programs;
use crate::maps::{self, Hook};
use crate::netlink::Netlink;

/// The name of a filter; `tie` as links are named below their directory.
pub(super) fn name(installation: Installation, tie: &str) -> String {
    format!("enid:{installation}:{tie}")
}

/// Puts a program on a device, in place of what is there. A packet meets the one or the other.
pub(super) fn put(
    name: &str,
    program: BorrowedFd<'_>,
    hook: Hook,
    ifindex: u32,
) -> Result<(), DatapathError> {
    if verify(name, program, hook, ifindex)? {
        return Ok(());
    }
    let failed = failed(ifindex);
    let mut netlink = Netlink::open().map_err(&failed)?;
    netlink.add_hooks(ifindex).map_err(&failed)?;
    let put = netlink.put_filter(ifindex, hook, program, name);
    put.map_err(failed)
}

/// Whether every packet of a device meets this program first.
pub(super) fn verify(
    name: &str,
    program: BorrowedFd<'_>,
    hook: Hook,
    ifindex: u32,
) -> Result<bool, DatapathError> {
    let wanted = maps::program_id(program).map_err(DatapathError::Probe)?;
    let failed = failed(ifindex);
    let mut netlink = Netlink::open().map_err(&failed)?;
    let filters = netlink.filters(ifindex, hook).map_err(failed)?;
    let first = filters.first();
    Ok(first.is_some_and(|it| it.is_in_place && it.name == name && it.program_id == wanted))
}

/// Removes the filter that an agent without tcx put on a device which has a link by now.
pub(super) fn remove(name: &str, hook: Hook, ifindex: u32) -> Result<(), DatapathError> {
    let failed = failed(ifindex);
    let mut netlink = Netlink::open().map_err(&failed)?;
    let filters = netlink.filters(ifindex, hook).map_err(&failed)?;
    if filters.iter().any(|it| it.is_in_place && it.name == name) {
        netlink.delete_filter(ifindex, hook).map_err(failed)?;
    }
    Ok(())
}

/// Puts the present programs in the place of earlier ones on all devices that have any.
pub(super) fn replace_all(
    installation: Installation,
    programs: &Programs,
) -> Result<(), DatapathError> {
    let mut netlink = Netlink::open().map_err(DatapathError::Links)?;
    for link in netlink.links().map_err(DatapathError::Links)? {
        for hook in [Hook::Egress, Hook::Ingress] {
            let failed = failed(link.index);
            for filter in netlink.filters(link.index, hook).map_err(&failed)? {
                let program = kind_of(installation, &filter.name);
                let program = program.and_then(|kind| programs.of_kind(kind));
                let Some(program) = program.filter(|_| filter.is_in_place) else {
                    continue;
                };
                if maps::program_id(program).map_err(DatapathError::Probe)? != filter.program_id {
                    let put = netlink.put_filter(link.index, hook, program, &filter.name);
                    put.map_err(&failed)?;
                }
            }
        }
    }
    Ok(())
}

/// What the program of this installation's filter is for.
fn kind_of(installation: Installation, name: &str) -> Option<&str> {
    let (_, kind) = installation.owned(name)?.rsplit_once('-')?;
    Some(kind)
}

fn failed(ifindex: u32) -> impl Fn(crate::netlink::NetlinkError) -> DatapathError {
    move |source| DatapathError::Filter { ifindex, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_filter_it_is_and_what_for() {
        let ours: Installation = "0123456789ab".parse().unwrap();
        let theirs: Installation = "0123456789ac".parse().unwrap();
        let name = name(ours, "eni-00000000000000007-guard");
        assert_eq!(kind_of(ours, &name), Some("guard"));
        assert_eq!(kind_of(theirs, &name), None);
        assert_eq!(kind_of(ours, "bpf_prog.o:[classifier]"), None);
    }
}
