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

mod claim;
mod pair;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use enid_pipeline::bytes;
use enid_pipeline::table::Outside;
use enid_plan::PublicPools;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use self::claim::claim_pools;
pub(crate) use self::claim::forget;
use self::pair::{Names, has_ipv6};
use crate::Installation;
use crate::netlink::{Family, Link, Netlink, NetlinkError};

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

impl Wanted {
    /// The pools that a new installation would get now; none of a family if others have them all.
    pub fn first_free(&self) -> Result<[Option<IpNet>; 2], OutsideError> {
        let ipv4 = self.ipv4.iter().copied().map(IpNet::V4);
        let ipv6 = self.ipv6.iter().copied().map(IpNet::V6);
        Ok([
            claim::first_free(ipv4.collect())?,
            claim::first_free(ipv6.collect())?,
        ])
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
        let wanted = claim::narrowed(data_dir, wanted)?;
        let mut netlink = Netlink::open()?;
        let names = Names::of(installation);
        let found = names.find(&mut netlink)?;
        let is_new = found.is_none();
        let (near, far) = match found {
            Some(pair) => pair,
            None => names.make(&mut netlink)?,
        };
        let ended = pair::end_at_host(&mut netlink, &names, &far);
        let claimed = ended.and_then(|()| claim_pools(&mut netlink, far.index, &wanted));
        let pools = match claimed {
            Ok(pools) => pools,
            Err(error) => {
                if is_new {
                    // The first failure is the one to report; what is left is replaced by the next try.
                    let _ = Self::remove(installation);
                }
                return Err(error);
            }
        };
        claim::keep(data_dir, pools)?;
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

fn ignoring_missing(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
