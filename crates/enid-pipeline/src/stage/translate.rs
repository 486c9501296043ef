//! Translate: a frame gets the addresses and ports that it goes on with. Checksums are updated by what
//! changes. Of IPv6 only what passes a load balancer is translated: TCP and UDP, and errors about them.

use crate::{
    Scratch,
    bytes::Addr,
    bytes::Be16,
    flow::{Translation, TranslationWords, tcp},
    frame::{Frame, Sum},
    packet::{Fragment, Packet},
    reason::Reason,
    stage::parse::{ETHERNET, is_icmp_query},
    table::protocol,
};

/// Offsets in an IPv4 header.
const CHECKSUM: u32 = 10;
const SOURCE: u32 = 12;
const TARGET: u32 = 16;

/// What the journey made of a packet's addresses and ports.
#[inline(always)]
pub(crate) fn of_journey(scratch: &Scratch) -> Translation {
    let journey = &scratch.journey;
    Translation {
        source: journey.source,
        target: journey.target,
        source_port: journey.source_port,
        target_port: journey.target_port,
    }
}

/// The same, as the words of the packet's entry.
#[inline(always)]
pub(crate) fn words_of_journey(scratch: &Scratch) -> TranslationWords {
    of_journey(scratch).words(&scratch.key.source, &scratch.key.target)
}

/// Rewrites a packet.
#[inline(never)]
pub(crate) fn packet<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    new: &Translation,
) -> Result<(), Reason> {
    // The offset of the transport checksum; a later fragment has none, and other protocols are only
    // addressed anew.
    let checksum = match packet.protocol {
        _ if packet.fragment == Fragment::Later => 0,
        protocol::TCP => packet.transport + 16,
        protocol::UDP => packet.transport + 6,
        protocol::ICMP | protocol::ICMP_V6 => packet.transport + 2,
        _ => 0,
    };
    if !packet.source.is_v4() {
        return wide(frame, packet, checksum, new);
    }
    let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP);
    let of_address = Sum {
        is_address: true,
        is_optional: packet.protocol == protocol::UDP,
    };
    for (at, from, to) in [
        (SOURCE, packet.source.v4_octets(), new.source.v4_octets()),
        (TARGET, packet.target.v4_octets(), new.target.v4_octets()),
    ] {
        if from == to {
            continue;
        }
        let is_done = frame.update_ip_checksum(ETHERNET + CHECKSUM, from, to)
            && (checksum == 0
                || !has_ports
                || frame.update_checksum(checksum, from, to, of_address))
            && frame.store(ETHERNET + at, &to);
        if !is_done {
            return Err(Reason::Rewrite);
        }
    }
    if checksum == 0 {
        return Ok(());
    }
    if has_ports {
        both_ports(frame, &ports_of(packet, checksum, new))
    } else if is_icmp_query(packet.protocol, packet.target_port.bytes()[0]) {
        let identifier = Port {
            at: packet.transport + 4,
            checksum,
            from: packet.source_port,
            to: new.source_port,
            is_optional: false,
        };
        port(frame, &identifier)
    } else {
        Ok(())
    }
}

/// The ports of a packet of TCP or UDP.
#[inline(always)]
const fn ports_of(packet: &Packet, checksum: u32, new: &Translation) -> Ports {
    Ports {
        at: packet.transport,
        checksum,
        from: [packet.source_port, packet.target_port],
        to: [new.source_port, new.target_port],
        is_optional: packet.protocol == protocol::UDP,
    }
}

/// Offsets in an IPv6 header.
const WIDE_SOURCE: u32 = 8;
const WIDE_TARGET: u32 = 24;

/// Rewrites a packet of IPv6, whose header has no checksum.
#[inline(never)]
fn wide<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    checksum: u32,
    new: &Translation,
) -> Result<(), Reason> {
    let sum = Sum {
        is_address: true,
        is_optional: packet.protocol == protocol::UDP,
    };
    let at = ETHERNET + WIDE_SOURCE;
    wide_address(frame, at, (checksum, sum), &packet.source, &new.source)?;
    let at = ETHERNET + WIDE_TARGET;
    wide_address(frame, at, (checksum, sum), &packet.target, &new.target)?;
    if checksum == 0 || packet.protocol == protocol::ICMP_V6 {
        return Ok(());
    }
    both_ports(frame, &ports_of(packet, checksum, new))
}

#[inline(always)]
fn wide_address<F: Frame>(
    frame: &mut F,
    at: u32,
    (checksum, sum): (u32, Sum),
    from: &Addr,
    to: &Addr,
) -> Result<(), Reason> {
    if from == to {
        return Ok(());
    }
    for (from, to) in from.words().into_iter().zip(to.words()) {
        let (from, to) = (from.to_ne_bytes(), to.to_ne_bytes());
        if checksum != 0 && from != to && !frame.update_checksum(checksum, from, to, sum) {
            return Err(Reason::Rewrite);
        }
    }
    if frame.store(at, &to.octets()) {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// Offset of the options in a TCP header, and the most that are read.
const OPTIONS: u32 = 20;
const OPTIONS_MAX: u32 = 10;
/// Options of one byte, and the largest segment with its length (RFC 9293, section 3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: [u8; 2] = [2, 4];
/// An IP header and a TCP header without options, of either family.
const HEADERS: u32 = 40;
const WIDE_HEADERS: u32 = 60;

/// Lowers the largest segment that a TCP packet announces to what a way with this MTU takes, so that no
/// packet is too long for it. Does nothing to packets that announce none.
#[inline(never)]
pub(crate) fn clamp_mss<F: Frame>(frame: &mut F, packet: &Packet, mtu: u32) -> Result<(), Reason> {
    let is_opening = packet.protocol == protocol::TCP && packet.tcp_flags & tcp::SYN != 0;
    let headers = if packet.source.is_v4() {
        HEADERS
    } else {
        WIDE_HEADERS
    };
    if !is_opening || packet.fragment == Fragment::Later || mtu <= headers {
        return Ok(());
    }
    let Some(head) = frame.load::<1>(packet.transport + 12) else {
        return Ok(());
    };
    let end = packet.transport + u32::from(head.0[0] >> 4) * 4;
    let mut at = packet.transport + OPTIONS;
    for _ in 0..OPTIONS_MAX {
        if at + 4 > end {
            break;
        }
        let Some(option) = frame.load::<4>(at) else {
            break;
        };
        let [kind, length, high, low] = option.0;
        if kind == END || kind != NOTHING && length < 2 {
            break;
        }
        if [kind, length] == MSS {
            let announced = u16::from_be_bytes([high, low]);
            return lower(frame, packet, at + 2, announced, mtu - headers);
        }
        at += if kind == NOTHING {
            1
        } else {
            u32::from(length)
        };
    }
    Ok(())
}

/// Writes a smaller number of two bytes, whose offset need not be even.
#[inline(never)]
fn lower<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    at: u32,
    from: u16,
    most: u32,
) -> Result<(), Reason> {
    if u32::from(from) <= most {
        return Ok(());
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than `from`")]
    let to = (most as u16).to_be_bytes();
    let from = from.to_be_bytes();
    // The sum is over words at even offsets; what is beside the number stays as it is.
    let words = |[a, b]: [u8; 2]| {
        if at.wrapping_sub(packet.transport).is_multiple_of(2) {
            [a, b, 0, 0]
        } else {
            [0, a, b, 0]
        }
    };
    let sum = Sum {
        is_address: false,
        is_optional: false,
    };
    if frame.update_checksum(packet.transport + 16, words(from), words(to), sum)
        && frame.store(at, &to)
    {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// Source and target port that change.
struct Ports {
    at: u32,
    /// Offset of the checksum that covers them.
    checksum: u32,
    from: [Be16; 2],
    to: [Be16; 2],
    is_optional: bool,
}

/// Rewrites both ports.
#[inline(never)]
fn both_ports<F: Frame>(frame: &mut F, ports: &Ports) -> Result<(), Reason> {
    let source = Port {
        at: ports.at,
        checksum: ports.checksum,
        from: ports.from[0],
        to: ports.to[0],
        is_optional: ports.is_optional,
    };
    let target = Port {
        at: ports.at + 2,
        from: ports.from[1],
        to: ports.to[1],
        ..source
    };
    port(frame, &source)?;
    port(frame, &target)
}

/// A port, or the identifier of an ICMP query, that changes.
#[derive(Clone, Copy)]
struct Port {
    at: u32,
    /// Offset of the checksum that covers it.
    checksum: u32,
    from: Be16,
    to: Be16,
    is_optional: bool,
}

/// Rewrites a port.
#[inline(always)]
fn port<F: Frame>(frame: &mut F, port: &Port) -> Result<(), Reason> {
    if port.from == port.to {
        return Ok(());
    }
    let ([a, b], [c, d]) = (port.from.bytes(), port.to.bytes());
    let sum = Sum {
        is_address: false,
        is_optional: port.is_optional,
    };
    if frame.update_checksum(port.checksum, [a, b, 0, 0], [c, d, 0, 0], sum)
        && frame.store(port.at, &[c, d])
    {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// Rewrites the packet that an ICMP error quotes, as its sender knew it: `new` is the translation of the
/// packets that answer it. The quoted transport checksum is left, nobody reads it. That the header's
/// checksum follows its addresses leaves the sum over the whole message as it was.
#[inline(never)]
pub(crate) fn quoted<F: Frame>(
    frame: &mut F,
    scratch: &Scratch,
    new: &Translation,
) -> Result<(), Reason> {
    let (packet, key) = (&scratch.packet, &scratch.quoted);
    let inner = packet.transport + 8;
    if !key.source.is_v4() {
        return quoted_wide(frame, scratch, new);
    }
    for (at, from, to) in [
        (SOURCE, key.source.v4_octets(), new.target.v4_octets()),
        (TARGET, key.target.v4_octets(), new.source.v4_octets()),
    ] {
        if from == to {
            continue;
        }
        if !(frame.update_ip_checksum(inner + CHECKSUM, from, to) && frame.store(inner + at, &to)) {
            return Err(Reason::Rewrite);
        }
    }
    match key.protocol {
        protocol::TCP | protocol::UDP => both_ports(frame, &quoted_ports(scratch, new)),
        protocol::ICMP if is_icmp_query(key.protocol, key.target_port.bytes()[0]) => {
            let id = Port {
                at: scratch.quoted_transport + 4,
                checksum: packet.transport + 2,
                from: key.source_port,
                to: new.source_port,
                is_optional: false,
            };
            port(frame, &id)
        }
        _ => Ok(()),
    }
}

/// The quoted ports, which the checksum of the error covers.
#[inline(always)]
const fn quoted_ports(scratch: &Scratch, new: &Translation) -> Ports {
    let key = &scratch.quoted;
    Ports {
        at: scratch.quoted_transport,
        checksum: scratch.packet.transport + 2,
        from: [key.source_port, key.target_port],
        to: [new.target_port, new.source_port],
        is_optional: false,
    }
}

/// The same for IPv6, of which TCP and UDP are translated. Its header has no checksum, so the message's follows
/// the addresses as well.
#[inline(never)]
fn quoted_wide<F: Frame>(
    frame: &mut F,
    scratch: &Scratch,
    new: &Translation,
) -> Result<(), Reason> {
    let (packet, key) = (&scratch.packet, &scratch.quoted);
    let inner = packet.transport + 8;
    let checksum = packet.transport + 2;
    let sum = Sum {
        is_address: false,
        is_optional: false,
    };
    let at = inner + WIDE_SOURCE;
    wide_address(frame, at, (checksum, sum), &key.source, &new.target)?;
    let at = inner + WIDE_TARGET;
    wide_address(frame, at, (checksum, sum), &key.target, &new.source)?;
    both_ports(frame, &quoted_ports(scratch, new))
}

#[cfg(test)]
mod tests {
    use crate::bytes::Addr;
    use crate::ledger::{A, Change, Gate};
    use crate::ledger_nat::behind;
    use crate::ledger_wide::{E, X, add_route, to};
    use crate::packet_builder::Transport;
    use crate::table::Route;

    #[test]
    fn the_largest_segment_is_what_the_way_takes() {
        // What is announced, where it lies, and what arrives: to the internet, and to a peer.
        let options = |before: &[u8], mss: u16| {
            let mut options = before.to_vec();
            options.extend([2, 4]);
            options.extend(mss.to_be_bytes());
            options.resize(8, 0);
            options
        };
        let mut world = behind(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 13, (16, [10, 9, 0, 0]), Route::PEERING, 3);
        let peer = Addr::v4([10, 9, 0, 40]);
        world.policy(E, Gate::Closed, Gate::Everybody);
        let nothing: [&[u8]; 3] = [&[], &[1], &[1, 1]];
        let mut number = 0;
        for before in nothing {
            for (target, from, to_mss) in [
                (X, 8961, 1460),
                (X, 1461, 1460),
                (X, 1460, 1460),
                (X, 536, 536),
                (peer, 8961, 8460),
                (peer, 8460, 8460),
            ] {
                number += 1;
                let mut packet = to(A, target, Transport::syn(number, 80));
                packet.payload = 8;
                let mut frame = packet.frame();
                frame[46] = 0x70;
                frame[54..62].copy_from_slice(&options(before, from));
                // The sum is that of a packet without options, as long.
                let before_sum = sum_of(&frame);
                let _ = world.send(A, &mut frame, &Change::opened(2, 48));
                assert_eq!(frame[54..62], options(before, to_mss), "{before:?} {from}");
                assert_eq!(sum_of(&frame), before_sum);
            }
        }
        // An option without an end, one that is cut short, and a packet without any.
        for bytes in [[2, 0, 1, 1], [5, 90, 1, 1], [0, 2, 4, 9]] {
            number += 1;
            let mut packet = to(A, X, Transport::syn(number, 80));
            packet.payload = 4;
            let mut frame = packet.frame();
            frame[46] = 0x60;
            frame[54..58].copy_from_slice(&bytes);
            let _ = world.send(A, &mut frame, &Change::opened(2, 44));
            assert_eq!(frame[54..58], bytes);
        }
    }

    /// What the checksum of a TCP packet of 48 bytes is wrong by: it stays, whatever is rewritten.
    fn sum_of(frame: &[u8]) -> u32 {
        let words = frame[26..62].chunks(2);
        let sum: u32 = words
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        (sum & 0xffff) + (sum >> 16)
    }
}
