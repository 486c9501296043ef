//! Writing pcapng files: one section, one Ethernet interface, packets with comments
//! (draft-ietf-opsawg-pcapng).

use std::io::{self, Write};

/// A file that is being written.
pub(crate) struct Writer<W> {
    out: W,
}

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(crate) time_ns: u64,
    /// How long it was.
    pub(crate) length: u32,
    /// Its first bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) direction: Direction,
    /// What the traffic control's hook said (`TC_ACT_…`).
    pub(crate) verdict: u64,
    pub(crate) comment: &'a str,
}

/// Seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(crate) fn begin(
        out: W,
        application: &str,
        interface: &str,
        snaplen: u32,
    ) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut section = Vec::new();
        section.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0, and a length that nobody knows yet.
        section.extend(1_u16.to_le_bytes());
        section.extend(0_u16.to_le_bytes());
        section.extend(u64::MAX.to_le_bytes());
        option(
            &mut section,
            option::SECTION_APPLICATION,
            application.as_bytes(),
        );
        end_of_options(&mut section);
        writer.block(block::SECTION, &section)?;
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(snaplen.to_le_bytes());
        option(&mut body, option::INTERFACE_NAME, interface.as_bytes());
        // Nanoseconds: ten to the power of minus nine.
        option(&mut body, option::INTERFACE_RESOLUTION, &[9]);
        end_of_options(&mut body);
        writer.block(block::INTERFACE, &body)?;
        Ok(writer)
    }

    /// Adds a packet.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(packet.bytes.len() + 128);
        body.extend(0_u32.to_le_bytes());
        timestamp(&mut body, packet.time_ns);
        body.extend(length_of(packet.bytes)?.to_le_bytes());
        body.extend(packet.length.to_le_bytes());
        body.extend(packet.bytes);
        pad(&mut body);
        option(&mut body, option::COMMENT, packet.comment.as_bytes());
        let flags: u32 = match packet.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        option(&mut body, option::PACKET_FLAGS, &flags.to_le_bytes());
        let mut verdict = vec![VERDICT_OF_TRAFFIC_CONTROL];
        verdict.extend(packet.verdict.to_le_bytes());
        option(&mut body, option::PACKET_VERDICT, &verdict);
        end_of_options(&mut body);
        self.block(block::PACKET, &body)
    }

    /// Ends the file with how many packets there were, and how many more were lost.
    pub(crate) fn end(mut self, now_ns: u64, packets: u64, lost: u64) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        timestamp(&mut body, now_ns);
        option(
            &mut body,
            option::STATISTICS_RECEIVED,
            &(packets + lost).to_le_bytes(),
        );
        option(&mut body, option::STATISTICS_DROPPED, &lost.to_le_bytes());
        end_of_options(&mut body);
        self.block(block::STATISTICS, &body)?;
        self.flush()
    }

    /// Lets readers see what was written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes a block as a whole, so that a file that ends early ends between blocks.
    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = length_of(body)? + 12;
        let mut block = Vec::with_capacity(body.len() + 12);
        block.extend(kind.to_le_bytes());
        block.extend(length.to_le_bytes());
        block.extend(body);
        block.extend(length.to_le_bytes());
        self.out.write_all(&block)
    }
}

/// A time as its higher half and its lower half.
fn timestamp(body: &mut Vec<u8>, time_ns: u64) {
    let [a, b, c, d, e, f, g, h] = time_ns.to_le_bytes();
    body.extend([e, f, g, h, a, b, c, d]);
}

/// Adds an option. What is longer than an option can be is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// Everything begins on four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length_of(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

/// How a reader knows in which order bytes are.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// The kind of verdict that a program of the traffic control gives.
const VERDICT_OF_TRAFFIC_CONTROL: u8 = 1;

/// Kinds of blocks.
mod block {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const PACKET: u32 = 6;
}

/// Codes of options.
mod option {
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SECTION_APPLICATION: u16 = 4;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const INTERFACE_RESOLUTION: u16 = 9;
    pub(super) const PACKET_FLAGS: u16 = 2;
    pub(super) const PACKET_VERDICT: u16 = 7;
    pub(super) const STATISTICS_RECEIVED: u16 = 4;
    pub(super) const STATISTICS_DROPPED: u16 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_these_bytes() {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, "enid", "eni-7", 64).unwrap();
        let packet = Packet {
            time_ns: 0x0102_0304_0506_0708,
            length: 60,
            bytes: &[0xaa, 0xbb, 0xcc],
            direction: Direction::Outbound,
            verdict: 2,
            comment: "drop",
        };
        writer.packet(&packet).unwrap();
        writer.end(1, 1, 2).unwrap();
        let expected: &[&[u8]] = &[
            // Section header: type, length, byte order, version, unknown length; application; end.
            &[
                0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
            ],
            &[0xff; 8],
            &[4, 0, 4, 0, b'e', b'n', b'i', b'd', 0, 0, 0, 0, 40, 0, 0, 0],
            // Interface: Ethernet, snaplen; name; nanoseconds; end.
            &[1, 0, 0, 0, 44, 0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0],
            &[2, 0, 5, 0, b'e', b'n', b'i', b'-', b'7', 0, 0, 0],
            &[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0],
            // Packet: interface 0, time, captured, length, bytes; comment; flags; verdict; end.
            &[6, 0, 0, 0, 72, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5],
            &[3, 0, 0, 0, 60, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0],
            &[1, 0, 4, 0, b'd', b'r', b'o', b'p', 2, 0, 4, 0, 2, 0, 0, 0],
            &[7, 0, 9, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 72, 0, 0, 0],
            // Statistics: interface 0, time; received; dropped; end.
            &[5, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            &[4, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 52, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
    }
}
