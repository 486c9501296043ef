//! Where the link-local services of a VPC are: a network namespace of their own, at the end of a link.
//!
//! ```text
//!   the datapath                                        namespace without a name
//!   enids<vpc>  programs, no address  ◀────veth────▶  services  169.254.169.254, fd00:ec2::254, …
//! ```
//!
//! Addresses are unique in a VPC, so nothing is translated: the kernel's stack in the namespace sees who
//! asks, and sends its answers into the link. Each VPC has a namespace, so those of others may have the same
//! addresses. The namespace leads nowhere but to interfaces of its VPC: nothing is forwarded, and the
//! program on the host's end lets only answers of services through.
//!
//! Descriptors of the daemon alone keep the namespace. When the daemon ends, however it does, the
//! namespace goes, its end of the link with it, and with that the host's end and what is attached there.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use enid_model::id::{ResourceId as _, VpcId};
use enid_model::network_interface::Mac;
use enid_pipeline::service::{self, NEAR_MAC, SERVICE_MAC};
use ipnet::IpNet;

use super::sockets::{SocketError, Sockets};
use crate::Installation;
use crate::device::MTU;
use crate::netlink::{Netlink, NetlinkError, OpenInError, Route, RouteTable, VethPair};
use crate::netns::{NetNs, NetNsError};

/// The services' place in one VPC.
#[derive(Debug)]
pub struct Site {
    vpc: VpcId,
    namespace: NetNs,
    /// The index of the host's end.
    pub index: u32,
}

/// Why there is no place for services.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The name of the host's end is taken by a link that is not this installation's.
    #[error("link {name} exists and belongs to something else")]
    Foreign {
        /// The link's name.
        name: String,
    },
    /// A link that was made a moment ago is not there.
    #[error("link {name} does not exist")]
    Missing {
        /// The link's name.
        name: String,
    },
    /// The namespace cannot be made or entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// The kernel refused a request.
    #[error("set up the link to services")]
    Netlink(#[from] NetlinkError),
    /// A switch of the kernel cannot be set.
    #[error("set {switch}")]
    Sysctl {
        /// The switch.
        switch: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

impl From<OpenInError> for SiteError {
    fn from(error: OpenInError) -> Self {
        match error {
            OpenInError::NetNs(error) => Self::NetNs(error),
            OpenInError::Netlink(error) => Self::Netlink(error),
        }
    }
}

impl Site {
    /// Makes the namespace and the link, whose host's end stays off until [`Site::connect`]. What is left
    /// of an earlier one of the same VPC is removed.
    pub fn create(
        installation: Installation,
        vpc: VpcId,
        resolver: Ipv4Addr,
    ) -> Result<Self, SiteError> {
        let name = host_name_of(vpc);
        Self::remove_left(installation, vpc, &name)?;
        let namespace = NetNs::unnamed(&format!("of the services of {vpc}"))?;
        let mut host = Netlink::open()?;
        host.create_veth(VethPair {
            name: &name,
            mac: Mac(NEAR_MAC.0),
            peer_name: INNER,
            peer_mac: Mac(SERVICE_MAC.0),
            peer_namespace: Some(&namespace),
            mtu: MTU,
        })?;
        let index = host.link_index(&name)?;
        let index = index.ok_or_else(|| SiteError::Missing { name: name.clone() })?;
        let site = Self {
            vpc,
            namespace,
            index,
        };
        host.set_alias(index, &installation.service_alias(vpc))?;
        set_switch(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
        site.furnish(resolver)?;
        Ok(site)
    }

    /// Opens the sockets that the services are asked at.
    pub fn sockets(&self, resolver: Ipv4Addr) -> Result<Sockets, SiteError> {
        let index = Netlink::open_in(&self.namespace)?.link_index(INNER)?;
        let index = index.ok_or_else(|| SiteError::Missing { name: INNER.into() })?;
        Ok(self.namespace.run(|| Sockets::open(index, resolver))??)
    }

    /// Switches the host's end on: its programs are there, and the tables say whom answers may reach.
    pub fn connect(&self) -> Result<(), SiteError> {
        Ok(Netlink::open()?.set_up(self.index)?)
    }

    /// Whether the host's end is there and switched on.
    pub fn is_up(&self) -> Result<bool, SiteError> {
        let link = Netlink::open()?.link(&host_name_of(self.vpc))?;
        Ok(link.is_some_and(|link| link.is_up && link.index == self.index))
    }

    /// Removes the link with this index on the host's end; the namespace goes with its sockets. That it is
    /// not there is no error.
    pub fn remove(index: u32) -> Result<(), NetlinkError> {
        match Netlink::open()?.delete_link(index) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    /// The VPCs that this installation has links to services of, and the indexes of the links.
    pub fn list(installation: Installation) -> Result<Vec<(VpcId, u32)>, NetlinkError> {
        let links = Netlink::open()?.links()?;
        let owned = links.iter().filter_map(|link| {
            let vpc = installation.owned(link.alias.as_deref()?)?;
            Some((vpc.parse().ok()?, link.index))
        });
        Ok(owned.collect())
    }

    /// Removes what an earlier agent has left under this name.
    fn remove_left(installation: Installation, vpc: VpcId, name: &str) -> Result<(), SiteError> {
        let Some(link) = Netlink::open()?.link(name)? else {
            return Ok(());
        };
        // Without an alias it is of a daemon that was killed between two requests.
        let is_own = match &link.alias {
            Some(alias) => *alias == installation.service_alias(vpc),
            None => link.is_veth,
        };
        if !is_own {
            let name = name.to_owned();
            return Err(SiteError::Foreign { name });
        }
        Ok(Self::remove(link.index)?)
    }

    /// Gives the inner end its addresses and routes, and switches it on. It asks nobody for a MAC address:
    /// the program on the other end knows them.
    fn furnish(&self, resolver: Ipv4Addr) -> Result<(), SiteError> {
        let switches = || -> Result<(), SiteError> {
            set_switch(&format!("ipv6/conf/{INNER}/accept_ra"), "0")?;
            // A new namespace may inherit the host's forwarding; nothing is forwarded here.
            set_switch("ipv4/ip_forward", "0")?;
            if has_ipv6() {
                set_switch("ipv6/conf/all/forwarding", "0")?;
            }
            // The route back leads where a question comes from; whether it may is checked before.
            set_switch("ipv4/conf/all/rp_filter", "0")?;
            set_switch(&format!("ipv4/conf/{INNER}/rp_filter"), "0")
        };
        self.namespace.run(switches)??;
        let mut inner = Netlink::open_in(&self.namespace)?;
        let loopback = inner.link_index("lo")?;
        let index = inner.link_index(INNER)?;
        let (Some(loopback), Some(index)) = (loopback, index) else {
            return Err(SiteError::Missing { name: INNER.into() });
        };
        inner.set_no_ipv6_autoconfiguration(index)?;
        inner.set_noarp(index)?;
        for address in addresses(resolver) {
            inner.add_address(index, IpNet::from(address))?;
        }
        inner.set_up(loopback)?;
        inner.set_up(index)?;
        for everywhere in everywhere() {
            inner.add_route(Route {
                table: RouteTable::MAIN,
                destination: everywhere,
                gateway: None,
                index,
                source: None,
                metric: ROUTE_METRIC,
            })?;
        }
        Ok(())
    }
}

/// The addresses of the services, the VPC's resolver included.
fn addresses(resolver: Ipv4Addr) -> Vec<IpAddr> {
    let ipv4 = [service::METADATA, service::RESOLVER, service::TIME].map(IpAddr::from);
    let ipv6 = [service::METADATA_V6, service::RESOLVER_V6, service::TIME_V6].map(IpAddr::from);
    let ipv6 = ipv6.into_iter().filter(|_| has_ipv6());
    let own = std::iter::once(IpAddr::V4(resolver));
    ipv4.into_iter().chain(own).chain(ipv6).collect()
}

fn everywhere() -> Vec<IpNet> {
    // Unwrap: the length is that of a whole family.
    let whole = |address: IpAddr| IpNet::new(address, 0).unwrap();
    let ipv6 = has_ipv6().then(|| whole(Ipv6Addr::UNSPECIFIED.into()));
    let ipv4 = whole(Ipv4Addr::UNSPECIFIED.into());
    std::iter::once(ipv4).chain(ipv6).collect()
}

/// Whether this kernel has IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf").exists()
}

/// Sets a switch below `/proc/sys/net`, as the calling thread's namespace has it. One that this kernel
/// lacks needs no setting.
fn set_switch(switch: &str, value: &str) -> Result<(), SiteError> {
    match fs::write(Path::new("/proc/sys/net").join(switch), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(|source| SiteError::Sysctl {
            switch: switch.to_owned(),
            source,
        }),
    }
}

/// The name of the host's end: what fits of the VPC's id, which is random.
fn host_name_of(vpc: VpcId) -> String {
    format!("enids{:010x}", vpc.bits() & 0xff_ffff_ffff)
}

/// The name of the other end, in the namespace.
const INNER: &str = "services";

/// Any: there is no other route.
const ROUTE_METRIC: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let name = host_name_of(VpcId(0x0123_4567_89ab_cdef));
        assert_eq!(name, "enids6789abcdef");
        assert!(name.len() < libc::IFNAMSIZ && INNER.len() < libc::IFNAMSIZ);
    }

    #[test]
    fn services_have_all_their_addresses() {
        let resolver = Ipv4Addr::new(10, 0, 0, 2);
        let addresses = addresses(resolver);
        assert!(addresses.contains(&IpAddr::V4(resolver)));
        assert_eq!(addresses.iter().filter(|it| it.is_ipv4()).count(), 4);
    }
}
