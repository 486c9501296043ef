//! IPv6 neighbour discovery: the virtual router answers solicitations for itself and for every endpoint of
//! the subnet, as it answers ARP.
//!
//! The answer is written over the question. A question whether anybody has the sender's own address is
//! swallowed: the control plane gave it to nobody else. Who asks for a router is answered by the agent
//! (`service`).

use crate::{
    bytes::{Addr, Mac, MacPair},
    frame::Frame,
    owner::{owner, owner_seen},
    packet::Packet,
    reason::Reason,
    stage::{parse::ETHERNET, service},
    table::protocol,
    tables::Tables,
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Options: the link-layer address of the source, and of the target; both one unit of eight bytes.
const SOURCE_LINK: [u8; 2] = [1, 1];
const TARGET_LINK: [u8; 2] = [2, 1];
/// Flags of an advertisement: asked for, and to replace what was known; and from a router.
const SOLICITED: u8 = 0x60;
const ROUTER: u8 = 0x80;
/// Lengths of a message without an option, and with one.
const PLAIN: u32 = 24;
const WITH_LINK: u32 = 32;
/// What crossed a router has a lower one (RFC 4861, section 7.1.1).
const HOP_LIMIT: u8 = 255;

/// Rewrites a solicitation into its advertisement.
#[inline(never)]
pub(crate) fn answer<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    ifindex: u32,
    packet: &Packet,
) -> Result<(), Reason> {
    let mut answer = Answer::NONE;
    find(tables, frame, ifindex, packet, &mut answer)?;
    let asker = packet.source_mac();
    if frame.store(0, &MacPair::new(asker, answer.mac).bytes()) && write(frame, &answer) {
        Ok(())
    } else {
        Err(Reason::Rewrite)
    }
}

/// Finds the answer to a solicitation.
#[inline(never)]
fn find<T: Tables, F: Frame>(
    tables: &T,
    frame: &F,
    ifindex: u32,
    packet: &Packet,
    answer: &mut Answer,
) -> Result<(), Reason> {
    let eni = tables.device(ifindex).ok_or(Reason::UnknownDevice)?;
    let record = tables.eni(eni).ok_or(Reason::Incomplete)?;
    if packet.source_mac() != record.mac {
        return Err(Reason::SourceMac);
    }
    let header = frame.load::<8>(ETHERNET).ok_or(Reason::Malformed)?.0;
    let body = frame.load::<24>(packet.transport).ok_or(Reason::NdOther)?.0;
    let length = u32::from(u16::from_be_bytes([header[4], header[5]]));
    if body[0] != SOLICITATION || header[7] != HOP_LIMIT || length < PLAIN {
        return Err(Reason::NdOther);
    }
    if packet.source == Addr::UNSPECIFIED {
        return Err(Reason::DuplicateAddress);
    }
    let is_own = packet.source.is_link_local() || owner(tables, record.vpc, &packet.source) == eni;
    let has_link = length >= WITH_LINK;
    if !is_own || has_link && !is_from(frame, packet.transport + PLAIN, record.mac) {
        return Err(Reason::NdSender);
    }
    let wanted = Addr::v6([
        body[8], body[9], body[10], body[11], body[12], body[13], body[14], body[15], body[16],
        body[17], body[18], body[19], body[20], body[21], body[22], body[23],
    ]);
    let subnet = tables.subnet(record.subnet).ok_or(Reason::Incomplete)?;
    let (mac, flags) = if subnet.is_router(&wanted) {
        (subnet.router_mac, ROUTER | SOLICITED)
    } else if service::has_address(tables, record.vpc, &wanted) {
        (subnet.router_mac, SOLICITED)
    } else {
        let owner = owner_seen(tables, record.vpc, record.subnet, &wanted);
        if owner == 0 || owner == eni {
            return Err(Reason::NdUnanswered);
        }
        let owner = tables.eni(owner).ok_or(Reason::Incomplete)?;
        if owner.subnet != record.subnet {
            return Err(Reason::NdUnanswered);
        }
        (owner.mac, SOLICITED)
    };
    *answer = Answer {
        from: wanted,
        to: packet.source,
        mac,
        flags,
        has_link,
    };
    Ok(())
}

/// Whether the option at this offset says who asks.
#[inline(never)]
fn is_from<F: Frame>(frame: &F, at: u32, mac: Mac) -> bool {
    match frame.load::<8>(at) {
        Some(option) => {
            let [kind, length, a, b, c, d, e, f] = option.0;
            [kind, length] == SOURCE_LINK && Mac([a, b, c, d, e, f]) == mac
        }
        None => false,
    }
}

/// An advertisement.
#[derive(Clone, Copy)]
struct Answer {
    from: Addr,
    to: Addr,
    mac: Mac,
    flags: u8,
    has_link: bool,
}

impl Answer {
    const NONE: Self = Self {
        from: Addr::UNSPECIFIED,
        to: Addr::UNSPECIFIED,
        mac: Mac([0; 6]),
        flags: 0,
        has_link: false,
    };
}

/// Writes IPv6 header and message over those of the question, which has no extension headers.
#[inline(never)]
fn write<F: Frame>(frame: &mut F, answer: &Answer) -> bool {
    let length = if answer.has_link { WITH_LINK } else { PLAIN };
    let m = answer.mac.0;
    // Pseudo header, message head, the address asked for, option. Sums of 16-bit words.
    let mut sum = length + u32::from(protocol::ICMP_V6);
    sum += u32::from(ADVERTISEMENT) << 8;
    sum += u32::from(answer.flags) << 8;
    sum += words(&answer.from) * 2 + words(&answer.to);
    if answer.has_link {
        sum += u32::from(u16::from_be_bytes(TARGET_LINK));
        sum += u32::from(u16::from_be_bytes([m[0], m[1]]));
        sum += u32::from(u16::from_be_bytes([m[2], m[3]]));
        sum += u32::from(u16::from_be_bytes([m[4], m[5]]));
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let [s, t] = (!(sum as u16)).to_be_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "one of two small lengths")]
    let length = length as u8;
    let head = [ADVERTISEMENT, 0, s, t, answer.flags, 0, 0, 0];
    let link = [
        TARGET_LINK[0],
        TARGET_LINK[1],
        m[0],
        m[1],
        m[2],
        m[3],
        m[4],
        m[5],
    ];
    let message = ETHERNET + 40;
    frame.store(ETHERNET + 4, &[0, length])
        && frame.store(ETHERNET + 8, &answer.from.octets())
        && frame.store(ETHERNET + 24, &answer.to.octets())
        && frame.store(message, &head)
        && (!answer.has_link || frame.store(message + PLAIN, &link))
}

/// The sum of an address's eight words.
#[inline(never)]
fn words(addr: &Addr) -> u32 {
    let octets = addr.octets();
    let mut sum = 0;
    for word in 0..8 {
        sum += u32::from(u16::from_be_bytes([octets[word * 2], octets[word * 2 + 1]]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::ledger::{A, B, Change, Gate, World, mac, router_mac};
    use crate::ledger_wide::{v6, wide};
    use crate::packet_builder::{PacketBuilder, Transport, neighbour_solicitation};
    use crate::table::ROUTER_LINK_LOCAL;

    const LINK_LOCAL: Addr = Addr::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);

    fn world() -> World {
        let mut world = wide(Gate::Closed, Gate::Closed);
        let subnet = world.memory.tables.subnets.get_mut(&11);
        subnet.expect("a subnet of the world").router_v6 = v6(1);
        world
    }

    /// The advertisement that answers a solicitation of A's.
    fn advertisement(from: Addr, to: Addr, link: Mac, flags: u8) -> PacketBuilder {
        let mut body = from.octets().to_vec();
        body.extend(TARGET_LINK);
        body.extend(link.0);
        let transport = Transport::Icmp {
            kind: 136,
            code: 0,
            rest: [flags, 0, 0, 0],
            body,
        };
        PacketBuilder {
            hop_limit: 255,
            ..PacketBuilder::new(from, to, transport).macs(link, mac(A))
        }
    }

    #[track_caller]
    fn refused(question: &PacketBuilder, reason: Reason) {
        let change = Change::dropped_again(reason);
        let _ = world().send(A, &mut question.frame(), &change);
    }

    #[test]
    fn the_router_and_the_neighbours_are_answered_for() {
        let router = (router_mac(11), 0xe0);
        for (sender, wanted, (link, flags)) in [
            (v6(0xa), v6(1), router),
            (LINK_LOCAL, ROUTER_LINK_LOCAL, router),
            (LINK_LOCAL, v6(0xb), (mac(B), 0x60)),
        ] {
            let mut frame = neighbour_solicitation(mac(A), sender, wanted).frame();
            let verdict = world().send(A, &mut frame, &Change::default());
            assert_eq!(verdict, Verdict::Reply);
            assert_eq!(frame, advertisement(wanted, sender, link, flags).frame());
        }
    }

    #[test]
    fn a_question_without_an_option_is_answered_without_one() {
        let mut question = neighbour_solicitation(mac(A), v6(0xa), v6(0xb));
        let mut answer = advertisement(v6(0xb), v6(0xa), mac(B), 0x60);
        for packet in [&mut question, &mut answer] {
            let Transport::Icmp { body, .. } = &mut packet.transport else {
                panic!("an ICMP message");
            };
            body.truncate(16);
        }
        let mut frame = question.frame();
        let _ = world().send(A, &mut frame, &Change::default());
        assert_eq!(frame, answer.frame());
    }

    #[test]
    fn nobody_else_is() {
        for wanted in [v6(0xa), v6(0xcc), LINK_LOCAL] {
            let question = neighbour_solicitation(mac(A), v6(0xa), wanted);
            refused(&question, Reason::NdUnanswered);
        }
        let own = neighbour_solicitation(mac(A), Addr::UNSPECIFIED, v6(0xa));
        refused(&own, Reason::DuplicateAddress);
    }

    #[test]
    fn only_the_eni_itself_asks() {
        let foreign = neighbour_solicitation(mac(A), v6(0xb), v6(1));
        refused(&foreign, Reason::NdSender);
        let mut other_link = neighbour_solicitation(mac(B), v6(0xa), v6(1));
        refused(&other_link, Reason::SourceMac);
        other_link.from_mac = mac(A);
        refused(&other_link, Reason::NdSender);
    }

    #[test]
    fn other_messages_are_swallowed() {
        let mut far = neighbour_solicitation(mac(A), v6(0xa), v6(1));
        far.hop_limit = 64;
        refused(&far, Reason::NdOther);
        // A router solicitation is for the link-local services, of which this host has none.
        for (kind, reason) in [
            (133, Reason::ServiceDown),
            (134, Reason::NdOther),
            (136, Reason::NdOther),
            (137, Reason::NdOther),
        ] {
            let mut other = neighbour_solicitation(mac(A), v6(0xa), v6(1));
            if let Transport::Icmp { kind: own, .. } = &mut other.transport {
                *own = kind;
            }
            refused(&other, reason);
        }
    }
}
