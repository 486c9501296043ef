//! What a device is in its instance: addresses, routes and tables, as values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use enid_pipeline::table::ROUTER_LINK_LOCAL;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::EniDevice;
use crate::netlink::{Route, RouteTable};

impl EniDevice {
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

    /// The primary address stands for its subnet, the one on the link for the link; every other one is
    /// just an address more.
    pub(crate) fn prefixed(&self, address: IpAddr) -> IpNet {
        let len = match address {
            IpAddr::V4(address) if address == self.primary => self.subnet.prefix_len(),
            IpAddr::V6(address) if address == self.link_local() => LINK_LOCAL.prefix_len(),
            _ => return IpNet::from(address),
        };
        // Unwrap: the prefix length comes from a network of the family.
        IpNet::new(address, len).unwrap()
    }

    /// The table that packets from an address use. A link-local one says the link itself.
    pub(super) fn table_of(&self, address: IpAddr) -> Option<RouteTable> {
        self.table().filter(|_| address != self.link_local())
    }

    /// The device's own table. The first device has none, so that what people do to the main
    /// table of an instance works for its primary addresses
    /// (<https://github.com/amazonlinux/amazon-ec2-net-utils/issues/97>).
    fn table(&self) -> Option<RouteTable> {
        table_of_rank(self.rank())
    }

    /// Which of the devices in its namespace it is: the number of its device, or the one that its name
    /// ends with where the namespace is not its instance's alone.
    fn rank(&self) -> u32 {
        match &self.name {
            Some(name) => rank_of_name(name),
            None => self.number().into(),
        }
    }

    pub(super) fn routes(&self, index: u32) -> Vec<Route> {
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

    pub(super) fn ipv6_routes(&self, index: u32, subnet: Ipv6Net) -> Vec<Route> {
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
        FIRST_METRIC + self.rank()
    }

    fn in_own_table_too(&self, main: [Route; 2]) -> Vec<Route> {
        let own = self.table().into_iter();
        let own = own.flat_map(|table| main.map(|route| Route { table, ..route }));
        main.into_iter().chain(own).collect()
    }
}

/// The table of a device that has this name in an adopted namespace, if it has one of its own.
pub(super) fn table_of_name(name: &str) -> Option<RouteTable> {
    table_of_rank(rank_of_name(name))
}

fn table_of_rank(rank: u32) -> Option<RouteTable> {
    (rank > 0).then(|| RouteTable(FIRST_TABLE + rank))
}

fn rank_of_name(name: &str) -> u32 {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    name[stem.len()..].parse().unwrap_or(0).min(LAST_RANK)
}

/// The addresses that count on one link only, as the kernel gives them out.
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64);

/// The table of the device of rank `n` is this plus `n`, and so is the priority of its rules.
const FIRST_TABLE: u32 = 10_000;

/// Names that end with higher numbers than this have the tables and metrics of this one.
const LAST_RANK: u32 = 9_999;

/// The metric of its routes in the main table is this plus `n`.
const FIRST_METRIC: u32 = 512;

#[cfg(test)]
mod tests {
    use enid_model::id::EniId;
    use enid_model::network_interface::Mac;

    use super::*;

    fn device(device_index: u8) -> EniDevice {
        EniDevice {
            eni: EniId(0x0123_4567_89ab_cdef),
            network_card_index: 0,
            device_index,
            name: None,
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
    fn only_further_devices_have_a_table() {
        assert_eq!(device(0).routes(2).len(), 2);
        let routes = device(1).routes(3);
        assert_eq!(routes.len(), 4);
        assert_eq!(routes[3].table, RouteTable(10_001));
        assert_eq!(routes[3].gateway, Some(Ipv4Addr::new(10, 0, 1, 1).into()));
        // The same index on another card is another device.
        let beside = EniDevice {
            network_card_index: 1,
            ..device(1)
        };
        assert_eq!(beside.instance_name(), "eth257");
        assert_eq!(beside.routes(4)[3].table, RouteTable(10_257));
    }

    #[test]
    fn devices_of_several_instances_in_one_namespace_keep_apart() {
        let named = |name: &str, device_index| EniDevice {
            name: Some(name.to_owned()),
            ..device(device_index)
        };
        assert_eq!(named("eth0", 0).routes(2).len(), 2);
        let second = named("net1", 0).routes(3);
        assert_eq!(second.len(), 4);
        assert_ne!(second[0].metric, named("eth0", 0).routes(2)[0].metric);
        assert_eq!(table_of_name("net1"), Some(RouteTable(10_001)));
        assert_eq!(table_of_name("uplink"), None);
        assert_eq!(table_of_name("a99999999999"), None);
        assert_eq!(table_of_name("a12345"), Some(RouteTable(19_999)));
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
