//! The network namespace of a sandbox, apart from the devices of ENIs in it.

use std::fs;
use std::path::Path;

use super::{Sandbox, SandboxError};
use crate::installation::Installation;
use crate::netlink::{Netlink, NetlinkError, OpenInError};
use crate::netns::NetNs;

impl Sandbox {
    /// Marks the namespace, brings the loopback link up, and makes several links in one subnet
    /// behave as an instance's interfaces do.
    pub(super) fn set_up_network(&self, namespace: &NetNs) -> Result<(), SandboxError> {
        let mark = self.installation.instance_alias(self.instance);
        namespace
            .run(|| -> Result<(), NetlinkError> {
                for (name, value) in SYSCTLS {
                    // What this kernel has no switch for is not on.
                    let _ = fs::write(Path::new("/proc/sys/net").join(name), value);
                }
                let mut netlink = Netlink::open()?;
                netlink.set_alias(LOOPBACK, &mark)?;
                netlink.set_up(LOOPBACK)
            })?
            .map_err(|e| self.netlink_error(e))
    }

    /// A namespace of the instance's name, unless it has another daemon's mark. One without any is
    /// of a daemon that ended between making and marking it.
    ///
    /// Limit: root in an instance can put another daemon's mark there; its own namespace is then left
    /// behind when it is terminated.
    pub(super) fn require_own(&self, namespace: NetNs) -> Result<NetNs, SandboxError> {
        let mut netlink = self.open_netlink(&namespace)?;
        let loopback = netlink.link("lo").map_err(|e| self.netlink_error(e))?;
        let alias = loopback.and_then(|link| link.alias).unwrap_or_default();
        match Installation::owner_of(&alias) {
            Some(other) if other != self.installation => Err(SandboxError::Foreign {
                instance: self.instance,
            }),
            _ => Ok(namespace),
        }
    }

    fn open_netlink(&self, namespace: &NetNs) -> Result<Netlink, SandboxError> {
        match Netlink::open_in(namespace) {
            Ok(netlink) => Ok(netlink),
            Err(OpenInError::NetNs(e)) => Err(e.into()),
            Err(OpenInError::Netlink(e)) => Err(self.netlink_error(e)),
        }
    }

    /// Removes the namespace and its links, if they are this daemon's. The links first: the kernel empties a namespace that
    /// nobody uses in its own time, and until then the host sides would block a new start.
    pub(super) fn remove_network(&self) -> Result<(), SandboxError> {
        let name = self.instance.to_string();
        if let Ok(namespace) = NetNs::open(&name) {
            let namespace = match self.require_own(namespace) {
                Err(SandboxError::Foreign { .. }) => return Ok(()),
                namespace => namespace?,
            };
            let mut netlink = self.open_netlink(&namespace)?;
            let links = netlink.links().map_err(|e| self.netlink_error(e))?;
            for link in links.iter().filter(|link| link.is_veth) {
                match netlink.delete_link(link.index) {
                    Err(e) if !e.is_missing() => return Err(self.netlink_error(e)),
                    _ => {}
                }
            }
        }
        Ok(NetNs::delete(&name)?)
    }
}

/// The loopback link is the first of every namespace.
const LOOPBACK: u32 = 1;

/// With two interfaces in one subnet, each answers ARP for its own addresses only and asks with its
/// own. Sources are checked by the datapath, which knows better than the return path. IPv6 is on
/// whatever the host's defaults are, and its addresses and routes come from Enid alone.
const SYSCTLS: [(&str, &str); 11] = [
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/arp_announce", "2"),
    ("ipv4/conf/default/arp_ignore", "1"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/default/dad_transmits", "0"),
];
