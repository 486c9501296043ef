//! The pools that public addresses come from.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The pools of an installation. Their addresses lead to its instances on this host and nowhere
/// else, unless a real uplink and real addresses are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicPools {
    /// Where Elastic IPs and public addresses of instances come from. The first address is the
    /// host's own in the role of the internet, the last is not used.
    pub ipv4: Ipv4Net,
    /// Where the IPv6 blocks of VPCs come from, each a /56.
    pub ipv6: Ipv6Net,
}

impl Default for PublicPools {
    /// The block for benchmarks (RFC 2544) and the one for documentation (RFC 3849): no host on the
    /// internet has an address of these.
    fn default() -> Self {
        Self {
            ipv4: Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
            ipv6: Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        }
    }
}
