//! The router's advertisements (RFC 4861): addresses are had by DHCP, the router is here.

use std::net::Ipv6Addr;

use enid_model::network_interface::Mac;
use enid_pipeline::service::{ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION};
use enid_pipeline::table::ROUTER_LINK_LOCAL;

use super::frame;
use super::told::Told;
use crate::device::MTU;

/// Addresses, and all else, are had by DHCP.
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const HOP_LIMIT: u8 = 255;
/// How long a host may count on the router. It is told again long before that.
const LIFETIME_S: u16 = 1800;
/// Options, and their lengths in units of eight bytes.
const SOURCE_LINK: [u8; 2] = [1, 1];
const PREFIX: [u8; 2] = [3, 4];
const LINK_MTU: [u8; 2] = [5, 1];
/// The prefix is on the link, and hosts make no addresses from it.
const ON_LINK: u8 = 0x80;
const FOR_EVER: [u8; 4] = [0xff; 4];

/// All hosts on the link.
pub(super) const ALL_HOSTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frame that answers an ICMPv6 message of the host with this MAC address, which came from this
/// address.
pub(super) fn answer(told: &Told, mac: Mac, from: Ipv6Addr, message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < 8 || message[0] != ROUTER_SOLICITATION || message[1] != 0 {
        return None;
    }
    let to = if from.is_unspecified() {
        ALL_HOSTS
    } else {
        from
    };
    advertisement(told, mac, to)
}

/// An advertisement to the host with this MAC address; `None` in a subnet without IPv6.
pub(super) fn advertisement(told: &Told, mac: Mac, to: Ipv6Addr) -> Option<Vec<u8>> {
    let subnet = told.ipv6_subnet?;
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, MANAGED | OTHER];
    message.extend(LIFETIME_S.to_be_bytes());
    // How long neighbours are taken to be reachable, and when to ask again: as hosts like.
    message.extend([0; 8]);
    message.extend(SOURCE_LINK);
    message.extend(told.router_mac.0);
    message.extend(LINK_MTU);
    message.extend([0, 0]);
    message.extend(MTU.to_be_bytes());
    message.extend(PREFIX);
    message.extend([subnet.prefix_len(), ON_LINK]);
    message.extend(FOR_EVER);
    message.extend(FOR_EVER);
    message.extend([0; 4]);
    message.extend(subnet.network().octets());
    let router = Ipv6Addr::from(ROUTER_LINK_LOCAL.octets());
    Some(frame::icmpv6(mac, router, to, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::told::fixture::told;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_host_learns_of_its_router_and_that_there_is_dhcp() {
        let from: Ipv6Addr = "fe80::9".parse().unwrap();
        let solicitation = [ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        let frame = answer(&told(), MAC, from, &solicitation).expect("an answer");
        assert_eq!(frame[..6], MAC.0);
        assert_eq!(frame[22..38], ROUTER_LINK_LOCAL.octets());
        assert_eq!(frame[38..54], from.octets());
        let message = &frame[54..];
        assert_eq!((message[0], message[5]), (134, 0xc0));
        assert_eq!(message[16..24], [1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(message[24..32], [5, 1, 0, 0, 0, 0, 0x23, 0x29]);
        assert_eq!(message[32..36], [3, 4, 64, 0x80]);
        assert_eq!(message[48..56], [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1]);
        // A host without an address hears it by multicast, in a frame of its own.
        let frame = answer(&told(), MAC, Ipv6Addr::UNSPECIFIED, &solicitation).unwrap();
        assert_eq!(
            (&frame[..6], &frame[38..54]),
            (&MAC.0[..], &ALL_HOSTS.octets()[..])
        );
    }

    #[test]
    fn nobody_else_is_answered() {
        let from: Ipv6Addr = "fe80::9".parse().unwrap();
        for message in [
            &[133, 0, 0][..],
            &[134, 0, 0, 0, 0, 0, 0, 0],
            &[133, 1, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(answer(&told(), MAC, from, message), None);
        }
        let mut without = told();
        without.ipv6_subnet = None;
        assert_eq!(
            answer(&without, MAC, from, &[133, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
    }
}
