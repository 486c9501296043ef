//! Which pools an installation has: those that its routes claim, and the file that remembers them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use enid_plan::PublicPools;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::pair::has_ipv6;
use super::{OutsideError, Wanted, host_of, ignoring_missing};
use crate::netlink::{Netlink, Route, RouteTable};

/// What an installation keeps of its choice.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Kept {
    ipv4: Ipv4Net,
    ipv6: Ipv6Net,
}

/// Claims a pool of each family for the host's end, which is switched on.
pub(super) fn claim_pools(
    netlink: &mut Netlink,
    index: u32,
    wanted: &Wanted,
) -> Result<PublicPools, OutsideError> {
    let ipv4 = wanted.ipv4.iter().copied();
    let ipv4 = claim(netlink, index, ipv4.map(IpNet::V4).collect())?;
    let ipv6 = wanted.ipv6.iter().copied();
    let ipv6: Vec<IpNet> = ipv6.map(IpNet::V6).collect();
    let ipv6 = match (has_ipv6(), ipv6.first()) {
        // A kernel without IPv6 has no use for any.
        (false, Some(first)) => *first,
        _ => claim(netlink, index, ipv6)?,
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
    let others = routes_of_others(netlink, Some(index))?;
    let is_free = |pool: &&IpNet| is_free(pool, &others);
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

/// The first pool to which nobody on this host has a route.
pub(super) fn first_free(pools: Vec<IpNet>) -> Result<Option<IpNet>, OutsideError> {
    let others = routes_of_others(&mut Netlink::open()?, None)?;
    Ok(pools.into_iter().find(|pool| is_free(pool, &others)))
}

/// The destinations of the host's routes, default routes left out, through links other than this one.
fn routes_of_others(netlink: &mut Netlink, own: Option<u32>) -> Result<Vec<IpNet>, OutsideError> {
    let routes = netlink.main_routes()?.into_iter();
    let others = routes.filter(|(net, index)| Some(*index) != own && net.prefix_len() > 0);
    Ok(others.map(|(net, _)| net).collect())
}

fn is_free(pool: &IpNet, others: &[IpNet]) -> bool {
    let overlaps = |net: &IpNet| net.contains(pool) || pool.contains(net);
    !others.iter().any(overlaps)
}

/// What an installation may take of what is wanted. Once it has something of that, there is no choice:
/// addresses that are in use would change.
pub(super) fn narrowed(data_dir: &Path, wanted: &Wanted) -> Result<Wanted, OutsideError> {
    let mut wanted = wanted.clone();
    if let Some(kept) = read_kept(data_dir)? {
        if wanted.ipv4.contains(&kept.ipv4) {
            wanted.ipv4 = vec![kept.ipv4];
        }
        if wanted.ipv6.contains(&kept.ipv6) {
            wanted.ipv6 = vec![kept.ipv6];
        }
    }
    Ok(wanted)
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

pub(super) fn keep(data_dir: &Path, pools: PublicPools) -> Result<(), OutsideError> {
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
pub(crate) fn forget(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(kept_path(data_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The kernel's own for routes to what is on a link by IPv6; for IPv4 any will do.
const ROUTE_METRIC: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

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
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert!(read_kept(dir.path()).unwrap().is_none());
        fs::write(kept_path(dir.path()), "{").unwrap();
        assert!(read_kept(dir.path()).is_err());
    }
}
