//! The device of an ENI: a pair of links, one on the host and one in its instance.
//!
//! The host side is what the datapath's programs are attached to; it has no address and speaks no
//! protocol. The instance side looks as on an instance that amazon-ec2-net-utils has set up: the
//! subnet and the default route in the main table, with a metric that prefers `eth0`, and for each
//! further ENI a table of its own that packets from its addresses use. In a subnet with IPv6 it has a
//! link-local address too, and its default route leads to the router's. Delegated prefixes are the
//! instance's own matter.
//!
//! A device is made switched off. Whoever makes it loads its policy first and switches it on with
//! [`EniDevice::up`]: no packet passes a device that has no policy.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_model::id::EniId;
use enid_model::network_interface::Mac;
use enid_pipeline::table::ROUTER_LINK_LOCAL;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Installation;
use crate::netlink::{Netlink, NetlinkError, OpenInError, Route, RouteTable, VethPair};
use crate::netns::NetNs;

/// An ENI as its instance sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniDevice {
    /// The ENI.
    pub eni: EniId,
    /// The device index of its attachment: its name in the instance is `eth` and this number.
    pub device_index: u8,
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
    /// IPv6 cannot be switched off on the host side.
    #[error("disable IPv6 on link {name}")]
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

    /// The name of the device in its instance.
    #[must_use]
    pub fn instance_name(&self) -> String {
        format!("eth{}", self.device_index)
    }

    /// The address of the subnet's router, which is its first after the network's own.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()).wrapping_add(1))
    }

    /// The address that it has on its link, made from its MAC address (RFC 4291, appendix A).
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.0;
        let word = |high, low| u16::from_be_bytes([high, low]);
        let (first, second) = (word(a ^ 2, b), word(c, 0xff));
        Ipv6Addr::new(0xfe80, 0, 0, 0, first, second, word(0xfe, d), word(e, f))
    }

    /// Every address of the device in its instance, the primary one first. It is on its link by IPv6 if
    /// its subnet is.
    #[must_use]
    pub fn all_addresses(&self) -> Vec<IpAddr> {
        let ipv4 = std::iter::once(&self.primary).chain(&self.secondaries);
        let link_local = self.ipv6_subnet.map(|_| self.link_local());
        let ipv6 = link_local.into_iter().chain(self.ipv6_addresses.clone());
        let ipv4 = ipv4.copied().map(IpAddr::V4);
        ipv4.chain(ipv6.map(IpAddr::V6)).collect()
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

    /// The host-side links that this installation made, with the ENIs that they are of.
    pub fn list(installation: Installation) -> Result<Vec<(EniId, u32)>, NetlinkError> {
        let links = Netlink::open()?.links()?;
        let owned = links.iter().filter_map(|link| {
            let eni = installation.owned(link.alias.as_deref()?)?;
            Some((eni.parse().ok()?, link.index))
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
        let names = vec![
            self.eni.to_string(),
            format!("device-number-{}.0", self.device_index),
        ];
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

    /// The primary address stands for its subnet, the one on the link for the link; every other one is
    /// just an address more.
    fn prefixed(&self, address: IpAddr) -> IpNet {
        let len = match address {
            IpAddr::V4(address) if address == self.primary => self.subnet.prefix_len(),
            IpAddr::V6(address) if address == self.link_local() => LINK_LOCAL.prefix_len(),
            _ => return IpNet::from(address),
        };
        // Unwrap: the prefix length comes from a network of the family.
        IpNet::new(address, len).unwrap()
    }

    /// The table that packets from an address use. A link-local one says the link itself.
    fn table_of(&self, address: IpAddr) -> Option<RouteTable> {
        self.table().filter(|_| address != self.link_local())
    }

    /// The device's own table. The first device has none, so that what people do to the main
    /// table of an instance works for its primary addresses
    /// (<https://github.com/amazonlinux/amazon-ec2-net-utils/issues/97>).
    fn table(&self) -> Option<RouteTable> {
        match self.device_index {
            0 => None,
            index => Some(RouteTable(FIRST_TABLE + u32::from(index))),
        }
    }

    fn routes(&self, index: u32) -> Vec<Route> {
        let subnet = Route {
            table: RouteTable::MAIN,
            destination: IpNet::V4(self.subnet.trunc()),
            gateway: None,
            index,
            source: Some(IpAddr::V4(self.primary)),
            metric: self.metric(),
        };
        let default = Route {
            destination: IpNet::V4(Ipv4Net::default()),
            gateway: Some(IpAddr::V4(self.gateway())),
            ..subnet
        };
        let ipv6 = self.ipv6_subnet.into_iter();
        let mut routes = self.in_own_table_too([subnet, default]);
        routes.extend(ipv6.flat_map(|net| self.ipv6_routes(index, net)));
        routes
    }

    fn ipv6_routes(&self, index: u32, subnet: Ipv6Net) -> Vec<Route> {
        let link = Route {
            table: RouteTable::MAIN,
            destination: IpNet::V6(LINK_LOCAL),
            gateway: None,
            index,
            source: None,
            metric: self.metric(),
        };
        let subnet = Route {
            destination: IpNet::V6(subnet.trunc()),
            ..link
        };
        let default = Route {
            destination: IpNet::V6(Ipv6Net::default()),
            gateway: Some(ROUTER_LINK_LOCAL.into()),
            ..link
        };
        let mut routes = vec![link];
        routes.extend(self.in_own_table_too([subnet, default]));
        routes
    }

    fn metric(&self) -> u32 {
        FIRST_METRIC + u32::from(self.device_index)
    }

    fn in_own_table_too(&self, main: [Route; 2]) -> Vec<Route> {
        let own = self.table().into_iter();
        let own = own.flat_map(|table| main.map(|route| Route { table, ..route }));
        main.into_iter().chain(own).collect()
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
        None => link.is_veth,
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

/// The addresses that count on one link only, as the kernel gives them out.
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

/// The table of device `n` is this plus `n`, and so is the priority of its rules.
const FIRST_TABLE: u32 = 10_000;

/// The metric of device `n`'s routes in the main table is this plus `n`.
const FIRST_METRIC: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn device(device_index: u8) -> EniDevice {
        EniDevice {
            eni: EniId(0x0123_4567_89ab_cdef),
            device_index,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            router_mac: Mac([2, 0, 0, 0, 0, 2]),
            subnet: "10.0.1.0/24".parse().unwrap(),
            primary: Ipv4Addr::new(10, 0, 1, 10),
            secondaries: Vec::new(),
            ipv6_subnet: None,
            ipv6_addresses: Vec::new(),
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(device(0).host_name(), "eni00123456789a");
        assert!(device(0).host_name().len() < libc::IFNAMSIZ);
        assert_eq!(device(3).instance_name(), "eth3");
    }

    #[test]
    fn only_further_devices_have_a_table() {
        assert_eq!(device(0).routes(2).len(), 2);
        let routes = device(1).routes(3);
        assert_eq!(routes.len(), 4);
        assert_eq!(routes[3].table, RouteTable(10_001));
        assert_eq!(routes[3].gateway, Some(Ipv4Addr::new(10, 0, 1, 1).into()));
    }

    #[test]
    fn a_secondary_address_is_no_subnet() {
        let device = device(0);
        assert_eq!(device.prefixed(device.primary.into()).prefix_len(), 24);
        assert_eq!(
            device
                .prefixed(Ipv4Addr::new(10, 0, 1, 11).into())
                .prefix_len(),
            32
        );
    }

    #[test]
    fn only_a_subnet_with_ipv6_gives_addresses_and_routes_of_it() {
        let mut device = device(1);
        device.ipv6_addresses = vec!["2001:db8::5".parse().unwrap()];
        device.ipv6_subnet = Some("2001:db8::/64".parse().unwrap());
        let link_local: IpAddr = "fe80::ff:fe00:1".parse().unwrap();
        let own: IpAddr = "2001:db8::5".parse().unwrap();
        assert_eq!(device.all_addresses()[1..], [link_local, own]);
        assert_eq!(device.prefixed(link_local).prefix_len(), 64);
        assert_eq!(device.prefixed(own).prefix_len(), 128);
        assert_eq!(device.table_of(link_local), None);
        assert_eq!(device.table_of(own), Some(RouteTable(10_001)));
        // Four of IPv4, the link, and subnet and default in both tables.
        assert_eq!(device.routes(3).len(), 9);
        device.ipv6_subnet = None;
        assert_eq!(device.routes(3).len(), 4);
        assert!(!device.all_addresses().contains(&link_local));
    }
}
