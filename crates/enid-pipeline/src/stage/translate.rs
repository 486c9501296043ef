//! Translate: a frame gets the addresses and ports that it goes on with. Checksums are updated by what
//! changes. Only IPv4 is translated.

use crate::{
    Scratch,
    bytes::Be16,
    flow::Translation,
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
        source: journey.source.v4_octets(),
        target: journey.target.v4_octets(),
        source_port: journey.source_port,
        target_port: journey.target_port,
    }
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
        protocol::ICMP => packet.transport + 2,
        _ => 0,
    };
    let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP);
    let of_address = Sum {
        is_address: true,
        is_optional: packet.protocol == protocol::UDP,
    };
    for (at, from, to) in [
        (SOURCE, packet.source.v4_octets(), new.source),
        (TARGET, packet.target.v4_octets(), new.target),
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
    let is_optional = of_address.is_optional;
    let source = Port {
        at: packet.transport,
        checksum,
        from: packet.source_port,
        to: new.source_port,
        is_optional,
    };
    if has_ports {
        let target = Port {
            at: packet.transport + 2,
            from: packet.target_port,
            to: new.target_port,
            ..source
        };
        port(frame, &source)?;
        port(frame, &target)
    } else if is_icmp_query(packet.protocol, packet.target_port.bytes()[0]) {
        let at = packet.transport + 4;
        port(frame, &Port { at, ..source })
    } else {
        Ok(())
    }
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
#[inline(never)]
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
    for (at, from, to) in [
        (SOURCE, key.source.v4_octets(), new.target),
        (TARGET, key.target.v4_octets(), new.source),
    ] {
        if from == to {
            continue;
        }
        if !(frame.update_ip_checksum(inner + CHECKSUM, from, to) && frame.store(inner + at, &to)) {
            return Err(Reason::Rewrite);
        }
    }
    let source = Port {
        at: scratch.quoted_transport,
        checksum: packet.transport + 2,
        from: key.source_port,
        to: new.target_port,
        is_optional: false,
    };
    match key.protocol {
        protocol::TCP | protocol::UDP => {
            let target = Port {
                at: source.at + 2,
                from: key.target_port,
                to: new.source_port,
                ..source
            };
            port(frame, &source)?;
            port(frame, &target)
        }
        protocol::ICMP if is_icmp_query(key.protocol, key.target_port.bytes()[0]) => {
            let id = Port {
                at: source.at + 4,
                to: new.source_port,
                ..source
            };
            port(frame, &id)
        }
        _ => Ok(()),
    }
}
