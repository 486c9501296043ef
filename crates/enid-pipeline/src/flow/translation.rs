//! What becomes of a packet's addresses and ports, and how a flow's entry holds it.

use super::{flag, high, low};
use crate::bytes::{Addr, Be16};

/// The addresses and ports that a packet goes on with, after NAT or through a load balancer.
///
/// An entry has room for two IPv4 addresses, or for one of IPv6. That is enough: of the two IPv6 addresses
/// that a balanced packet goes on with one is in its key, the client's that is kept, or that of the node.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// As in [`FlowKey`].
    pub source_port: Be16,
    /// As in [`FlowKey`].
    pub target_port: Be16,
}

/// A [`Translation`] as the words of an entry.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TranslationWords {
    /// [`Flow::new_addresses`].
    pub addresses: u64,
    /// [`Flow::new_ports`].
    pub ports: u64,
    /// The upper half of [`Flow::target_ifindex`].
    pub rest: u64,
    /// Which of the addresses these are: bits of [`Flow::flags`], of [`flag::WIDE`].
    pub flags: u64,
}

impl Translation {
    /// As words of the entry of packets that come with these addresses.
    #[inline(always)]
    pub fn words(&self, source: &Addr, target: &Addr) -> TranslationWords {
        let (p, q) = (self.source_port.bytes(), self.target_port.bytes());
        let ports = u32::from_ne_bytes([p[0], p[1], q[0], q[1]]);
        if self.source.is_v4() {
            let (s, t) = (self.source.v4_octets(), self.target.v4_octets());
            return TranslationWords {
                addresses: u64::from_ne_bytes([s[0], s[1], s[2], s[3], t[0], t[1], t[2], t[3]]),
                ports: joined(0, ports),
                rest: 0,
                flags: 0,
            };
        }
        let (flags, new) = if self.source == *source {
            (flag::WIDE_TARGET, &self.target)
        } else if self.source == *target {
            (flag::WIDE_TURNED, &self.target)
        } else {
            (flag::WIDE_SOURCE, &self.source)
        };
        let [a, b, c, d] = new.words();
        TranslationWords {
            addresses: joined(a, b),
            ports: joined(c, ports),
            rest: joined(d, 0),
            flags,
        }
    }

    /// From the words of the entry of packets that come with these addresses.
    #[inline(always)]
    pub fn from_words(words: &TranslationWords, source: &Addr, target: &Addr) -> Self {
        let mut new = Self::default();
        words.put_addresses(source, target, &mut new.source, &mut new.target);
        (new.source_port, new.target_port) = ports_of(words.ports);
        new
    }
}

impl TranslationWords {
    /// Writes the addresses that packets with these go on with.
    #[inline(always)]
    pub(super) fn put_addresses(
        &self,
        source: &Addr,
        target: &Addr,
        new_source: &mut Addr,
        new_target: &mut Addr,
    ) {
        let kind = self.flags & flag::WIDE;
        if kind == 0 {
            let a = self.addresses.to_ne_bytes();
            *new_source = Addr::v4([a[0], a[1], a[2], a[3]]);
            *new_target = Addr::v4([a[4], a[5], a[6], a[7]]);
            return;
        }
        let (kept, place, other) = match kind {
            flag::WIDE_TARGET => (source, new_target, new_source),
            flag::WIDE_TURNED => (target, new_target, new_source),
            _ => (target, new_source, new_target),
        };
        *other = *kept;
        *place = Addr::of_words([
            high(self.addresses),
            low(self.addresses),
            high(self.ports),
            high(self.rest),
        ]);
    }
}

/// The ports in [`Flow::new_ports`].
#[inline(always)]
pub(super) const fn ports_of(word: u64) -> (Be16, Be16) {
    let [a, b, c, d] = low(word).to_ne_bytes();
    (Be16::from_bytes([a, b]), Be16::from_bytes([c, d]))
}

/// Two halves as a word.
#[inline(always)]
const fn joined(upper: u32, lower: u32) -> u64 {
    (upper as u64) << 32 | lower as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wide(last: u8) -> Addr {
        Addr::v6([0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, last])
    }

    fn comes_back(source: Addr, target: Addr, new: (Addr, Addr)) {
        let new = Translation {
            source: new.0,
            target: new.1,
            source_port: Be16::new(40_000),
            target_port: Be16::new(8080),
        };
        let mut words = new.words(&source, &target);
        // The lower half is the device's, and flags have others beside.
        words.rest |= 0x7000_0007;
        words.flags |= flag::TRANSLATED | flag::REPLY;
        assert_eq!(Translation::from_words(&words, &source, &target), new);
    }

    #[test]
    fn addresses_come_back_from_an_entrys_words() {
        let [a, b, c, d] = [5, 6, 7, 8].map(|last| Addr::v4([10, 0, 0, last]));
        for new in [(a, c), (c, b), (c, d), (b, a)] {
            comes_back(a, b, new);
        }
        // A client and the node; what of a balanced flow goes on, and what answers.
        let [client, node, target] = [1, 2, 3].map(wide);
        for (from, to, new) in [
            (client, node, (client, target)),
            (client, node, (node, target)),
            (target, client, (node, client)),
            (target, node, (node, client)),
        ] {
            comes_back(from, to, new);
        }
    }
}
