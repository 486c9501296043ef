//! The header of the proxy protocol, version 2, in its binary form.
//!
//! Source: "The PROXY protocol", haproxy.org, section 2.2.

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a connection on behalf of somebody.
const PROXY: u8 = 0x21;
/// Version 2, and a connection of the sender's own.
const LOCAL: u8 = 0x20;
/// TCP over IPv4.
const STREAM_V4: u8 = 0x11;
/// TCP over IPv6.
const STREAM_V6: u8 = 0x21;

/// The header before what a client sends: who it is, and what it has connected to.
/// Both are of one family, whichever the target is of.
pub(crate) fn of_client(client: SocketAddr, node: SocketAddr) -> Vec<u8> {
    let mut header = Vec::with_capacity(52);
    header.extend_from_slice(&SIGNATURE);
    match (client.ip(), node.ip()) {
        (IpAddr::V4(client), IpAddr::V4(node)) => {
            header.extend_from_slice(&[PROXY, STREAM_V4, 0, 12]);
            header.extend_from_slice(&client.octets());
            header.extend_from_slice(&node.octets());
        }
        (client, node) => {
            header.extend_from_slice(&[PROXY, STREAM_V6, 0, 36]);
            header.extend_from_slice(&wide(client));
            header.extend_from_slice(&wide(node));
        }
    }
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&node.port().to_be_bytes());
    header
}

const fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The header of a connection that the node begins itself: a health check.
pub(crate) fn of_node() -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[LOCAL, 0, 0, 0]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_specification() {
        let client = SocketAddr::from(([10, 0, 0, 9], 40_000));
        let node = SocketAddr::from(([10, 0, 1, 4], 443));
        assert_eq!(
            of_client(client, node),
            [
                0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11,
                0, 12, 10, 0, 0, 9, 10, 0, 1, 4, 0x9c, 0x40, 0x01, 0xbb,
            ]
        );
        let client = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 9], 40_000));
        let node = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 1, 4], 443));
        let header = of_client(client, node);
        assert_eq!(header[12..18], [0x21, 0x21, 0, 36, 0xfd, 0]);
        assert_eq!(header[28..34], [0, 0, 0, 9, 0xfd, 0][..]);
        assert_eq!(header[44..], [0, 1, 0, 4, 0x9c, 0x40, 0x01, 0xbb]);
        assert_eq!(of_node()[12..], [0x20, 0, 0, 0]);
    }
}
