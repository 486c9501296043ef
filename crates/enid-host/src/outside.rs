//! The outside: the device by which the host's own stack plays the internet.
//!
//! ```text
//!   the host's stack                                     the datapath
//!   enid<hash>  198.18.0.1/19, 2001:db8::1/40  ◀─veth─▶  eni-gw-<hash>   programs, no address
//! ```
//!
//! What the datapath sends out of `eni-gw-…` the host receives by `enid…`; what the host sends to an
//! address of the pools comes to the program on `eni-gw-…`. The pools are this installation's alone: a
//! route in the main table claims each, and the kernel gives one destination to one of them. A daemon
//! that was given no pool takes a slice of the default one and keeps it in its data directory.
//!
//! Nothing that an instance sends gets further than this host: a routing rule ends whatever came in by
//! `enid…` and is not for one of the host's own addresses, also on a host that forwards otherwise. The
//! per-device switch says the same once more, for IPv4; a host that switches forwarding on later
//! overrides that one.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use enid_model::network_interface::Mac;
use enid_pipeline::bytes;
use enid_pipeline::table::Outside;
use enid_plan::PublicPools;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::Installation;
use crate::netlink::{Family, Link, Netlink, NetlinkError, Route, RouteTable, VethPair};

/// Which pools an installation may take, by preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of each of these it may take the whole.
    pub ipv4: Vec<Ipv4Net>,
    /// Likewise.
    pub ipv6: Vec<Ipv6Net>,
}

impl Wanted {
    /// One slice of each of two blocks that several installations share. A block that is no larger than
    /// a slice is one slice.
    #[must_use]
    pub fn slices_of(ipv4: Ipv4Net, ipv6: Ipv6Net) -> Self {
        // A length that is no prefix length, or shorter than the block's, leaves the block as it is.
        let ipv4_slices = ipv4.subnets(SLICE_V4).map(Vec::from_iter);
        let ipv6_slices = ipv6.subnets(SLICE_V6).map(Vec::from_iter);
        Self {
            ipv4: ipv4_slices.unwrap_or_else(|_| vec![ipv4]),
            ipv6: ipv6_slices.unwrap_or_else(|_| vec![ipv6]),
        }
    }
}

/// A slice of the IPv4 pool: sixteen of them in the default one.
const SLICE_V4: u8 = 19;
/// A slice of the IPv6 pool.
const SLICE_V6: u8 = 40;

/// The way to the outside of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    installation: Installation,
    /// The pools that it has.
    pub pools: PublicPools,
    /// What the programs have to know of it.
    pub outside: Outside,
}

/// Why there is no way to the outside.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// A name is taken by a link that is not this installation's.
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
    /// The kernel refused a request.
    #[error("set up the way to the outside")]
    Netlink(#[from] NetlinkError),
    /// Which pool was taken cannot be kept or read.
    #[error("{action} {}", path.display())]
    Kept {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// A switch of the kernel cannot be set.
    #[error("set {}", path.display())]
    Sysctl {
        /// The switch.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Others have routes to every pool that this installation may take.
    #[error(
        "no pool of public addresses is free on this host: others have routes to {}",
        names(pools)
    )]
    Taken {
        /// The pools.
        pools: Vec<IpNet>,
    },
}

fn names(pools: &[IpNet]) -> String {
    let names: Vec<String> = pools.iter().map(IpNet::to_string).collect();
    names.join(", ")
}

/// What an installation keeps of its choice.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
}

impl Gateway {
    /// Adopts the device pair of this installation, or makes it, and claims pools for it. The pools that
    /// it had before are taken again, if it may still take them: addresses of its instances are in them.
    ///
    /// The datapath's end stays off until [`Gateway::connect`].
    pub fn establish(
        installation: Installation,
        data_dir: &Path,
        wanted: &Wanted,
    ) -> Result<Self, OutsideError> {
        let mut wanted = wanted.clone();
        if let Some(kept) = read_kept(data_dir)? {
            // What it had is the only choice: another one would change addresses that are in use.
            if wanted.ipv4.contains(&kept.ipv4) {
                wanted.ipv4 = vec![kept.ipv4];
            }
            if wanted.ipv6.contains(&kept.ipv6) {
                wanted.ipv6 = vec![kept.ipv6];
            }
        }
        let mut netlink = Netlink::open()?;
        let names = Names::of(installation);
        let found = names.find(&mut netlink)?;
        let is_new = found.is_none();
        let (near, far) = match found {
            Some(pair) => pair,
            None => names.make(&mut netlink)?,
        };
        let pools = match set_up(&mut netlink, &names, &far, &wanted) {
            Ok(pools) => pools,
            Err(error) => {
                if is_new {
                    // The first failure is the one to report; what is left is replaced by the next try.
                    let _ = Self::remove(installation);
                }
                return Err(error);
            }
        };
        keep(data_dir, pools)?;
        let mac = |link: &Link| bytes::Mac(link.mac.map_or([0; 6], |mac| mac.0));
        let outside = Outside {
            ifindex: near.index,
            far_mac: mac(&far),
            near_mac: mac(&near),
        };
        Ok(Self {
            installation,
            pools,
            outside,
        })
    }

    /// Switches the datapath's end on: its program is there.
    pub fn connect(&self) -> Result<(), OutsideError> {
        Ok(Netlink::open()?.set_up(self.outside.ifindex)?)
    }

    /// Removes the devices of an installation, and what goes with them. That they are not there is no
    /// error.
    pub fn remove(installation: Installation) -> Result<(), OutsideError> {
        let mut netlink = Netlink::open()?;
        let names = Names::of(installation);
        let mut outcome = Ok(());
        for name in [&names.near, &names.far] {
            if let Some(link) = netlink.link(name)? {
                names.require_own(&link)?;
                let gone = ignoring_missing(netlink.delete_link(link.index));
                outcome = outcome.and(gone);
            }
        }
        for family in netlink.dead_ends(&names.far)? {
            let gone = ignoring_missing(netlink.remove_dead_end(&names.far, family));
            outcome = outcome.and(gone);
        }
        Ok(outcome?)
    }

    /// How the kernel differs from what this was made as, in words.
    pub fn verify(&self) -> Result<Vec<String>, OutsideError> {
        let mut netlink = Netlink::open()?;
        let names = Names::of(self.installation);
        let mut differences = Vec::new();
        let near = netlink.link(&names.near)?;
        if near.is_none_or(|near| near.index != self.outside.ifindex || !near.is_up) {
            differences.push(format!("{} is not there, or switched off", names.near));
        }
        let Some(far) = netlink.link(&names.far)?.filter(|far| far.is_up) else {
            differences.push(format!("{} is not there, or switched off", names.far));
            return Ok(differences);
        };
        let addresses = netlink.addresses(far.index)?;
        let routes = netlink.main_routes()?;
        let dead_ends = netlink.dead_ends(&names.far)?;
        for (family, pool, host) in blocks(&self.pools) {
            if !addresses.contains(&host) {
                differences.push(format!("{} has not the address {host}", names.far));
            }
            if !routes.contains(&(pool, far.index)) {
                differences.push(format!("{} has not the route to {pool}", names.far));
            }
            if !dead_ends.contains(&family) {
                let words = "lacks the rule that keeps packets of instances on this host";
                differences.push(format!("{} {words}", names.far));
            }
        }
        Ok(differences)
    }
}

/// The names of the two links of a pair, and their mark.
struct Names {
    near: String,
    far: String,
    alias: String,
    mark: [u8; 4],
}

impl Names {
    fn of(installation: Installation) -> Self {
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
    fn require_own(&self, link: &Link) -> Result<(), OutsideError> {
        let is_own = match &link.alias {
            Some(alias) => *alias == self.alias,
            None => link.is_veth,
        };
        is_own.then_some(()).ok_or_else(|| OutsideError::Foreign {
            name: link.name.clone(),
        })
    }

    /// The pair, if it is there; what is there of half a pair is removed.
    fn find(&self, netlink: &mut Netlink) -> Result<Option<(Link, Link)>, OutsideError> {
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

    fn make(&self, netlink: &mut Netlink) -> Result<(Link, Link), OutsideError> {
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

/// What the host's end has to be, whether it is new or not. Returns the pools that it got.
fn set_up(
    netlink: &mut Netlink,
    names: &Names,
    far: &Link,
    wanted: &Wanted,
) -> Result<PublicPools, OutsideError> {
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
    netlink.set_up(far.index)?;
    let ipv4 = wanted.ipv4.iter().copied();
    let ipv4 = claim(netlink, far.index, ipv4.map(IpNet::V4).collect())?;
    let ipv6 = wanted.ipv6.iter().copied();
    let ipv6: Vec<IpNet> = ipv6.map(IpNet::V6).collect();
    let ipv6 = match (has_ipv6(), ipv6.first()) {
        // A kernel without IPv6 has no use for any.
        (false, Some(first)) => *first,
        _ => claim(netlink, far.index, ipv6)?,
    };
    match (ipv4, ipv6) {
        (IpNet::V4(ipv4), IpNet::V6(ipv6)) => Ok(PublicPools { ipv4, ipv6 }),
        (ipv4, ipv6) => Err(OutsideError::Taken {
            pools: vec![ipv4, ipv6],
        }),
    }
}

/// Gives the host's end the first of these pools, all of one family, to which nobody else has a route;
/// the one that it has already, if that is among them.
fn claim(netlink: &mut Netlink, index: u32, pools: Vec<IpNet>) -> Result<IpNet, OutsideError> {
    let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
    let family = pools.first().map(is_v4);
    let mut present = netlink.addresses(index)?;
    present.retain(|address| Some(is_v4(address)) == family);
    let routes = netlink.main_routes()?;
    let others: Vec<IpNet> = routes
        .iter()
        .filter(|(net, through)| *through != index && net.prefix_len() > 0)
        .map(|(net, _)| *net)
        .collect();
    let is_free = |pool: &&IpNet| {
        let overlaps = |net: &IpNet| net.contains(*pool) || pool.contains(net);
        !others.iter().any(overlaps)
    };
    let is_present = |pool: &&IpNet| present.contains(&host_of(pool));
    let had = pools.iter().find(is_present);
    for pool in had.into_iter().chain(pools.iter().filter(is_free)) {
        let host = host_of(pool);
        for address in present.iter().filter(|address| **address != host) {
            ignoring_missing(netlink.remove_address(index, *address))?;
        }
        if !present.contains(&host) {
            netlink.add_address(index, host)?;
            present.push(host);
        }
        let route = Route {
            table: RouteTable::MAIN,
            destination: *pool,
            gateway: None,
            index,
            source: is_v4(pool).then(|| host.addr()),
            metric: ROUTE_METRIC,
        };
        match netlink.claim_route(route) {
            Ok(()) => return Ok(*pool),
            // Its own, or somebody else's who was faster.
            Err(error) if error.is_existing() => {
                if netlink.main_routes()?.contains(&(*pool, index)) {
                    return Ok(*pool);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(OutsideError::Taken { pools })
}

/// The families, their pools, and the host's address in each as the host's end has it.
fn blocks(pools: &PublicPools) -> Vec<(Family, IpNet, IpNet)> {
    let ipv4 = IpNet::V4(pools.ipv4);
    let ipv6 = IpNet::V6(pools.ipv6);
    let mut blocks = vec![(Family::Ipv4, ipv4, host_of(&ipv4))];
    if has_ipv6() {
        blocks.push((Family::Ipv6, ipv6, host_of(&ipv6)));
    }
    blocks
}

/// The host's own address in a pool, with the pool's length.
fn host_of(pool: &IpNet) -> IpNet {
    let host = match pool {
        IpNet::V4(pool) => IpAddr::V4(PublicPools::host_of_ipv4(*pool)),
        IpNet::V6(pool) => IpAddr::V6(PublicPools::host_of_ipv6(*pool)),
    };
    // Unwrap: the length is that of a net of the same family.
    IpNet::new(host, pool.prefix_len()).unwrap()
}

fn has_ipv6() -> bool {
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

fn ignoring_missing(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

/// The file in a data directory that says which pools its installation has.
fn kept_path(data_dir: &Path) -> PathBuf {
    data_dir.join("outside.json")
}

fn read_kept(data_dir: &Path) -> Result<Option<Kept>, OutsideError> {
    let path = kept_path(data_dir);
    let failed = |source| OutsideError::Kept {
        action: "read",
        path: path.clone(),
        source,
    };
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn keep(data_dir: &Path, pools: PublicPools) -> Result<(), OutsideError> {
    let path = kept_path(data_dir);
    let kept = Kept {
        ipv4: pools.ipv4,
        ipv6: pools.ipv6,
    };
    let new = path.with_extension("json.new");
    let written = serde_json::to_vec(&kept).map_err(io::Error::from);
    let written = written.and_then(|text| fs::write(&new, text));
    let renamed = written.and_then(|()| fs::rename(&new, &path));
    renamed.map_err(|source| OutsideError::Kept {
        action: "write",
        path,
        source,
    })
}

/// Forgets which pools an installation has: nothing of it is left that has an address in them.
pub(crate) fn forget_kept(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(kept_path(data_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The largest packet on the internet's side of an internet gateway (EC2 user guide, "Network maximum
/// transmission unit").
const MTU: u32 = 1500;

/// The kernel's own for routes to what is on a link by IPv6; for IPv4 any will do.
const ROUTE_METRIC: u32 = 256;

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

    #[test]
    fn the_default_pool_has_sixteen_slices() {
        let wanted = Wanted::slices_of(
            "198.18.0.0/15".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        );
        assert_eq!(wanted.ipv4.len(), 16);
        assert_eq!(wanted.ipv4[15].to_string(), "198.19.224.0/19");
        assert_eq!(wanted.ipv6.len(), 256);
        assert_eq!(wanted.ipv6[1].to_string(), "2001:db8:100::/40");
        let small: Ipv4Net = "203.0.113.0/24".parse().unwrap();
        let wanted = Wanted::slices_of(small, "2001:db8::/48".parse().unwrap());
        assert_eq!((wanted.ipv4, wanted.ipv6.len()), (vec![small], 1));
    }

    #[test]
    fn a_host_has_the_first_address_of_a_pool() {
        let pool: IpNet = "198.18.32.0/19".parse().unwrap();
        assert_eq!(host_of(&pool).to_string(), "198.18.32.1/19");
        let pool: IpNet = "2001:db8:100::/40".parse().unwrap();
        assert_eq!(host_of(&pool).to_string(), "2001:db8:100::1/40");
    }

    #[test]
    fn what_was_taken_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let pools = PublicPools {
            ipv4: "198.18.32.0/19".parse().unwrap(),
            ipv6: "2001:db8:100::/40".parse().unwrap(),
        };
        assert!(read_kept(dir.path()).unwrap().is_none());
        keep(dir.path(), pools).unwrap();
        assert_eq!(read_kept(dir.path()).unwrap().unwrap().ipv4, pools.ipv4);
        forget_kept(dir.path()).unwrap();
        forget_kept(dir.path()).unwrap();
        assert!(read_kept(dir.path()).unwrap().is_none());
        fs::write(kept_path(dir.path()), "{").unwrap();
        assert!(read_kept(dir.path()).is_err());
    }
}
