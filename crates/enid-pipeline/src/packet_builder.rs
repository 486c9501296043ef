//! Builds frames for tests and probes: readable where bytes in hex are not.
//!
//! Checksums are right, unless the packet is cut.

use crate::{
    bytes::{Addr, Mac},
    flow::tcp,
    table::protocol,
};

/// What follows the IP header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// ICMP or ICMPv6, by the family of the addresses.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second word: identifier and sequence number, or zero.
        rest: [u8; 4],
        /// What follows, such as a quoted packet.
        body: Vec<u8>,
    },
    /// Any other protocol.
    Other(u8),
    /// TCP.
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
        /// Header flags.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
}

/// How an IPv4 packet is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Identification.
    pub id: u16,
    /// Offset in units of eight bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// A packet to be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketBuilder {
    /// Destination MAC.
    pub to_mac: Mac,
    /// Source MAC.
    pub from_mac: Mac,
    /// Source address.
    pub source: Addr,
    /// Destination address, of the same family.
    pub target: Addr,
    /// What follows the IP header.
    pub transport: Transport,
    /// Bytes after the transport header.
    pub payload: usize,
    /// IPv4 only.
    pub cut: Option<Cut>,
    /// Or time to live.
    pub hop_limit: u8,
}

impl PacketBuilder {
    /// A packet without payload.
    pub fn new(source: Addr, target: Addr, transport: Transport) -> Self {
        Self {
            to_mac: Mac::default(),
            from_mac: Mac::default(),
            source,
            target,
            transport,
            payload: 0,
            cut: None,
            hop_limit: 64,
        }
    }

    /// With these MAC addresses.
    #[must_use]
    pub fn macs(self, from_mac: Mac, to_mac: Mac) -> Self {
        Self {
            to_mac,
            from_mac,
            ..self
        }
    }

    /// The IP packet, without an Ethernet header.
    pub fn packet(&self) -> Vec<u8> {
        let (number, mut body) = self.transport();
        body.resize(body.len() + self.payload, 0);
        if self.cut.is_some_and(|cut| cut.offset > 0) {
            // A later fragment has no transport header, only its bytes.
            body.fill(0xee);
        }
        let mut packet = Vec::with_capacity(40 + body.len());
        if self.source.is_v4() {
            let total = u16::try_from(20 + body.len()).unwrap_or(u16::MAX);
            packet.extend([0x45, 0]);
            packet.extend(total.to_be_bytes());
            let cut = self.cut.unwrap_or(Cut {
                id: 0,
                offset: 0,
                more: false,
            });
            packet.extend(cut.id.to_be_bytes());
            packet.extend((cut.offset | u16::from(cut.more) << 13).to_be_bytes());
            packet.extend([self.hop_limit, number, 0, 0]);
            packet.extend(self.source.v4_octets());
            packet.extend(self.target.v4_octets());
            let sum = checksum(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
            packet.extend([number, self.hop_limit]);
            packet.extend(self.source.octets());
            packet.extend(self.target.octets());
        }
        if self.cut.is_none() {
            self.fill_checksum(number, &mut body);
        }
        packet.extend(body);
        packet
    }

    /// Puts the checksum into a transport header that has one.
    fn fill_checksum(&self, number: u8, body: &mut [u8]) {
        let at = match number {
            protocol::TCP => 16,
            protocol::UDP => 6,
            protocol::ICMP | protocol::ICMP_V6 => 2,
            _ => return,
        };
        let mut summed = Vec::new();
        if number != protocol::ICMP {
            // The pseudo header; the sum is the same whatever the order of its words.
            if self.source.is_v4() {
                summed.extend(self.source.v4_octets());
                summed.extend(self.target.v4_octets());
            } else {
                summed.extend(self.source.octets());
                summed.extend(self.target.octets());
            }
            summed.extend([0, number]);
            summed.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
        summed.extend_from_slice(body);
        let sum = match checksum(&summed) {
            // Zero would say that there is none.
            0 if number == protocol::UDP => u16::MAX,
            sum => sum,
        };
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.to_mac.0);
        frame.extend(self.from_mac.0);
        frame.extend(if self.source.is_v4() {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        });
        frame.extend(self.packet());
        // The least that Ethernet carries, and what the kernel's test run takes.
        frame.resize(frame.len().max(60), 0);
        frame
    }

    fn transport(&self) -> (u8, Vec<u8>) {
        match &self.transport {
            Transport::Icmp {
                kind,
                code,
                rest,
                body,
            } => {
                let number = if self.source.is_v4() {
                    protocol::ICMP
                } else {
                    protocol::ICMP_V6
                };
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                bytes.extend(body);
                (number, bytes)
            }
            Transport::Other(number) => (*number, vec![0; 8]),
            Transport::Tcp { from, to, flags } => {
                let mut bytes = Vec::new();
                bytes.extend(from.to_be_bytes());
                bytes.extend(to.to_be_bytes());
                bytes.extend([0; 8]);
                bytes.extend([0x50, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                (protocol::TCP, bytes)
            }
            Transport::Udp { from, to } => {
                let mut bytes = Vec::new();
                bytes.extend(from.to_be_bytes());
                bytes.extend(to.to_be_bytes());
                let length = u16::try_from(8 + self.payload).unwrap_or(u16::MAX);
                bytes.extend(length.to_be_bytes());
                bytes.extend([0, 0]);
                (protocol::UDP, bytes)
            }
        }
    }
}

impl Transport {
    /// The packet that opens a TCP connection.
    pub fn syn(from: u16, to: u16) -> Self {
        Self::Tcp {
            from,
            to,
            flags: tcp::SYN,
        }
    }

    /// An echo request.
    pub fn echo(id: u16) -> Self {
        Self::Icmp {
            kind: 8,
            code: 0,
            rest: [id.to_be_bytes()[0], id.to_be_bytes()[1], 0, 1],
            body: Vec::new(),
        }
    }

    /// An echo reply.
    pub fn echo_reply(id: u16) -> Self {
        Self::Icmp {
            kind: 0,
            code: 0,
            rest: [id.to_be_bytes()[0], id.to_be_bytes()[1], 0, 1],
            body: Vec::new(),
        }
    }

    /// "Port unreachable" about a packet.
    pub fn unreachable(quoted: &PacketBuilder) -> Self {
        let packet = quoted.packet();
        let (kind, code) = if quoted.source.is_v4() {
            (3, 3)
        } else {
            (1, 4)
        };
        let header = if quoted.source.is_v4() { 20 } else { 40 };
        let body = packet[..packet.len().min(header + 8)].to_vec();
        Self::Icmp {
            kind,
            code,
            rest: [0; 4],
            body,
        }
    }
}

/// An ARP request.
pub fn arp_request(from_mac: Mac, sender: Addr, wanted: Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(from_mac.0);
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(from_mac.0);
    frame.extend(sender.v4_octets());
    frame.extend([0; 6]);
    frame.extend(wanted.v4_octets());
    frame
}

/// A neighbour solicitation from one address about another, sent as a stack sends the first.
pub fn neighbour_solicitation(from_mac: Mac, sender: Addr, wanted: Addr) -> PacketBuilder {
    let w = wanted.octets();
    let mut group = [0; 16];
    group[..2].copy_from_slice(&[0xff, 2]);
    group[11..].copy_from_slice(&[1, 0xff, w[13], w[14], w[15]]);
    let mut body = w.to_vec();
    if sender != Addr::UNSPECIFIED {
        body.extend([1, 1]);
        body.extend(from_mac.0);
    }
    let solicitation = Transport::Icmp {
        kind: 135,
        code: 0,
        rest: [0; 4],
        body,
    };
    PacketBuilder {
        hop_limit: 255,
        ..PacketBuilder::new(sender, Addr::v6(group), solicitation)
    }
    .macs(from_mac, Mac([0x33, 0x33, 0xff, w[13], w[14], w[15]]))
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_header_has_the_right_checksum() {
        let packet = PacketBuilder::new(
            Addr::v4([10, 0, 0, 1]),
            Addr::v4([10, 0, 0, 2]),
            Transport::Udp { from: 1, to: 2 },
        )
        .packet();
        assert_eq!(packet.len(), 28);
        assert_eq!(checksum(&packet[..20]), 0);
        // Pseudo header and UDP: 10.0.0.1 > 10.0.0.2, ports 1 and 2, length 8, without payload.
        let words = [0x0a00, 1, 0x0a00, 2, 17, 8, 1, 2, 8];
        let sum: u32 = words.iter().sum();
        assert_eq!(
            packet[26..28],
            (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
        );
    }
}
