//! Frames to hosts that are spoken with by packet sockets: read, and written with their checksums.

use std::net::{Ipv4Addr, Ipv6Addr};

use enid_model::network_interface::Mac;
use enid_pipeline::service::SERVICE_MAC;

/// What came to the configuration services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// Who sent it; the datapath has checked that it is this interface's.
    pub(super) from: Mac,
    /// What is in it.
    pub(super) body: Body<'a>,
}

/// A message, without the headers below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A DHCP message.
    Dhcp(&'a [u8]),
    /// A DHCP message by IPv6, and the address that it came from.
    DhcpV6(Ipv6Addr, &'a [u8]),
    /// An ICMPv6 message, and the address that it came from. It has not crossed a router.
    Icmpv6(Ipv6Addr, &'a [u8]),
}

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// Lengths of headers.
const V4: usize = 20;
const V6: usize = 40;
const UDP_HEADER: usize = 8;
/// For packets that are not to cross a router, and others.
const HOP_LIMIT_ON_LINK: u8 = 255;
const HOP_LIMIT: u8 = 64;

/// Reads a frame that the filter of the packet socket let through.
pub(super) fn read(frame: &[u8]) -> Option<Question<'_>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let from = Mac(*ethernet[6..].first_chunk()?);
    let body = match [ethernet[12], ethernet[13]] {
        IPV4 => {
            let header = usize::from(packet.first()? & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
            let datagram = packet.get(header..total)?;
            Body::Dhcp(payload(datagram)?)
        }
        IPV6 => {
            let (header, rest) = packet.split_at_checked(V6)?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let source = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
            let message = rest.get(..length)?;
            match header[6] {
                UDP => Body::DhcpV6(source, payload(message)?),
                ICMPV6 if header[7] == HOP_LIMIT_ON_LINK => Body::Icmpv6(source, message),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Question { from, body })
}

/// What a UDP datagram carries.
fn payload(datagram: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*datagram.get(4..)?.first_chunk()?));
    datagram.get(UDP_HEADER..length)
}

/// A UDP datagram by IPv4.
pub(super) fn udp_v4(
    to_mac: Mac,
    (from, from_port): (Ipv4Addr, u16),
    (to, to_port): (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let mut pseudo = Vec::with_capacity(8);
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    let datagram = udp(from_port, to_port, payload, &pseudo);
    let mut header = [0; V4];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length_of(V4 + datagram.len()));
    // May not be cut: it needs no identification.
    header[6] = 0x40;
    header[8] = HOP_LIMIT;
    header[9] = UDP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    ethernet(to_mac, IPV4, &[&header, &datagram])
}

/// A UDP datagram by IPv6.
pub(super) fn udp_v6(
    to_mac: Mac,
    (from, from_port): (Ipv6Addr, u16),
    (to, to_port): (Ipv6Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let datagram = udp(from_port, to_port, payload, &pseudo_v6(from, to));
    let header = header_v6(from, to, UDP, HOP_LIMIT, datagram.len());
    ethernet(to_mac, IPV6, &[&header, &datagram])
}

/// An ICMPv6 message whose checksum is zero yet.
pub(super) fn icmpv6(to_mac: Mac, from: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let length = length_of(message.len());
    let sum = checksum(&[&pseudo_v6(from, to), &[0, ICMPV6], &length, &message]);
    message[2..4].copy_from_slice(&sum);
    let header = header_v6(from, to, ICMPV6, HOP_LIMIT_ON_LINK, message.len());
    ethernet(to_mac, IPV6, &[&header, &message])
}

fn ethernet(to: Mac, kind: [u8; 2], parts: &[&[u8]]) -> Vec<u8> {
    // The source is the router's MAC when the datapath has let it through.
    let mut frame = Vec::from(to.0);
    frame.extend(SERVICE_MAC.0);
    frame.extend(kind);
    frame.extend(parts.concat());
    frame
}

fn udp(from_port: u16, to_port: u16, payload: &[u8], pseudo: &[u8]) -> Vec<u8> {
    let length = length_of(UDP_HEADER + payload.len());
    let mut datagram = Vec::with_capacity(UDP_HEADER + payload.len());
    datagram.extend(from_port.to_be_bytes());
    datagram.extend(to_port.to_be_bytes());
    datagram.extend(length);
    datagram.extend([0, 0]);
    datagram.extend(payload);
    let sum = match checksum(&[pseudo, &[0, UDP], &length, &datagram]) {
        // Zero would say that there is none.
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

fn pseudo_v6(from: Ipv6Addr, to: Ipv6Addr) -> [u8; 32] {
    let mut pseudo = [0; 32];
    pseudo[..16].copy_from_slice(&from.octets());
    pseudo[16..].copy_from_slice(&to.octets());
    pseudo
}

fn header_v6(from: Ipv6Addr, to: Ipv6Addr, next: u8, hop_limit: u8, length: usize) -> [u8; V6] {
    let mut header = [0; V6];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&length_of(length));
    header[6] = next;
    header[7] = hop_limit;
    header[8..].copy_from_slice(&pseudo_v6(from, to));
    header
}

/// A length as headers have it. Messages are some hundred bytes long.
fn length_of(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// The internet checksum of parts of even lengths, the last one excepted.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|word| {
            u32::from(u16::from_be_bytes([
                word[0],
                word.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded to 16 bits.
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn what_is_written_has_right_checksums() {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let frame = udp_v4(MAC, (from, 67), (to, 68), b"odd");
        assert_eq!(
            frame[..14],
            [2, 0, 0, 0, 0, 1, 2, 0, 169, 254, 169, 254, 8, 0]
        );
        assert_eq!(checksum(&[&frame[14..34]]), [0, 0]);
        assert_eq!(
            checksum(&[&frame[26..34], &[0, 17, 0, 11], &frame[34..]]),
            [0, 0]
        );
        let (from, to) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let frame = udp_v6(MAC, (from, 547), (to, 546), b"even");
        assert_eq!(
            checksum(&[&frame[22..54], &[0, 17, 0, 12], &frame[54..]]),
            [0, 0]
        );
        let frame = icmpv6(MAC, from, to, vec![134, 0, 0, 0, 1, 2]);
        assert_eq!(
            checksum(&[&frame[22..54], &[0, 58, 0, 6], &frame[54..]]),
            [0, 0]
        );
        assert_eq!(frame[21], 255);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let mut frame = udp_v4(MAC, (from, 68), (to, 67), b"message");
        frame.extend([0; 9]);
        let question = read(&frame).expect("a question");
        assert_eq!(question.body, Body::Dhcp(b"message"));
        assert_eq!(question.from.0, SERVICE_MAC.0);
        let (from, to) = ("fe80::1".parse().unwrap(), "ff02::2".parse().unwrap());
        let mut frame = icmpv6(MAC, from, to, vec![133, 0, 0, 0]);
        assert!(
            matches!(read(&frame), Some(Question { body: Body::Icmpv6(source, _), .. }) if source == from)
        );
        // It came from afar.
        frame[21] = 254;
        assert_eq!(read(&frame), None);
        let whole = udp_v6(MAC, (from, 546), (to, 547), b"message");
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
    }
}
