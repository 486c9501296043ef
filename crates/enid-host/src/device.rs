//! The device of an ENI: a pair of links, one on the host and one in its instance.
//!
//! The host side is what the datapath's programs are attached to; it has no address and speaks no
//! protocol. The instance side looks as on an instance that amazon-ec2-net-utils has set up: the
//! subnet and the default route in the main table, with a metric that prefers `eth0`, and for each
//! further ENI a table of its own that packets from its addresses use. In a subnet with IPv6 it has a
//! link-local address too, and its default route leads to the router's. Delegated prefixes are the
//! instance's own matter.
//!
//! The guest of a virtual machine monitor has a tap in place of the pair, and does all that itself.
//!
//! A device is made switched off. Whoever makes it loads its policy first and switches it on with
//! [`EniDevice::up`]: no packet passes a device that has no policy.

mod addressing;
mod guest;
mod tap;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_model::id::EniId;
use enid_model::network_interface::{Mac, device_number};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Installation;
use crate::netlink::{Netlink, NetlinkError, OpenInError, VethPair};
use crate::netns::NetNs;

/// An ENI as its instance sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniDevice {
    /// The ENI.
    pub eni: EniId,
    /// The network card of its attachment.
    pub network_card_index: u8,
    /// The device index of its attachment.
    pub device_index: u8,
    /// Its name in the instance, if it is another than `eth` and its number.
    pub name: Option<String>,
    /// Its hardware address.
    pub mac: Mac,
    /// The hardware address of its subnet's router, which the host side takes.
    pub router_mac: Mac,
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Its secondary addresses.
    pub secondaries: Vec<Ipv4Addr>,
    /// Its subnet's IPv6 block, if it has one.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// Its IPv6 addresses.
    pub ipv6_addresses: Vec<Ipv6Addr>,
}

/// The links of a device, as the kernel numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceLinks {
    /// The index of the host side, in the host's namespace.
    pub host: u32,
    /// The index of the instance side, in the instance's namespace.
    pub instance: u32,
}

/// Why a device cannot be made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name of the host side is taken by a link that is not this ENI's.
    #[error("link {name} exists and belongs to something else")]
    Foreign {
        /// The link's name.
        name: String,
    },
    /// A link that should be there is not.
    #[error("link {name} does not exist")]
    Missing {
        /// The link's name.
        name: String,
    },
    /// The kernel refused a request.
    #[error("set up device of {eni}")]
    Netlink {
        /// The device's ENI.
        eni: EniId,
        /// The request.
        source: NetlinkError,
    },
    /// The instance's namespace cannot be used.
    #[error("reach the namespace of {eni}'s instance")]
    NetNs {
        /// The device's ENI.
        eni: EniId,
        /// What failed.
        source: OpenInError,
    },
    /// A tap cannot be made or given to somebody.
    #[error("set up tap {name}")]
    Tap {
        /// The link's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// IPv6 cannot be switched off on the host side, or advertisements on the other.
    #[error("set what link {name} does of itself by IPv6")]
    Sysctl {
        /// The link's name.
        name: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl EniDevice {
    /// The name of the host side of an ENI's device.
    #[must_use]
    pub fn host_name_of(eni: EniId) -> String {
        let digits = format!("{:017x}", eni.0);
        format!("eni{}", &digits[..12])
    }

    /// The name of the device's host side.
    #[must_use]
    pub fn host_name(&self) -> String {
        Self::host_name_of(self.eni)
    }

    /// Its number in its instance.
    #[must_use]
    pub fn number(&self) -> u16 {
        device_number(self.network_card_index, self.device_index)
    }

    /// The name of the device in its instance.
    #[must_use]
    pub fn instance_name(&self) -> String {
        let usual = || format!("eth{}", self.number());
        self.name.clone().unwrap_or_else(usual)
    }

    /// Makes the device, with its addresses, switched off.
    ///
    /// What is left of an earlier device of the same ENI is replaced.
    pub fn create(
        &self,
        installation: Installation,
        namespace: &NetNs,
    ) -> Result<DeviceLinks, DeviceError> {
        let name = self.host_name();
        let mut host = Netlink::open().map_err(|e| self.refused(e))?;
        remove_link(&mut host, installation, self.eni)?;
        let pair = VethPair {
            name: &name,
            mac: self.router_mac,
            peer_name: &self.instance_name(),
            peer_mac: self.mac,
            peer_namespace: Some(namespace),
            mtu: MTU,
        };
        host.create_veth(pair).map_err(|e| self.refused(e))?;
        let made = self.configure(installation, namespace, &mut host);
        if made.is_err() {
            // The first failure is the one to report; what is left is replaced by the next try.
            let _ = remove_link(&mut host, installation, self.eni);
        }
        made
    }

    /// Switches the device on, and adds its routes.
    ///
    /// The host's end is named by its number: under its name there may be another device by now, one
    /// that has no programs yet.
    pub fn up(&self, namespace: &NetNs, host_index: u32) -> Result<(), DeviceError> {
        let mut host = Netlink::open().map_err(|e| self.refused(e))?;
        let (mut instance, index) = self.instance_side(namespace)?;
        // The instance's end last: the kernel lets an end that goes up beside one that is up send at
        // once, and the other one later. The host's end never sends by itself.
        host.set_up(host_index).map_err(|e| self.refused(e))?;
        instance.set_up(index).map_err(|e| self.refused(e))?;
        for route in self.routes(index) {
            instance.add_route(route).map_err(|e| self.refused(e))?;
        }
        Ok(())
    }

    /// Has everything that comes to the device delivered, whatever address it is for.
    pub fn deliver_all(&self, namespace: &NetNs) -> Result<(), DeviceError> {
        let (mut instance, index) = self.instance_side(namespace)?;
        let delivered = instance.deliver_all(&self.instance_name(), index);
        delivered.map_err(|e| self.refused(e))
    }

    /// Switches the device off.
    pub fn down(&self) -> Result<(), DeviceError> {
        let mut host = Netlink::open().map_err(|e| self.refused(e))?;
        let index = index_of(&mut host, &self.host_name()).map_err(|e| self.or_refused(e))?;
        host.set_down(index).map_err(|e| self.refused(e))
    }

    /// Gives the device in its instance a further address.
    pub fn assign(&self, namespace: &NetNs, address: IpAddr) -> Result<(), DeviceError> {
        let (mut instance, index) = self.instance_side(namespace)?;
        self.add_address(&mut instance, index, address)
            .map_err(|e| self.refused(e))
    }

    /// Takes an address other than the primary one from the device in its instance.
    pub fn unassign(&self, namespace: &NetNs, address: IpAddr) -> Result<(), DeviceError> {
        let (mut instance, index) = self.instance_side(namespace)?;
        let net = self.prefixed(address);
        // Whoever is root in the instance may have been faster.
        ignoring(
            instance.remove_address(index, net),
            NetlinkError::is_missing,
        )
        .map_err(|e| self.refused(e))?;
        let Some(table) = self.table_of(address) else {
            return Ok(());
        };
        ignoring(
            instance.remove_rule(address, table),
            NetlinkError::is_missing,
        )
        .map_err(|e| self.refused(e))
    }

    /// Gives the device that is switched on in its instance the IPv6 routes of its subnet, in place of
    /// those of another block, or of none.
    pub fn reroute(&self, namespace: &NetNs, before: Option<Ipv6Net>) -> Result<(), DeviceError> {
        let (mut instance, index) = self.instance_side(namespace)?;
        for route in before
            .into_iter()
            .flat_map(|net| self.ipv6_routes(index, net))
        {
            ignoring(instance.remove_route(route), NetlinkError::is_missing)
                .map_err(|e| self.refused(e))?;
        }
        let wanted = self.ipv6_subnet.into_iter();
        for route in wanted.flat_map(|net| self.ipv6_routes(index, net)) {
            instance.add_route(route).map_err(|e| self.refused(e))?;
        }
        Ok(())
    }

    /// The addresses that the device has in its instance.
    pub fn addresses(&self, namespace: &NetNs) -> Result<Vec<IpAddr>, DeviceError> {
        let (mut instance, index) = self.instance_side(namespace)?;
        let addresses = instance.addresses(index).map_err(|e| self.refused(e))?;
        Ok(addresses.iter().map(IpNet::addr).collect())
    }

    /// Removes the device of an ENI, from the host and from its instance.
    ///
    /// A device that is not there is no error.
    pub fn delete(installation: Installation, eni: EniId) -> Result<(), DeviceError> {
        let mut host = Netlink::open().map_err(|source| DeviceError::Netlink { eni, source })?;
        remove_link(&mut host, installation, eni)
    }

    /// The numbers of the host-side links that this installation made, with the ENIs that they are of.
    pub fn list(installation: Installation) -> Result<Vec<(EniId, u32)>, NetlinkError> {
        let links = Netlink::open()?.links()?;
        let owned = links.iter().filter_map(|link| {
            let eni = installation.owned(link.alias.as_deref()?)?;
            Some((eni.parse().ok()?, link.number()))
        });
        Ok(owned.collect())
    }

    fn configure(
        &self,
        installation: Installation,
        namespace: &NetNs,
        host: &mut Netlink,
    ) -> Result<DeviceLinks, DeviceError> {
        let name = self.host_name();
        let host_index = index_of(host, &name).map_err(|e| self.or_refused(e))?;
        host.set_alias(host_index, &installation.eni_alias(self.eni))
            .map_err(|e| self.refused(e))?;
        disable_ipv6(&name)?;
        let (mut instance, index) = self.instance_side(namespace)?;
        instance
            .set_no_ipv6_autoconfiguration(index)
            .map_err(|e| self.refused(e))?;
        self.ignore_advertisements(namespace)?;
        if self.name.is_some() {
            // Before there are addresses: where IPv6 is off, none is taken.
            self.settle_in(namespace)?;
        }
        let mut names = vec![self.eni.to_string()];
        // Several instances may be in one adopted namespace, each with a first device.
        if self.name.is_none() {
            let (card, index) = (self.network_card_index, self.device_index);
            names.push(format!("device-number-{index}.{card}"));
        }
        instance
            .add_names(index, names)
            .map_err(|e| self.refused(e))?;
        for address in self.all_addresses() {
            self.add_address(&mut instance, index, address)
                .map_err(|e| self.refused(e))?;
        }
        Ok(DeviceLinks {
            host: host_index,
            instance: index,
        })
    }

    /// Routes are given with the addresses: those that the router advertises are for guests that are
    /// configured by themselves.
    fn ignore_advertisements(&self, namespace: &NetNs) -> Result<(), DeviceError> {
        let name = self.instance_name();
        let switch = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
        let written = namespace.run(|| fs::write(switch, "0\n"));
        let written = written.map_err(|error| DeviceError::NetNs {
            eni: self.eni,
            source: error.into(),
        })?;
        match written {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DeviceError::Sysctl {
                name,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    fn add_address(
        &self,
        instance: &mut Netlink,
        index: u32,
        address: IpAddr,
    ) -> Result<(), NetlinkError> {
        let net = self.prefixed(address);
        ignoring(instance.add_address(index, net), NetlinkError::is_existing)?;
        match self.table_of(address) {
            Some(table) => ignoring(instance.add_rule(address, table), NetlinkError::is_existing),
            None => Ok(()),
        }
    }

    fn instance_side(&self, namespace: &NetNs) -> Result<(Netlink, u32), DeviceError> {
        let mut instance = Netlink::open_in(namespace).map_err(|source| DeviceError::NetNs {
            eni: self.eni,
            source,
        })?;
        let index =
            index_of(&mut instance, &self.instance_name()).map_err(|e| self.or_refused(e))?;
        Ok((instance, index))
    }

    fn refused(&self, source: NetlinkError) -> DeviceError {
        DeviceError::Netlink {
            eni: self.eni,
            source,
        }
    }

    fn or_refused(&self, error: IndexError) -> DeviceError {
        match error {
            IndexError::Missing(name) => DeviceError::Missing { name },
            IndexError::Netlink(source) => self.refused(source),
        }
    }
}

enum IndexError {
    Missing(String),
    Netlink(NetlinkError),
}

fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32, IndexError> {
    netlink
        .link_index(name)
        .map_err(IndexError::Netlink)?
        .ok_or_else(|| IndexError::Missing(name.to_owned()))
}

/// Removes the host-side link of an ENI if it is there and carries the ENI's mark.
fn remove_link(
    host: &mut Netlink,
    installation: Installation,
    eni: EniId,
) -> Result<(), DeviceError> {
    let refused = |source| DeviceError::Netlink { eni, source };
    let name = EniDevice::host_name_of(eni);
    let Some(link) = host.link(&name).map_err(refused)? else {
        return Ok(());
    };
    // A pair without an alias under this name is one whose maker was killed between two requests.
    let owned = match &link.alias {
        Some(alias) => *alias == installation.eni_alias(eni),
        None => link.is_veth || link.is_tap,
    };
    if !owned {
        return Err(DeviceError::Foreign { name });
    }
    ignoring(host.delete_link(link.index), NetlinkError::is_missing).map_err(refused)
}

/// Keeps the host's own stack from sending neighbour and multicast messages into the device.
fn disable_ipv6(name: &str) -> Result<(), DeviceError> {
    match fs::write(
        format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"),
        "1\n",
    ) {
        // A kernel without IPv6 has nothing to disable.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(|source| DeviceError::Sysctl {
            name: name.to_owned(),
            source,
        }),
    }
}

fn ignoring(
    result: Result<(), NetlinkError>,
    harmless: fn(&NetlinkError) -> bool,
) -> Result<(), NetlinkError> {
    match result {
        Err(error) if !harmless(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The largest packet inside a VPC (EC2 user guide, "Network maximum transmission unit").
pub const MTU: u32 = 9001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let name = EniDevice::host_name_of(EniId(0x0123_4567_89ab_cdef));
        assert_eq!(name, "eni00123456789a");
        assert!(name.len() < libc::IFNAMSIZ);
    }
}
