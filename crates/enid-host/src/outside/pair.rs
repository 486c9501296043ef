//! The pair of links between the host's stack and the datapath.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use enid_model::network_interface::Mac;

use super::{OutsideError, ignoring_missing};
use crate::Installation;
use crate::netlink::{Family, Link, Netlink, VethPair};

/// The names of the two links of a pair, and their mark.
pub(super) struct Names {
    /// The datapath's end.
    pub(super) near: String,
    /// The host's end.
    pub(super) far: String,
    alias: String,
    mark: [u8; 4],
}

impl Names {
    pub(super) fn of(installation: Installation) -> Self {
        let hash = installation.to_string();
        // The hash has twelve digits; a link's name has room for eight.
        let short = hash.get(..8).unwrap_or(&hash);
        let mark = u32::from_str_radix(short, 16).unwrap_or(0);
        Self {
            near: format!("eni-gw-{short}"),
            far: format!("enid{short}"),
            alias: installation.outside_alias(),
            mark: mark.to_be_bytes(),
        }
    }

    /// A link without an alias is of a daemon that was killed between two requests.
    pub(super) fn require_own(&self, link: &Link) -> Result<(), OutsideError> {
        let is_own = match &link.alias {
            Some(alias) => *alias == self.alias,
            None => link.is_veth,
        };
        is_own.then_some(()).ok_or_else(|| OutsideError::Foreign {
            name: link.name.clone(),
        })
    }

    /// The pair, if it is there; what is there of half a pair is removed.
    pub(super) fn find(&self, netlink: &mut Netlink) -> Result<Option<(Link, Link)>, OutsideError> {
        let near = netlink.link(&self.near)?;
        let far = netlink.link(&self.far)?;
        for link in near.iter().chain(&far) {
            self.require_own(link)?;
        }
        match (near, far) {
            (Some(near), Some(far)) if near.alias.is_some() && far.alias.is_some() => {
                Ok(Some((near, far)))
            }
            (near, far) => {
                for link in near.iter().chain(&far) {
                    ignoring_missing(netlink.delete_link(link.index))?;
                }
                Ok(None)
            }
        }
    }

    pub(super) fn make(&self, netlink: &mut Netlink) -> Result<(Link, Link), OutsideError> {
        let [a, b, c, d] = self.mark;
        netlink.create_veth(VethPair {
            name: &self.near,
            mac: Mac([2, a, b, c, d, 1]),
            peer_name: &self.far,
            peer_mac: Mac([2, a, b, c, d, 2]),
            peer_namespace: None,
            mtu: MTU,
        })?;
        let mut find = |name: &str| {
            let link = netlink.link(name)?;
            link.ok_or_else(|| OutsideError::Missing {
                name: name.to_owned(),
            })
        };
        let (near, far) = (find(&self.near)?, find(&self.far)?);
        for link in [&near, &far] {
            netlink.set_no_ipv6_autoconfiguration(link.index)?;
            netlink.set_noarp(link.index)?;
        }
        set_switches(&self.near, &[("ipv6", "disable_ipv6", "1")])?;
        // Last, as the sign that all of the above is done.
        for link in [&near, &far] {
            netlink.set_alias(link.index, &self.alias)?;
        }
        Ok((near, far))
    }
}

/// Makes the host's end an end, whether it is new or not, and switches it on.
pub(super) fn end_at_host(
    netlink: &mut Netlink,
    names: &Names,
    far: &Link,
) -> Result<(), OutsideError> {
    set_switches(&names.far, &FAR_SWITCHES)?;
    let families: &[Family] = if has_ipv6() {
        &[Family::Ipv4, Family::Ipv6]
    } else {
        &[Family::Ipv4]
    };
    let present = netlink.dead_ends(&names.far)?;
    for family in families.iter().filter(|it| !present.contains(it)) {
        netlink.add_dead_end(&names.far, *family)?;
    }
    Ok(netlink.set_up(far.index)?)
}

/// Whether this kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf").exists()
}

fn set_switches(link: &str, switches: &[(&str, &str, &str)]) -> Result<(), OutsideError> {
    for (family, name, value) in switches {
        let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{link}/{name}"));
        match fs::write(&path, value) {
            // What this kernel has no switch for is not on.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(|source| OutsideError::Sysctl { path, source })?,
        }
    }
    Ok(())
}

/// The largest packet on the internet's side of an internet gateway (EC2 user guide, "Network maximum
/// transmission unit").
const MTU: u32 = 1500;

/// The host's end as an end: no forwarding, no redirects, and only sources that are behind it.
const FAR_SWITCHES: [(&str, &str, &str); 8] = [
    ("ipv4", "forwarding", "0"),
    ("ipv4", "rp_filter", "1"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv4", "send_redirects", "0"),
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "forwarding", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "accept_redirects", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_tell_installations_apart() {
        let names = Names::of("0123456789ab".parse().unwrap());
        assert_eq!(
            (names.near.as_str(), names.far.as_str()),
            ("eni-gw-01234567", "enid01234567")
        );
        assert!(names.near.len() < libc::IFNAMSIZ);
        let others = Names::of("0123456889ab".parse().unwrap());
        assert_ne!(names.far, others.far);
    }
}
