//! Reply: what a gateway says to the sender of a packet that it does not carry.
//!
//! - Too long for its way: "fragmentation needed" or "packet too big" with the length that passes (RFC 1191,
//!   RFC 8201), from the subnet's router, which stands for an internet gateway, or from the NAT gateway.
//! - TCP through a NAT gateway, or to the node of a load balancer, that does not know the connection: a reset,
//!   as if from the other end.
//!
//! The packet was dropped and is counted as such. The answer is written over it and goes back through the
//! device that it came from. What a NAT gateway in another subnet says crosses the network ACLs between.
//!
//! An answer is shorter than its cause and goes to nobody but the sender, so nothing bounds their number.
//! IPv4 senders that allow fragments are told as well: gateways here cut nothing, and who has learnt the
//! length cuts for itself. As RFC 1122 has it there is no error about an error, nor about a later fragment.

use crate::{
    Scratch,
    bytes::{Addr, Be16, MacPair},
    flow::tcp,
    frame::Frame,
    packet::{Fragment, Packet},
    reason::Reason,
    stage::{acl, nat::index_of, parse::ETHERNET},
    table::{OUTSIDE, ROUTER_LINK_LOCAL, protocol},
    tables::Tables,
};

/// How much of a packet is quoted: the longest header and the eight bytes after it that say whose packet it
/// is (RFC 792); of IPv6 the header, some extensions, and more than these bytes.
const QUOTED_V4: u8 = 68;
const QUOTED_V6: u8 = 88;
/// The most words of four bytes that are quoted.
const QUOTED_WORDS_MAX: u32 = 22;
/// ICMP: destination unreachable, fragmentation needed. ICMPv6: packet too big.
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
const TTL: u8 = 64;

const _: () = assert!(QUOTED_V4.is_multiple_of(4) && QUOTED_V6 as u32 == QUOTED_WORDS_MAX * 4);

/// Writes the answer over the packet, if this reason has one. False if there is none, and the frame is
/// dropped.
#[inline(always)]
pub(crate) fn answer<T: Tables, F: Frame>(
    tables: &T,
    frame: &mut F,
    reason: Reason,
    scratch: &mut Scratch,
) -> bool {
    match reason {
        Reason::TooBig => too_big(tables, frame, scratch),
        Reason::NatReset => reset(tables, frame, scratch),
        Reason::BalancerReset => {
            scratch.packet.protocol == protocol::TCP && reset(tables, frame, scratch)
        }
        _ => false,
    }
}

#[inline(always)]
fn too_big<T: Tables, F: Frame>(tables: &T, frame: &mut F, scratch: &mut Scratch) -> bool {
    let is_silent = scratch.packet.is_icmp_error() || scratch.packet.fragment == Fragment::Later;
    if is_silent || !find_router(tables, scratch) {
        return false;
    }
    if !scratch.packet.source.is_v4() {
        return write_v6(frame, scratch);
    }
    scratch.packet.protocol = protocol::ICMP;
    scratch.journey.target_port = Be16::from_bytes(FRAGMENTATION_NEEDED);
    is_let_back(tables, scratch) && write_v4(frame, scratch)
}

/// Finds who says that a packet is too long, and makes it the journey's source.
#[inline(never)]
fn find_router<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let journey = &mut scratch.journey;
    if journey.nat != 0 {
        let Some(nat) = tables.nat(journey.nat) else {
            return false;
        };
        // What comes back it answers from where it came to. Before it has chosen an address it speaks with
        // the first.
        let own = if journey.is_back {
            scratch.packet.target
        } else {
            journey.source
        };
        let index = index_of(nat, own.v4_octets()).unwrap_or(0);
        let Some(private) = nat.private.get(index) else {
            return false;
        };
        journey.source = Addr::v4(*private);
        return true;
    }
    let Some(sender) = tables.eni(scratch.source_eni) else {
        return false;
    };
    let Some(subnet) = tables.subnet(sender.subnet) else {
        return false;
    };
    journey.source = if scratch.packet.source.is_v4() {
        subnet.router
    } else if subnet.router_v6 == Addr::UNSPECIFIED {
        ROUTER_LINK_LOCAL
    } else {
        subnet.router_v6
    };
    true
}

/// Whether the network ACLs between a NAT gateway or a node and the sender let an answer pass, which the journey's
/// source and port say.
#[inline(never)]
fn is_let_back<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let near = match (scratch.journey.nat, scratch.journey.balancer) {
        (0, 0) => return true,
        (0, node) => tables.eni(node).map_or(0, |node| node.subnet),
        (nat, _) => tables.nat(nat).map_or(0, |nat| nat.subnet),
    };
    scratch.journey.target = scratch.packet.source;
    scratch.journey.forget_edges();
    let Some(from) = tables.subnet(near) else {
        return false;
    };
    if scratch.source_eni == OUTSIDE {
        return scratch.journey.leave(from).is_ok() && acl::judge(tables, scratch).is_ok();
    }
    let Some(sender) = tables.eni(scratch.source_eni) else {
        return false;
    };
    if near == sender.subnet {
        return true;
    }
    let Some(to) = tables.subnet(sender.subnet) else {
        return false;
    };
    let journey = &mut scratch.journey;
    journey.leave(from).is_ok() && journey.enter(to).is_ok() && acl::judge(tables, scratch).is_ok()
}

/// The frame's MAC addresses, the other way around.
#[inline(always)]
fn turned(macs: &MacPair) -> [u8; 12] {
    MacPair::new(macs.source(), macs.destination()).bytes()
}

/// Cuts the frame and moves what lies behind the Ethernet header up, to be quoted behind `by` bytes of new
/// headers. Gives the sum of what is quoted. Word by word and the last one first: no stack holds it all.
#[inline(never)]
fn quote<F: Frame>(frame: &mut F, length: u32, by: u32) -> Option<u32> {
    if frame.len() < ETHERNET + by + length || !frame.cut(ETHERNET + by + length) {
        return None;
    }
    let mut sum = 0;
    let count = length / 4;
    for number in 1..=QUOTED_WORDS_MAX {
        if number > count {
            break;
        }
        let at = ETHERNET + (count - number) * 4;
        let word = frame.load::<4>(at)?.0;
        if !frame.store(at + by, &word) {
            return None;
        }
        sum += self::sum(&word);
    }
    Some(sum)
}

#[inline(never)]
fn write_v4<F: Frame>(frame: &mut F, scratch: &Scratch) -> bool {
    let Some(quoted) = quote(frame, u32::from(QUOTED_V4), 28) else {
        return false;
    };
    let (source, target) = (scratch.journey.source, scratch.packet.source);
    let head = ip_header(8 + u16::from(QUOTED_V4), protocol::ICMP, source, target);
    let [.., a, b] = scratch.journey.mtu.to_be_bytes();
    let [kind, code] = FRAGMENTATION_NEEDED;
    let mut icmp = [kind, code, 0, 0, 0, 0, a, b];
    [icmp[2], icmp[3]] = folded(sum(&icmp) + quoted);
    frame.store(0, &turned(&scratch.packet.macs))
        && frame.store(ETHERNET, &head)
        && frame.store(ETHERNET + 20, &icmp)
}

#[inline(never)]
fn write_v6<F: Frame>(frame: &mut F, scratch: &Scratch) -> bool {
    let Some(quoted) = quote(frame, u32::from(QUOTED_V6), 48) else {
        return false;
    };
    const LENGTH: u8 = 8 + QUOTED_V6;
    let (source, target) = (scratch.journey.source, scratch.packet.source);
    let head = [0x60, 0, 0, 0, 0, LENGTH, protocol::ICMP_V6, TTL];
    let [a, b, c, d] = scratch.journey.mtu.to_be_bytes();
    let [kind, code] = PACKET_TOO_BIG;
    let mut icmp = [kind, code, 0, 0, a, b, c, d];
    let pseudo = u32::from(LENGTH)
        + u32::from(protocol::ICMP_V6)
        + sum(&source.octets())
        + sum(&target.octets());
    [icmp[2], icmp[3]] = folded(pseudo + sum(&icmp) + quoted);
    frame.store(0, &turned(&scratch.packet.macs))
        && frame.store(ETHERNET, &head)
        && frame.store(ETHERNET + 8, &source.octets())
        && frame.store(ETHERNET + 24, &target.octets())
        && frame.store(ETHERNET + 40, &icmp)
}

/// Resets a TCP connection (RFC 9293, section 3.10.7.1): with the number that the sender waits for, or with
/// one that says what is refused. A reset is not answered.
#[inline(never)]
fn reset<T: Tables, F: Frame>(tables: &T, frame: &mut F, scratch: &mut Scratch) -> bool {
    let flags = scratch.packet.tcp_flags;
    if flags & tcp::RST != 0 {
        return false;
    }
    scratch.journey.source = scratch.packet.target;
    scratch.journey.target_port = scratch.packet.source_port;
    is_let_back(tables, scratch) && write_reset(frame, scratch)
}

/// The length of an IPv6 header.
const WIDE: u32 = 40;

#[inline(never)]
fn write_reset<F: Frame>(frame: &mut F, scratch: &Scratch) -> bool {
    let packet = &scratch.packet;
    let Some(tcp) = frame.load::<20>(packet.transport) else {
        return false;
    };
    let t = tcp.0;
    let (source, target) = (packet.target, packet.source);
    let (number, known, flags) = if packet.tcp_flags & tcp::ACK != 0 {
        ([t[8], t[9], t[10], t[11]], [0; 4], tcp::RST)
    } else {
        // A segment's length counts its first and its last flag.
        let header = packet.transport - ETHERNET + u32::from(t[12] >> 4) * 4;
        let mut length = packet.bytes.wrapping_sub(header);
        for flag in [tcp::SYN, tcp::FIN] {
            if packet.tcp_flags & flag != 0 {
                length = length.wrapping_add(1);
            }
        }
        let after = u32::from_be_bytes([t[4], t[5], t[6], t[7]]).wrapping_add(length);
        ([0; 4], after.to_be_bytes(), tcp::RST | tcp::ACK)
    };
    let mut reset = [
        t[2], t[3], t[0], t[1], number[0], number[1], number[2], number[3], known[0], known[1],
        known[2], known[3], 0x50, flags, 0, 0, 0, 0, 0, 0,
    ];
    let is_v4 = source.is_v4();
    let addresses = if is_v4 {
        sum(&source.v4_octets()) + sum(&target.v4_octets())
    } else {
        sum(&source.octets()) + sum(&target.octets())
    };
    let pseudo = 20 + u32::from(protocol::TCP) + addresses;
    [reset[16], reset[17]] = folded(pseudo + sum(&reset));
    if !is_v4 {
        return frame.cut(ETHERNET + WIDE + 20)
            && frame.store(ETHERNET + WIDE, &reset)
            && write_wide_header(frame, packet);
    }
    let head = ip_header(20, protocol::TCP, source, target);
    frame.cut(ETHERNET + 40)
        && frame.store(0, &turned(&packet.macs))
        && frame.store(ETHERNET, &head)
        && frame.store(ETHERNET + 20, &reset)
}

/// Writes the header of a reset that answers a packet of IPv6.
#[inline(never)]
fn write_wide_header<F: Frame>(frame: &mut F, packet: &Packet) -> bool {
    let head = [0x60, 0, 0, 0, 0, 20, protocol::TCP, TTL];
    frame.store(0, &turned(&packet.macs))
        && frame.store(ETHERNET, &head)
        && frame.store(ETHERNET + 8, &packet.target.octets())
        && frame.store(ETHERNET + 24, &packet.source.octets())
}

/// An IPv4 header without options, before so many bytes.
#[inline(always)]
fn ip_header(length: u16, number: u8, source: Addr, target: Addr) -> [u8; 20] {
    let [a, b] = (20 + length).to_be_bytes();
    let (s, t) = (source.v4_octets(), target.v4_octets());
    let mut head = [
        0x45, 0, a, b, 0, 0, 0, 0, TTL, number, 0, 0, s[0], s[1], s[2], s[3], t[0], t[1], t[2],
        t[3],
    ];
    [head[10], head[11]] = folded(sum(&head));
    head
}

/// The sum of an even number of bytes, as words.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    for word in 0..N / 2 {
        sum += u32::from(u16::from_be_bytes([bytes[word * 2], bytes[word * 2 + 1]]));
    }
    sum
}

/// The Internet checksum of a sum (RFC 1071).
#[inline(always)]
fn folded(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let sum = !(sum as u16);
    sum.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use crate::ledger::{A, Change, Gate, World, query};
    use crate::ledger_nat::{ACK, answer, behind, comes, goes, opened, tcp};
    use crate::ledger_wide::{
        E, NAT, NAT_PRIVATE, NAT_PUBLIC, SENT_OUT, X, add_route, at, forward, from_x, set_acl, to,
        too_big, wide_addr,
    };
    use crate::packet_builder::{PacketBuilder, Transport};
    use crate::table::Route;

    /// Sends a packet from A that the gateway answers with a reset that has these bytes of a TCP header.
    #[track_caller]
    fn is_reset(world: &World, packet: &PacketBuilder, change: &Change, number: [u8; 9]) {
        let mut frame = packet.frame();
        assert_eq!(world.send(A, &mut frame, change), Verdict::Reply);
        let reset = PacketBuilder::new(X, wide_addr(A), tcp(80, 5, number[8]));
        let mut wanted = reset.macs(packet.to_mac, packet.from_mac).frame();
        wanted[38..46].copy_from_slice(&number[..8]);
        wanted[48..50].fill(0);
        wanted[50..52].copy_from_slice(&frame[50..52]);
        assert_eq!(frame[..54], wanted[..54]);
        // Pseudo header and header, checksum included.
        let words = frame[26..54].chunks(2);
        let sum: u32 = words
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = sum + 20 + u32::from(protocol::TCP);
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_connection_ends_after_350_idle_seconds_and_is_reset() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let port = opened(&world, 2);
        let mut completes = to(A, X, tcp(5, 80, ACK)).frame();
        let _ = world.send(A, &mut completes, &Change::carried(40));
        world.wait_s(349);
        let again = from_x(NAT_PUBLIC, tcp(80, port, ACK));
        comes(&world, &again, &at(A, X, tcp(80, 5, ACK)));
        world.wait_s(351);
        let change = Change::dropped(Reason::NatUnsolicited);
        let _ = world.send_in(&mut again.frame(), &change);
        // With the number that the sender waits for; of what acknowledges nothing, what it refuses.
        let mut late = to(A, X, tcp(5, 80, ACK));
        late.payload = 10;
        let change = Change::dropped(Reason::NatReset);
        is_reset(&world, &late, &change, [0, 0, 0, 0, 0, 0, 0, 0, 4]);
        let change = Change::dropped_again(Reason::NatReset);
        let fin = to(A, X, tcp(5, 80, 1));
        is_reset(&world, &fin, &change, [0, 0, 0, 0, 0, 0, 0, 1, 0x14]);
        // A reset is not answered.
        let reset = to(A, X, tcp(5, 80, 4));
        let verdict = world.send(A, &mut reset.frame(), &change);
        assert_eq!(verdict, Verdict::Drop(Reason::NatReset));
        // Opened anew it has the same port, and UDP needs no opening.
        assert_eq!(goes(&world, A, &to(A, X, Transport::syn(5, 80)), 0), port);
        let udp = goes(&world, A, &to(A, X, query()), 2);
        world.wait_s(351);
        assert_eq!(goes(&world, A, &to(A, X, query()), 0), udp);
        let counts = world.memory.counts_of(NAT);
        assert_eq!(
            (counts.attempts, counts.established, counts.idle),
            (2, 1, 1)
        );
        assert_eq!((counts.refused_out_packets, counts.dropped_packets), (3, 2));
        assert_eq!(counts.refused_back_packets, 1);
    }

    #[test]
    fn a_packet_of_no_connection_is_reset_if_the_lists_let_the_reset_back() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        let strange = to(A, X, tcp(5, 80, ACK));
        let change = Change::dropped(Reason::NatReset);
        is_reset(&world, &strange, &change, [0, 0, 0, 0, 0, 0, 0, 0, 4]);
        // From X's port 80 into A's subnet.
        let all = (100, true, 0, [0; 4], None);
        let x = (10, false, 32, X.v4_octets(), Some((protocol::TCP, 5)));
        set_acl(&mut world, 11, None, Some(&[x, all]));
        let change = Change::dropped_again(Reason::NatReset);
        let verdict = world.send(A, &mut strange.frame(), &change);
        assert_eq!(verdict, Verdict::Drop(Reason::NatReset));
        // What its own gate refuses does not come as far.
        world.policy(A, Gate::Closed, Gate::Closed);
        let change = Change::dropped_again(Reason::EgressRule);
        let _ = world.send(A, &mut strange.frame(), &change);
    }

    #[test]
    fn packets_of_8500_bytes_pass_within_and_of_1500_to_the_internet() {
        let mut world = behind(Gate::Everybody, Gate::Closed);
        add_route(&mut world, 13, (16, [10, 9, 0, 0]), Route::PEERING, 3);
        add_route(&mut world, 31, (16, [10, 0, 0, 0]), Route::PEERING, 1);
        world.policy(E, Gate::Closed, Gate::Everybody);
        let peer = Addr::v4([10, 9, 0, 40]);
        let of = |target, length: usize| {
            let mut packet = to(A, target, query());
            packet.payload = length - 28;
            packet
        };
        let told = |world: &World, packet: &PacketBuilder, change: &Change, mtu| {
            let mut frame = packet.frame();
            assert_eq!(world.send(A, &mut frame, change), Verdict::Reply);
            let answer = too_big(packet, NAT_PRIVATE, mtu).frame();
            assert_eq!(frame[..answer.len()], answer);
        };
        let change = Change::dropped(Reason::TooBig);
        told(&world, &of(peer, 8501), &change, 8500);
        let mut fits = of(peer, 8500).frame();
        assert_eq!(
            world.send(A, &mut fits, &Change::opened(2, 8500)),
            forward(E)
        );
        told(
            &world,
            &of(peer, 8501),
            &Change::dropped_again(Reason::TooBig),
            8500,
        );
        told(&world, &of(X, 9001), &change, 8500);
        let again = Change::dropped_again(Reason::TooBig);
        told(&world, &of(X, 1501), &again, 1500);
        let mut fits = of(X, 1500).frame();
        assert_eq!(world.send(A, &mut fits, &Change::opened(2, 1500)), SENT_OUT);
        // The way back is as wide.
        let asked = of(peer, 8500);
        let mut frame = asked.frame();
        let _ = world.send(A, &mut frame, &Change::carried(8500));
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let mut long = to(E, NAT_PRIVATE, answer(port));
        long.payload = 8501 - 28;
        let mut frame = long.frame();
        let verdict = world.send(E, &mut frame, &Change::dropped(Reason::TooBig));
        assert_eq!(verdict, Verdict::Reply);
        let told = too_big(&long, NAT_PRIVATE, 8500).frame();
        assert_eq!(frame[..told.len()], told);
    }
}
