//! What names a connection in a packet, and in one that an ICMP error quotes.

use enid_pipeline::bytes::Addr;
use enid_pipeline::packet_builder::{PacketBuilder, Transport};
use enid_pipeline::table::protocol;

/// Protocol, addresses and ports. ICMP queries have their identifier and their type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuple {
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// Source port, or identifier.
    pub source_port: u16,
    /// Destination port, or type × 256 + code.
    pub target_port: u16,
}

impl Tuple {
    /// Of a packet.
    #[must_use]
    pub fn of(packet: &PacketBuilder) -> Self {
        let (number, source_port, target_port) = match &packet.transport {
            Transport::Tcp { from, to, .. } => (protocol::TCP, *from, *to),
            Transport::Udp { from, to } => (protocol::UDP, *from, *to),
            Transport::Other(number) => (*number, 0, 0),
            Transport::Icmp {
                kind, code, rest, ..
            } => {
                let id = u16::from_be_bytes([rest[0], rest[1]]);
                let (number, echoes) = match packet.source.is_v4() {
                    true => (protocol::ICMP, [0, 8]),
                    false => (protocol::ICMP_V6, [128, 129]),
                };
                let id = if echoes.contains(kind) { id } else { 0 };
                (number, id, u16::from_be_bytes([*kind, *code]))
            }
        };
        Self {
            protocol: number,
            source: packet.source,
            target: packet.target,
            source_port,
            target_port,
        }
    }

    /// Of the packets that answer. Of ICMP messages only an echo has an answer.
    #[must_use]
    pub fn answer(&self) -> Option<Self> {
        let (source_port, target_port) = match (self.protocol, self.target_port >> 8) {
            (protocol::ICMP, 8) => (self.source_port, 0),
            (protocol::ICMP_V6, 128) => (self.source_port, 129 << 8),
            (protocol::ICMP | protocol::ICMP_V6, _) => return None,
            _ => (self.target_port, self.source_port),
        };
        Some(Self {
            protocol: self.protocol,
            source: self.target,
            target: self.source,
            source_port,
            target_port,
        })
    }
}

impl Tuple {
    /// Of the packets that this one may answer.
    pub(crate) fn question(&self) -> Option<Self> {
        let (source_port, target_port) = match (self.protocol, self.target_port) {
            (protocol::ICMP, 0) => (self.source_port, 0x0800),
            (protocol::ICMP_V6, 0x8100) => (self.source_port, 0x8000),
            (protocol::ICMP | protocol::ICMP_V6, _) => return None,
            _ => (self.target_port, self.source_port),
        };
        Some(Self {
            source: self.target,
            target: self.source,
            source_port,
            target_port,
            ..*self
        })
    }
}

/// The packet that an ICMP error quotes.
pub(crate) fn error_quotes(packet: &PacketBuilder) -> Option<Tuple> {
    match &packet.transport {
        Transport::Icmp {
            kind: 3 | 11 | 12,
            body,
            ..
        } if packet.source.is_v4() => quoted(body),
        Transport::Icmp {
            kind: 1..=4, body, ..
        } if !packet.source.is_v4() => quoted_v6(body),
        _ => None,
    }
}

/// The 5-tuple of a quoted IPv6 packet.
fn quoted_v6(body: &[u8]) -> Option<Tuple> {
    let header = body.first_chunk::<48>()?;
    // Unwrap: the slices have the arrays' lengths.
    let addr = |at: usize| Addr::v6(header[at..at + 16].try_into().unwrap());
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (source_port, target_port) = match header[6] {
        protocol::TCP | protocol::UDP => (word(40), word(42)),
        protocol::ICMP_V6 if matches!(header[40], 128 | 129) => (word(44), word(40)),
        protocol::ICMP_V6 => (0, word(40)),
        _ => (0, 0),
    };
    Some(Tuple {
        protocol: header[6],
        source: addr(8),
        target: addr(24),
        source_port,
        target_port,
    })
}

/// The 5-tuple of a quoted IPv4 packet.
fn quoted(body: &[u8]) -> Option<Tuple> {
    let header = body.first_chunk::<28>()?;
    let addr = |at: usize| Addr::v4([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (source_port, target_port) = match header[9] {
        protocol::TCP | protocol::UDP => (word(20), word(22)),
        protocol::ICMP if matches!(header[20], 0 | 8) => (word(24), word(20)),
        protocol::ICMP => (0, word(20)),
        _ => (0, 0),
    };
    Some(Tuple {
        protocol: header[9],
        source: addr(12),
        target: addr(16),
        source_port,
        target_port,
    })
}

/// Writes other addresses and ports into a quoted packet. Its transport checksum stays as it was.
pub(crate) fn requote(body: &mut [u8], new: &Tuple) {
    if !new.source.is_v4() {
        body[8..24].copy_from_slice(&new.source.octets());
        body[24..40].copy_from_slice(&new.target.octets());
        body[40..42].copy_from_slice(&new.source_port.to_be_bytes());
        body[42..44].copy_from_slice(&new.target_port.to_be_bytes());
        return;
    }
    body[12..16].copy_from_slice(&new.source.v4_octets());
    body[16..20].copy_from_slice(&new.target.v4_octets());
    body[10..12].fill(0);
    let mut sum: u32 = 0;
    for pair in body[..20].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
    body[10..12].copy_from_slice(&sum.to_be_bytes());
    match new.protocol {
        protocol::TCP | protocol::UDP => {
            body[20..22].copy_from_slice(&new.source_port.to_be_bytes());
            body[22..24].copy_from_slice(&new.target_port.to_be_bytes());
        }
        protocol::ICMP if matches!(body[20], 0 | 8) => {
            body[24..26].copy_from_slice(&new.source_port.to_be_bytes());
        }
        _ => {}
    }
}
