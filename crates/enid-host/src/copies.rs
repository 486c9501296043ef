//! The pair of links that copies of packets go through: for mirror sessions and captures.
//!
//! ```text
//!   the datapath                                                       the datapath
//!   what an ENI sends or gets ──copy──▶ enidc<installation> ──pair──▶ enidm<installation> ──▶ target's ENI
//!                                       wraps it, tells captures       judges what came
//! ```
//!
//! Between the ends the kernel finishes checksums and makes single packets of those that stand for several:
//! what a mirror session's target gets is as on a wire. Neither end has an address, and nothing but copies
//! passes. The pair is made when the first copy is wanted, and stays: copies go on without a daemon.

use std::fs;
use std::io;
use std::path::PathBuf;

use enid_model::network_interface::Mac;

use crate::Installation;
use crate::netlink::{Link, Netlink, NetlinkError, VethPair};
use crate::offload;

/// The pair of one installation, by the indexes of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPair {
    /// The end that copies are sent out of.
    pub near: u32,
    /// The end where they come out.
    pub far: u32,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum CopyPairError {
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
    #[error("set up the links for copies of packets")]
    Netlink(#[from] NetlinkError),
    /// The kernel does not finish what leaves by a link.
    #[error("switch the offloads of {name} off")]
    Offload {
        /// The link's name.
        name: String,
        /// The kernel's reason.
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
}

impl CopyPair {
    /// The pair, if an earlier agent of this installation has left it whole.
    pub fn find(installation: Installation) -> Result<Option<Self>, CopyPairError> {
        let names = Names::of(installation);
        let mut netlink = Netlink::open()?;
        let (near, far) = (netlink.link(&names.near)?, netlink.link(&names.far)?);
        let is_whole = |link: &Link| link.alias.as_deref() == Some(names.alias.as_str());
        Ok(match (near, far) {
            (Some(near), Some(far)) if is_whole(&near) && is_whole(&far) => Some(Self {
                near: near.index,
                far: far.index,
            }),
            _ => None,
        })
    }

    /// Adopts the pair, or makes it. Both ends stay off until [`CopyPair::connect`].
    pub fn establish(installation: Installation) -> Result<Self, CopyPairError> {
        if let Some(pair) = Self::find(installation)? {
            return Ok(pair);
        }
        Self::remove(installation)?;
        let names = Names::of(installation);
        let mut netlink = Netlink::open()?;
        let [a, b, c, d] = names.mark;
        netlink.create_veth(VethPair {
            name: &names.near,
            mac: Mac([2, a, b, c, d, 3]),
            peer_name: &names.far,
            peer_mac: Mac([2, a, b, c, d, 4]),
            peer_namespace: None,
            mtu: MTU,
        })?;
        let mut indexes = [0; 2];
        for (name, index) in [&names.near, &names.far].into_iter().zip(&mut indexes) {
            let link = netlink.link_index(name)?;
            *index = link.ok_or_else(|| CopyPairError::Missing { name: name.clone() })?;
            netlink.set_no_ipv6_autoconfiguration(*index)?;
            netlink.set_noarp(*index)?;
            switch_ipv6_off(name)?;
        }
        offload::finish_all(&names.near).map_err(|source| CopyPairError::Offload {
            name: names.near.clone(),
            source,
        })?;
        // Last, as the sign that all of the above is done.
        for index in indexes {
            netlink.set_alias(index, &names.alias)?;
        }
        let [near, far] = indexes;
        Ok(Self { near, far })
    }

    /// Switches both ends on: their programs are there.
    pub fn connect(&self) -> Result<(), CopyPairError> {
        let mut netlink = Netlink::open()?;
        netlink.set_up(self.far)?;
        Ok(netlink.set_up(self.near)?)
    }

    /// Removes the pair of an installation. That it is not there is no error.
    pub fn remove(installation: Installation) -> Result<(), CopyPairError> {
        let names = Names::of(installation);
        let mut netlink = Netlink::open()?;
        for name in [&names.near, &names.far] {
            let Some(link) = netlink.link(name)? else {
                continue;
            };
            // Without an alias it is of a daemon that was killed between two requests.
            let is_own = match &link.alias {
                Some(alias) => *alias == names.alias,
                None => link.is_veth,
            };
            if !is_own {
                return Err(CopyPairError::Foreign { name: name.clone() });
            }
            match netlink.delete_link(link.index) {
                Err(error) if !error.is_missing() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// How the kernel differs from what this was made as, in words.
    pub fn verify(&self, installation: Installation) -> Result<Vec<String>, CopyPairError> {
        let names = Names::of(installation);
        let mut netlink = Netlink::open()?;
        let mut differences = Vec::new();
        for (name, index) in [(&names.near, self.near), (&names.far, self.far)] {
            let link = netlink.link(name)?;
            if link.is_none_or(|link| link.index != index || !link.is_up) {
                differences.push(format!("{name} is not there, or switched off"));
                return Ok(differences);
            }
        }
        match offload::is_all_finished(&names.near) {
            Ok(true) => {}
            Ok(false) => differences.push(format!("{} leaves checksums unfinished", names.near)),
            Err(source) => {
                let name = names.near;
                return Err(CopyPairError::Offload { name, source });
            }
        }
        Ok(differences)
    }
}

/// The names of the two ends, and their mark.
struct Names {
    near: String,
    far: String,
    alias: String,
    mark: [u8; 4],
}

impl Names {
    fn of(installation: Installation) -> Self {
        let hash = installation.to_string();
        // The hash has twelve digits; a link's name has room for ten beside the rest.
        let short = hash.get(..8).unwrap_or(&hash);
        let mark = u32::from_str_radix(short, 16).unwrap_or(0);
        Self {
            near: format!("enidc{short}"),
            far: format!("enidm{short}"),
            alias: installation.copies_alias(),
            mark: mark.to_be_bytes(),
        }
    }
}

fn switch_ipv6_off(link: &str) -> Result<(), CopyPairError> {
    let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"));
    match fs::write(&path, "1") {
        // A kernel without IPv6 has no such switch.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(|source| CopyPairError::Sysctl { path, source }),
    }
}

/// The longest packet that a link can take: a copy is longer than its packet, and cut only at the far end.
const MTU: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_tell_installations_apart() {
        let names = Names::of("0123456789ab".parse().unwrap());
        assert_eq!(
            (names.near.as_str(), names.far.as_str()),
            ("enidc01234567", "enidm01234567")
        );
        assert!(names.near.len() < libc::IFNAMSIZ);
        let others = Names::of("0123456889ab".parse().unwrap());
        assert_ne!(names.far, others.far);
    }
}
