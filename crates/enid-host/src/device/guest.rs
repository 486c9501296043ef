//! What a device needs in a namespace that is not Enid's: settings of its own, and nothing left behind.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::addressing::table_of_name;
use super::{DeviceError, EniDevice, ignoring};
use crate::netlink::{Netlink, NetlinkError, OpenInError};
use crate::netns::NetNs;

impl EniDevice {
    /// Makes the device in a namespace behave as an instance's interface does, whatever else is there.
    /// What is set goes with the device.
    pub fn settle_in(&self, namespace: &NetNs) -> Result<(), DeviceError> {
        let name = self.instance_name();
        let has_ipv6 = self.ipv6_subnet.is_some();
        let set = || -> io::Result<()> {
            for (family, setting, value) in SETTINGS {
                if family == "ipv6" && !has_ipv6 {
                    continue;
                }
                let path = format!("/proc/sys/net/{family}/conf/{name}/{setting}");
                match fs::write(path, value) {
                    // A kernel without IPv6 has nothing to set.
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            Ok(())
        };
        let done = namespace.run(set).map_err(|e| DeviceError::NetNs {
            eni: self.eni,
            source: e.into(),
        })?;
        done.map_err(|source| DeviceError::Sysctl {
            name: self.instance_name(),
            source,
        })
    }

    /// Removes the rules of devices that had these names in a namespace.
    pub fn forget_rules_of(
        namespace: &NetNs,
        names: impl Iterator<Item = String>,
    ) -> Result<(), OpenInError> {
        let mut instance = Netlink::open_in(namespace)?;
        let tables: BTreeSet<u32> = names
            .filter_map(|name| table_of_name(&name))
            .map(|table| table.0)
            .collect();
        for (source, table) in instance.rule_sources()? {
            if tables.contains(&table.0) {
                ignoring(
                    instance.remove_rule(source, table),
                    NetlinkError::is_missing,
                )?;
            }
        }
        Ok(())
    }

    /// Removes the rules of the device's addresses. Addresses and routes go with the device itself.
    pub fn forget_rules(&self, namespace: &NetNs) -> Result<(), DeviceError> {
        let mut instance = Netlink::open_in(namespace).map_err(|source| DeviceError::NetNs {
            eni: self.eni,
            source,
        })?;
        for address in self.all_addresses() {
            if let Some(table) = self.table_of(address) {
                ignoring(
                    instance.remove_rule(address, table),
                    NetlinkError::is_missing,
                )
                .map_err(|e| self.refused(e))?;
            }
        }
        Ok(())
    }
}

/// As in the namespace of a sandbox, but for one link: each of several in one subnet answers ARP for its
/// own addresses only and asks with its own; sources are checked by the datapath; addresses and routes of
/// IPv6 come from Enid alone.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("ipv4", "arp_announce", "2"),
    ("ipv4", "arp_ignore", "1"),
    ("ipv4", "rp_filter", "0"),
    ("ipv6", "disable_ipv6", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "accept_redirects", "0"),
    ("ipv6", "dad_transmits", "0"),
];
