//! The header of the proxy protocol, version 2, in its binary form.
//!
//! Source: "The PROXY protocol", haproxy.org, section 2.2.

use std::net::SocketAddrV4;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a connection on behalf of somebody.
const PROXY: u8 = 0x21;
/// Version 2, and a connection of the sender's own.
const LOCAL: u8 = 0x20;
/// TCP over IPv4.
const STREAM_V4: u8 = 0x11;
/// Two addresses and two ports.
const LENGTH_V4: u16 = 12;

/// The header before what a client sends: who it is, and what it has connected to.
pub(crate) fn of_client(client: SocketAddrV4, node: SocketAddrV4) -> Vec<u8> {
    let mut header = Vec::with_capacity(28);
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[PROXY, STREAM_V4]);
    header.extend_from_slice(&LENGTH_V4.to_be_bytes());
    header.extend_from_slice(&client.ip().octets());
    header.extend_from_slice(&node.ip().octets());
    header.extend_from_slice(&client.port().to_be_bytes());
    header.extend_from_slice(&node.port().to_be_bytes());
    header
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
        let client = SocketAddrV4::new([10, 0, 0, 9].into(), 40_000);
        let node = SocketAddrV4::new([10, 0, 1, 4].into(), 443);
        assert_eq!(
            of_client(client, node),
            [
                0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11,
                0, 12, 10, 0, 0, 9, 10, 0, 1, 4, 0x9c, 0x40, 0x01, 0xbb,
            ]
        );
        assert_eq!(of_node()[12..], [0x20, 0, 0, 0]);
    }
}
