//! The link-local services of a VPC: where instances reach them, and what belongs to them.
//!
//! They are the agent's: what is asked of them is handed to a device of the VPC that leads there, and
//! what comes from that device is let through to interfaces if it is an answer of theirs. No security
//! group and no network ACL has a say in either.

use crate::{
    bucket::Rate,
    bytes::{Addr, Mac},
};

/// The instance metadata service, TCP port 80.
pub const METADATA: Addr = Addr::v4([169, 254, 169, 254]);
/// The same by IPv6: `fd00:ec2::254`.
pub const METADATA_V6: Addr = ec2(0x254);
/// The resolver, port 53. It is at the third address of the VPC's first block as well.
pub const RESOLVER: Addr = Addr::v4([169, 254, 169, 253]);
/// The same by IPv6: `fd00:ec2::253`.
pub const RESOLVER_V6: Addr = ec2(0x253);
/// The time, UDP port 123.
pub const TIME: Addr = Addr::v4([169, 254, 169, 123]);
/// The same by IPv6: `fd00:ec2::123`.
pub const TIME_V6: Addr = ec2(0x123);

/// What an interface may ask of all services together, in packets: 1,024 a second. What it has not asked for
/// a second it may ask at once.
/// Source: Amazon VPC User Guide, "Amazon DNS server", quotas.
pub const ALLOWANCE: Rate = Rate::new(1024, 1024);

/// The MAC address of the services' end of the device that leads to them. Frames that the kernel sends
/// there go to this address too, since nobody is asked for another one: they are for whoever has their
/// IP address.
pub const SERVICE_MAC: Mac = Mac([2, 0, 169, 254, 169, 254]);
/// That of the other end.
pub const NEAR_MAC: Mac = Mac([2, 0, 169, 254, 169, 253]);

/// Ports of the services.
pub mod port {
    /// The resolver.
    pub const DNS: u16 = 53;
    /// DHCP, who is asked.
    pub const DHCP_SERVER: u16 = 67;
    /// DHCP, who asks.
    pub const DHCP_CLIENT: u16 = 68;
    /// Metadata.
    pub const HTTP: u16 = 80;
    /// The time.
    pub const NTP: u16 = 123;
    /// DHCP by IPv6, who asks.
    pub const DHCP_V6_CLIENT: u16 = 546;
    /// DHCP by IPv6, who is asked.
    pub const DHCP_V6_SERVER: u16 = 547;
}

/// ICMPv6: a host asks for its router (RFC 4861).
pub const ROUTER_SOLICITATION: u8 = 133;
/// The router's answer.
pub const ROUTER_ADVERTISEMENT: u8 = 134;

/// `fd00:ec2::` and a last word.
const fn ec2(last: u16) -> Addr {
    let [a, b] = last.to_be_bytes();
    Addr::v6([0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b])
}

impl Addr {
    /// Whether it is one of `fd00:ec2::/32`, which no route leads to.
    #[inline(always)]
    pub(crate) fn is_ec2(&self) -> bool {
        !self.is_v4() && self.head() == ec2(0).head()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_aws_documents() {
        for (addr, text) in [
            (METADATA_V6, "fd00:ec2::254"),
            (RESOLVER_V6, "fd00:ec2::253"),
            (TIME_V6, "fd00:ec2::123"),
            (RESOLVER, "169.254.169.253"),
        ] {
            assert_eq!(addr.to_string(), text);
        }
        assert!(TIME_V6.is_ec2());
        assert!(!TIME.is_ec2());
        assert!(!Addr::v6([0xfd; 16]).is_ec2());
    }
}
