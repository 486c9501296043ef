//! The flow table: one direction-aware entry per 5-tuple and ENI.
//!
//! A packet is looked up once, at the egress of the ENI that sends it. A connection from A to B has
//! two entries: (A, A→B), and the reply entry (B, B→A). Both appear when its first packet has
//! passed both gates. An entry is stamped with the generation of the tables that it was judged by;
//! an older one is judged again, except at gates where the flow is tracked: security groups are
//! stateful there.
//!
//! Fields that change are cells: the kernel's maps are shared between CPUs, sums go through
//! [`Tables::add`](crate::Tables::add), and every field is one word that is never torn.

mod translation;

pub use translation::{Translation, TranslationWords};

use core::{cell::Cell, mem::size_of};

use crate::{
    bytes::{Addr, Be16, MacPair, first_tail, second_tail},
    table::protocol,
};

/// Key of `flows` and `drops`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowKey {
    /// Index of the sending ENI's host-side device.
    pub ifindex: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub pad: [u8; 3],
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// Source port; the identifier of an ICMP query; else zero.
    pub source_port: Be16,
    /// Destination port; ICMP type and code; else zero.
    pub target_port: Be16,
}

impl FlowKey {
    /// The key of the packets that answer this flow's, sent by the device `ifindex`. ICMP messages
    /// that nothing answers have none.
    #[inline(always)]
    pub fn reversed(&self, ifindex: u32) -> Option<Self> {
        let (source_port, target_port) = match self.protocol {
            protocol::ICMP | protocol::ICMP_V6 => (self.source_port, answer(self.target_port)?),
            _ => (self.target_port, self.source_port),
        };
        Some(Self {
            ifindex,
            protocol: self.protocol,
            pad: [0; 3],
            source: self.target,
            target: self.source,
            source_port,
            target_port,
        })
    }
}

impl FlowKey {
    /// Whether the packets of this flow ask for an answer that the gates let through. Everything
    /// but ICMP does; of ICMP only queries do: an answer that nobody asked for opens nothing.
    #[inline(always)]
    pub const fn asks(&self) -> bool {
        let kind = self.target_port.bytes()[0];
        match self.protocol {
            protocol::ICMP => matches!(kind, 8 | 13 | 15 | 17),
            protocol::ICMP_V6 => kind == 128,
            _ => true,
        }
    }

    /// Puts the port, or the identifier, that packets like these answer.
    #[inline(always)]
    pub(crate) const fn put_answered_port(&mut self, port: Be16) {
        if matches!(self.protocol, protocol::ICMP | protocol::ICMP_V6) {
            self.source_port = port;
        } else {
            self.target_port = port;
        }
    }
}

/// The ICMP type and code that answer a query: echo, timestamp, information, mask; ICMPv6 echo.
#[inline(always)]
const fn answer(kind: Be16) -> Option<Be16> {
    let [kind, code] = kind.bytes();
    let kind = match kind {
        8 => 0,
        0 => 8,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        128 => 129,
        129 => 128,
        _ => return None,
    };
    Some(Be16::from_bytes([kind, code]))
}

/// A flow's entry. `W` is a plain word in user space and a cell in the pipeline.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flow<W> {
    // What a hit reads and writes comes first, in two cache lines: of a flow that was quiet for a while
    // the memory is cold, and each line counts.
    /// The generation of the tables that it was judged by.
    pub generation: W,
    /// [`flag`]s; in bits 8 to 15 the TCP flags seen.
    pub flags: W,
    /// Index of the target ENI's host-side device, in the lower half. The upper one is the last part of an
    /// IPv6 [`Translation`].
    pub target_ifindex: W,
    /// MAC addresses of the frame as it comes, as [`MacPair`] has them.
    pub arrives_head: W,
    /// MAC addresses of the frame as it goes on.
    pub leaves_head: W,
    /// The rest of both: see [`tails`](crate::bytes::tails).
    pub tails: W,
    /// When its last packet came.
    pub last_seen_ns: W,
    /// Packets of the wire.
    pub packets: W,
    /// Bytes from the IP header on.
    pub bytes: W,
    /// TCP: how far the connection's sequence numbers have come: see [`Sent`](crate::sequence::Sent).
    pub sent: W,
    /// When the entry was made.
    pub first_seen_ns: W,
    /// Of the present connection on this 5-tuple: `packets` when it began, in the lower half, and its
    /// handshake's round trip in microseconds, 0 if that is unknown.
    pub begun: W,
    /// The rule that admitted it at the source ENI.
    pub egress_rule: W,
    /// The rule that admitted it at the target ENI.
    pub ingress_rule: W,
    /// The ENI that sends.
    pub source_eni: W,
    /// The ENI that receives.
    pub target_eni: W,
    /// ICMP errors that came back about this flow's packets, in the lower half, and TCP's packets that were
    /// sent again.
    pub troubles: W,
    /// Idle timeouts: see [`Timeouts`].
    pub timeouts: W,
    /// The addresses and ports that a packet of a [`flag::TRANSLATED`] flow goes on with.
    pub new_addresses: W,
    /// The rest of them; see [`Translation`].
    pub new_ports: W,
    /// The NAT gateway that it passes, or if it is [`flag::BALANCED`] the node of a load balancer; 0 if none.
    pub via: W,
    /// The entries of network ACLs that let its latest judged packet pass: see [`AclEntries`].
    pub acl_entries: W,
    /// The route that decided first: its kind, and its prefix length from bit 32 on; 0 inside a subnet. From
    /// [`GATEWAY_EDGE_SHIFT`] on, if it passes a NAT gateway, how many edges of subnets lie before that, and one
    /// more.
    pub route: W,
    /// The instance that it is counted for, 0 if none: see [`room`](crate::room).
    pub holder: W,
}

/// An entry as the tables hold it.
pub type FlowEntry = Flow<Cell<u64>>;
/// An entry as user space reads it, and as it is first written.
pub type FlowRecord = Flow<u64>;

const _: () = assert!(size_of::<FlowKey>() == 44);
const _: () = assert!(size_of::<FlowEntry>() == 192);
const _: () = assert!(size_of::<FlowEntry>() == size_of::<FlowRecord>());

/// Bits of [`Flow::flags`].
pub mod flag {
    /// The packets of this entry answer the other one's.
    pub const REPLY: u64 = 1;
    /// Stateful at the sending ENI.
    pub const TRACKED_AT_SOURCE: u64 = 2;
    /// Stateful at the receiving ENI.
    pub const TRACKED_AT_TARGET: u64 = 4;
    /// Both sides said FIN, or one said RST.
    pub const CLOSING: u64 = 8;
    /// The connection is over, whatever the clock says: an answer came after the end of its query, or the
    /// packets that it answers go another way.
    pub const ENDED: u64 = 16;
    /// Its packets go on with other addresses or ports: see [`Translation`](super::Translation).
    pub const TRANSLATED: u64 = 32;
    /// Its packets go to the outside.
    pub const TO_OUTSIDE: u64 = 64;
    /// How far TCP's flags are shifted up: bits 8 to 15.
    pub const TCP_SHIFT: u32 = 8;
    /// Its key holds a port of a NAT gateway, which is counted: see [`nat_counts`](crate::nat_counts).
    pub const HOLDS_PORT: u64 = 1 << 16;
    /// An end has allowances: its packets are taken out of them.
    pub const METERED: u64 = 1 << 17;
    /// Counted among the connections that its holder tracks.
    pub const COUNTED: u64 = 1 << 18;
    /// TCP: both sides have acknowledged something. Half-open until then.
    pub const ESTABLISHED: u64 = 1 << 19;
    /// The port that its key holds is not counted: there was no room for one more destination.
    pub const UNCOUNTED_PORT: u64 = 1 << 20;
    /// Copies are wanted of what the sending ENI sends: see [`copy`](crate::copy).
    pub const WATCHED_AT_SOURCE: u64 = 1 << 21;
    /// And of what the receiving ENI gets.
    pub const WATCHED_AT_TARGET: u64 = 1 << 22;
    /// Both.
    pub const WATCHED: u64 = WATCHED_AT_SOURCE | WATCHED_AT_TARGET;
    /// TCP, after both FINs: who sends these packets has acknowledged all that the other side sent.
    pub const ACKNOWLEDGED: u64 = 1 << 23;
    /// It passes the node of a load balancer, [`Flow::via`](super::Flow::via).
    pub const BALANCED: u64 = 1 << 24;
    /// It passes two translators of this installation, a NAT gateway and a load balancer: what goes to the
    /// outside comes in again.
    pub const TURNED: u64 = 1 << 25;
    /// What its [`Translation`] has, two bits; none of them is of IPv4.
    pub const WIDE: u64 = 3 << 26;
    /// A new IPv6 destination; the source stays.
    pub const WIDE_TARGET: u64 = 1 << 26;
    /// A new IPv6 destination; the old one becomes the source.
    pub const WIDE_TURNED: u64 = 2 << 26;
    /// A new IPv6 source; the destination stays.
    pub const WIDE_SOURCE: u64 = 3 << 26;
    /// The proxy of a load balancer's node speaks under its client's address: what answers goes to the node,
    /// whoever has that address.
    pub const TRANSPARENT: u64 = 1 << 28;
    /// The bits that say how its packets go on.
    pub(crate) const WAY: u64 =
        TRANSLATED | TO_OUTSIDE | TURNED | WIDE | METERED | WATCHED | BALANCED | TRANSPARENT;
    /// From this bit on: the longest packet that its way takes; 0 is any.
    pub const MTU_SHIFT: u32 = 48;
}

/// From which bit on [`Flow::route`] says where on its way the NAT gateway is.
pub const GATEWAY_EDGE_SHIFT: u32 = 40;

/// One packet of TCP that was sent again, as [`Flow::troubles`] counts it.
pub const RETRANSMIT: u64 = 1 << 32;

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
pub(crate) const fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Packets of the present connection, of what an entry's words say. Beyond 2^32 they begin anew, which only
/// asks whether there were two or more.
#[inline(always)]
const fn packets_of_connection(packets: u64, begun: u64) -> u64 {
    low(packets).wrapping_sub(low(begun)) as u64
}

/// TCP header flags.
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Open.
    pub const SYN: u8 = 0x02;
    /// Abort.
    pub const RST: u8 = 0x04;
    /// The acknowledgement counts.
    pub const ACK: u8 = 0x10;
}

/// The key of the other direction's entry: the answer to the packet as it arrives, sent by the device
/// that it arrives at.
#[inline(always)]
fn opposite(key: &FlowKey, words: &TranslationWords) -> Option<FlowKey> {
    let mut back = key.reversed(low(words.rest))?;
    if words.flags & flag::TRANSLATED != 0 {
        words.put_addresses(&key.source, &key.target, &mut back.target, &mut back.source);
        let (source_port, target_port) = translation::ports_of(words.ports);
        if matches!(key.protocol, protocol::ICMP | protocol::ICMP_V6) {
            back.source_port = source_port;
        } else {
            (back.source_port, back.target_port) = (target_port, source_port);
        }
    }
    Some(back)
}

/// The entries of network ACLs that let a packet pass, as the word [`Flow::acl_entries`]: the first four
/// subnet edges on its way, 16 bits each from the lowest on. 0: not crossed, or an ACL that allows all.
pub type AclEntries = u64;

/// Idle timeouts that come from the ENIs, in seconds, and whether a NAT gateway has one of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// TCP established, or UDP before it is a stream.
    pub first_s: u32,
    /// UDP after more than one exchange; less than 2^31.
    pub stream_s: u32,
    /// Whether it passes a NAT gateway, which knows it for [`NAT_IDLE_S`], whatever the ENIs do.
    pub is_kept: bool,
}

impl Timeouts {
    /// As one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.is_kept as u64) << 63 | (self.stream_s as u64) << 32 | self.first_s as u64
    }

    /// From the word.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            first_s: word as u32,
            stream_s: (word >> 32) as u32 & (u32::MAX >> 1),
            is_kept: word >> 63 != 0,
        }
    }
}

/// How long a NAT gateway keeps an idle connection (VPC user guide, "Troubleshoot NAT gateways").
pub const NAT_IDLE_S: u32 = 350;
/// For how long after its idle timeout a load balancer's connection is remembered, so that the target's next
/// packet is reset as well. The client's is in any case: it comes to the node.
pub const LAPSED_S: u32 = 350;
/// TCP until both sides have acknowledged: a server that answers does not keep what nobody completes.
pub const TCP_OPENING_S: u32 = 60;
/// TCP after both FINs or a RST.
pub const TCP_CLOSING_S: u32 = 10;
/// TCP after both FINs when both sides have acknowledged everything: only the last FIN may come again, if its
/// acknowledgement is lost, and that keeps the entry.
pub const TCP_CLOSED_S: u32 = 2;
/// ICMP queries and messages.
pub const ICMP_S: u32 = 30;
/// Every other protocol.
pub const OTHER_S: u32 = 600;
/// The shortest of all idle timeouts: a flow seen since then has not ended.
pub const SHORTEST_S: u32 = TCP_CLOSED_S;
/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

impl FlowEntry {
    /// The key of the entry of the other direction, which answers this one's packets. A function of its own in
    /// the kernel: those that ask have no stack left for what it needs on the way.
    #[inline(never)]
    pub fn opposite(&self, key: &FlowKey) -> Option<FlowKey> {
        opposite(key, &self.translation_words())
    }

    /// The addresses and ports that its packets go on with, if it is [`flag::TRANSLATED`].
    #[inline(always)]
    pub fn translation(&self, key: &FlowKey) -> Translation {
        Translation::from_words(&self.translation_words(), &key.source, &key.target)
    }

    #[inline(always)]
    const fn translation_words(&self) -> TranslationWords {
        TranslationWords {
            addresses: self.new_addresses.get(),
            ports: self.new_ports.get(),
            rest: self.target_ifindex.get(),
            flags: self.flags.get(),
        }
    }

    /// The entry's present words.
    pub fn snapshot(&self) -> FlowRecord {
        self.map(Cell::get)
    }

    /// The MAC addresses that its frames come with.
    #[inline(always)]
    pub const fn arrives(&self) -> MacPair {
        MacPair {
            head: self.arrives_head.get(),
            tail: first_tail(self.tails.get()),
        }
    }

    /// Packets of the present connection.
    #[inline(always)]
    pub const fn packets_of_connection(&self) -> u64 {
        packets_of_connection(self.packets.get(), self.begun.get())
    }

    /// Notes that a connection begins with the next packet.
    #[inline(always)]
    pub(crate) fn begin(&self) {
        self.begun.set(u64::from(low(self.packets.get())));
    }

    /// Notes how long the other side took to answer in the handshake.
    #[inline(always)]
    pub(crate) fn note_round_trip(&self, microseconds: u32) {
        let begun = u64::from(low(self.begun.get()));
        self.begun.set(u64::from(microseconds) << 32 | begun);
    }

    /// The round trip of the present connection's handshake in microseconds, 0 if it is unknown.
    #[inline(always)]
    pub(crate) const fn round_trip_us(&self) -> u32 {
        high(self.begun.get())
    }

    /// The MAC addresses that its frames go on with.
    #[inline(always)]
    pub const fn leaves(&self) -> MacPair {
        MacPair {
            head: self.leaves_head.get(),
            tail: second_tail(self.tails.get()),
        }
    }
}

impl<W> Flow<W> {
    /// The same entry with each word changed by `f`.
    pub fn map<V>(&self, f: impl Fn(&W) -> V) -> Flow<V> {
        Flow {
            packets: f(&self.packets),
            bytes: f(&self.bytes),
            first_seen_ns: f(&self.first_seen_ns),
            last_seen_ns: f(&self.last_seen_ns),
            sent: f(&self.sent),
            begun: f(&self.begun),
            egress_rule: f(&self.egress_rule),
            ingress_rule: f(&self.ingress_rule),
            source_eni: f(&self.source_eni),
            target_eni: f(&self.target_eni),
            troubles: f(&self.troubles),
            generation: f(&self.generation),
            target_ifindex: f(&self.target_ifindex),
            arrives_head: f(&self.arrives_head),
            leaves_head: f(&self.leaves_head),
            tails: f(&self.tails),
            flags: f(&self.flags),
            timeouts: f(&self.timeouts),
            new_addresses: f(&self.new_addresses),
            new_ports: f(&self.new_ports),
            via: f(&self.via),
            acl_entries: f(&self.acl_entries),
            route: f(&self.route),
            holder: f(&self.holder),
        }
    }
}

impl FlowRecord {
    /// The key of the entry of the other direction, which answers this one's packets.
    pub fn opposite(&self, key: &FlowKey) -> Option<FlowKey> {
        opposite(key, &self.translation_words())
    }

    /// The addresses and ports that its packets go on with, if it is [`flag::TRANSLATED`].
    pub fn translation(&self, key: &FlowKey) -> Translation {
        Translation::from_words(&self.translation_words(), &key.source, &key.target)
    }

    /// Index of the target ENI's host-side device.
    pub const fn target_device(&self) -> u32 {
        low(self.target_ifindex)
    }

    const fn translation_words(&self) -> TranslationWords {
        TranslationWords {
            addresses: self.new_addresses,
            ports: self.new_ports,
            rest: self.target_ifindex,
            flags: self.flags,
        }
    }

    /// How long the other side took to answer in the handshake of the present connection, in microseconds:
    /// from this direction's packet to the first one that acknowledged it. None if that is unknown.
    pub const fn round_trip_us(&self) -> Option<u32> {
        match high(self.begun) {
            0 => None,
            microseconds => Some(microseconds),
        }
    }

    /// TCP's packets that were sent again: see [`sequence`](crate::sequence).
    pub const fn retransmits(&self) -> u32 {
        high(self.troubles)
    }

    /// How many edges of subnets its packets cross before they come to the interface of the NAT gateway that they
    /// pass.
    pub const fn edges_before_gateway(&self) -> Option<usize> {
        match self.route >> GATEWAY_EDGE_SHIFT & 0xff {
            0 => None,
            place => Some(low(place) as usize - 1),
        }
    }

    /// ICMP errors that came back about this flow's packets.
    pub const fn related_packets(&self) -> u32 {
        low(self.troubles)
    }

    /// As the tables hold it.
    pub fn entry(&self) -> FlowEntry {
        self.map(|word| Cell::new(*word))
    }

    /// Whether there is nothing to be done about the connection for sure, by what this entry alone says: its
    /// opposite may only have been seen later. One that has ended is to be removed, and one that only a NAT
    /// gateway knows any more is not counted among those that its holder tracks.
    pub fn is_settled(&self, protocol: u8, now_ns: u64) -> bool {
        let timeouts = Timeouts::from_word(self.timeouts);
        let own = Activity {
            last_seen_ns: self.last_seen_ns,
            packets: packets_of_connection(self.packets, self.begun),
            flags: self.flags,
        };
        match age(protocol, timeouts, own, Activity::NONE, now_ns) {
            Age::Live => true,
            Age::Forgotten | Age::Lapsed => self.flags & flag::COUNTED == 0,
            Age::Ended => false,
        }
    }
}

/// What of one direction decides when the connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activity {
    /// When its last packet came.
    pub last_seen_ns: u64,
    /// Packets since the connection began.
    pub packets: u64,
    /// [`Flow::flags`].
    pub flags: u64,
}

impl Activity {
    /// Of a direction without an entry: nobody there has something to acknowledge.
    pub const NONE: Self = Self {
        last_seen_ns: 0,
        packets: 0,
        flags: flag::ACKNOWLEDGED,
    };

    /// Of an entry.
    #[inline(always)]
    pub const fn of(entry: &FlowEntry) -> Self {
        Self {
            last_seen_ns: entry.last_seen_ns.get(),
            packets: entry.packets_of_connection(),
            flags: entry.flags.get(),
        }
    }
}

/// How far a connection has come that sees no more packets.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// It goes on.
    Live = 0,
    /// The ENIs have forgotten it; a NAT gateway has not. Its packets are translated as before, and judged as
    /// if they were the first.
    Forgotten = 1,
    /// A load balancer was rid of it when it had been idle for too long, and resets what still comes of it.
    Lapsed = 2,
    /// It is over.
    Ended = 3,
}

/// Whether a connection is remembered after its idle timeout: one through a load balancer that nobody closed.
/// What holds a port of the node's need not be, for the target's next packet comes to the node.
#[inline(always)]
const fn laps(protocol: u8, flags: u64) -> bool {
    const LAPSES: u64 = flag::BALANCED | flag::ESTABLISHED;
    const ENDS: u64 = flag::CLOSING | flag::HOLDS_PORT;
    protocol == protocol::TCP && flags & (LAPSES | ENDS) == LAPSES
}

/// How far a connection has come by now.
#[inline(always)]
pub const fn age(
    protocol: u8,
    timeouts: Timeouts,
    own: Activity,
    other: Activity,
    now_ns: u64,
) -> Age {
    if own.flags & flag::ENDED != 0 {
        return Age::Ended;
    }
    let flags = own.flags | other.flags;
    let mut kept_s = NAT_IDLE_S;
    let idle_s = match protocol {
        protocol::TCP => {
            if flags & flag::CLOSING != 0 {
                kept_s = if own.flags & other.flags & flag::ACKNOWLEDGED != 0 {
                    TCP_CLOSED_S
                } else {
                    TCP_CLOSING_S
                };
                kept_s
            } else if flags & flag::ESTABLISHED == 0 {
                kept_s = TCP_OPENING_S;
                TCP_OPENING_S
            } else {
                timeouts.first_s
            }
        }
        protocol::UDP => {
            if own.packets > 1 && other.packets > 1 {
                timeouts.stream_s
            } else {
                timeouts.first_s
            }
        }
        protocol::ICMP | protocol::ICMP_V6 => ICMP_S,
        _ => OTHER_S,
    };
    let last_ns = if own.last_seen_ns > other.last_seen_ns {
        own.last_seen_ns
    } else {
        other.last_seen_ns
    };
    let quiet_ns = now_ns.saturating_sub(last_ns);
    let is_forgotten = quiet_ns > idle_s as u64 * SECOND_NS;
    let is_over = if timeouts.is_kept {
        quiet_ns > kept_s as u64 * SECOND_NS
    } else {
        is_forgotten
    };
    if is_over && laps(protocol, flags) && quiet_ns <= (idle_s + LAPSED_S) as u64 * SECOND_NS {
        Age::Lapsed
    } else if is_over {
        Age::Ended
    } else if is_forgotten {
        Age::Forgotten
    } else {
        Age::Live
    }
}

#[cfg(test)]
mod tests;
