//! Values as they lie in packets and in table keys: addresses, MAC addresses, port numbers.
//!
//! Everything here is in network byte order, and the type says so. All addresses are 16 bytes wide;
//! an IPv4 address is its v4-mapped form, so one table serves both families.

use core::fmt;

/// An IP address of 16 bytes in network byte order; IPv4 is `::ffff:a.b.c.d`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Addr([u32; 4]);

impl Addr {
    /// `::`, which no packet may carry as its source.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// The v4-mapped form of an IPv4 address.
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self([0, 0, MAPPED, u32::from_ne_bytes(octets)])
    }

    /// An IPv6 address.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let o = octets;
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// The four octets of an IPv4 address (the last four of any other).
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        self.0[3].to_ne_bytes()
    }

    /// All 16 octets.
    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        let mut word = 0;
        while word < 4 {
            let bytes = self.0[word].to_ne_bytes();
            octets[word * 4] = bytes[0];
            octets[word * 4 + 1] = bytes[1];
            octets[word * 4 + 2] = bytes[2];
            octets[word * 4 + 3] = bytes[3];
            word += 1;
        }
        octets
    }

    /// Multicast, or the IPv4 limited broadcast: never carried.
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        if self.is_v4() {
            let first = self.v4_octets()[0];
            // 224.0.0.0/4, and 240.0.0.0/4 which holds 255.255.255.255.
            first >= 0xe0
        } else {
            self.0[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Whether the address can be nobody's source: unspecified, `0.0.0.0/8`, loopback or multicast.
    #[inline(always)]
    pub const fn is_no_source(&self) -> bool {
        if self.is_v4() {
            let first = self.v4_octets()[0];
            first == 0 || first == 127 || first >= 0xe0
        } else {
            (self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0) || self.is_multicast()
        }
    }

    /// Of private networks: RFC 1918 or `fc00::/7`. The internet carries none of these.
    #[inline(always)]
    pub const fn is_private(&self) -> bool {
        if self.is_v4() {
            let octets = self.v4_octets();
            octets[0] == 10
                || (octets[0] == 172 && octets[1] & 0xf0 == 16)
                || (octets[0] == 192 && octets[1] == 168)
        } else {
            self.0[0].to_ne_bytes()[0] & 0xfe == 0xfc
        }
    }

    /// Link-local: `169.254.0.0/16` or `fe80::/10`.
    #[inline(always)]
    pub const fn is_link_local(&self) -> bool {
        if self.is_v4() {
            let octets = self.v4_octets();
            octets[0] == 169 && octets[1] == 254
        } else {
            let octets = self.0[0].to_ne_bytes();
            octets[0] == 0xfe && octets[1] & 0xc0 == 0x80
        }
    }

    /// Whether the bits that the mask has set are those of a network.
    #[inline(always)]
    pub(crate) const fn is_in(&self, network: &Self, mask: &Self) -> bool {
        self.0[0] & mask.0[0] == network.0[0]
            && self.0[1] & mask.0[1] == network.0[1]
            && self.0[2] & mask.0[2] == network.0[2]
            && self.0[3] & mask.0[3] == network.0[3]
    }

    /// The four words, as they lie in memory.
    #[inline(always)]
    pub(crate) const fn words(&self) -> [u32; 4] {
        self.0
    }

    /// From the four words.
    #[inline(always)]
    pub(crate) const fn of_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// All words in one, for a hash.
    #[inline(always)]
    pub(crate) const fn folded(&self) -> u32 {
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }

    /// The first four octets, as they lie in memory.
    #[inline(always)]
    pub(crate) const fn head(&self) -> u32 {
        self.0[0]
    }

    /// The MAC address that an IPv6 address on the link is made from (RFC 4291, appendix A): zeros, which
    /// are nobody's, if it is made of anything else.
    #[inline(always)]
    pub const fn link_mac(&self) -> Mac {
        let (a, b) = (self.0[2].to_ne_bytes(), self.0[3].to_ne_bytes());
        let is_of_mac = self.0[0] == LINK_LOCAL && self.0[1] == 0 && a[3] == 0xff && b[0] == 0xfe;
        if is_of_mac {
            Mac([a[0] ^ 2, a[1], a[2], b[1], b[2], b[3]])
        } else {
            Mac([0; 6])
        }
    }

    /// The network part: all bits from `prefix_len` (0 to 128) on are zero.
    #[must_use]
    pub const fn masked(&self, prefix_len: u32) -> Self {
        let bits = u128::from_be_bytes(self.octets());
        let mask = if prefix_len == 0 {
            0
        } else {
            u128::MAX << (128 - prefix_len)
        };
        Self::v6((bits & mask).to_be_bytes())
    }
}

/// The first word of an address on the link, as it lies in memory.
const LINK_LOCAL: u32 = u32::from_ne_bytes([0xfe, 0x80, 0, 0]);
/// The third word of a v4-mapped address, as it lies in memory.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Addr {
    /// Numeric order, as people sort addresses.
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.octets().cmp(&other.octets())
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4() {
            core::net::Ipv4Addr::from(self.v4_octets()).fmt(f)
        } else {
            core::net::Ipv6Addr::from(self.octets()).fmt(f)
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<core::net::IpAddr> for Addr {
    fn from(addr: core::net::IpAddr) -> Self {
        match addr {
            core::net::IpAddr::V4(v4) => Self::v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<core::net::Ipv4Addr> for Addr {
    fn from(addr: core::net::Ipv4Addr) -> Self {
        Self::v4(addr.octets())
    }
}

impl From<Addr> for core::net::IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            Self::V4(addr.v4_octets().into())
        } else {
            Self::V6(addr.octets().into())
        }
    }
}

/// A port number in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// From the number.
    #[inline(always)]
    pub const fn new(value: u16) -> Self {
        Self(value.to_be_bytes())
    }

    /// From the two bytes of a packet.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }

    /// The two bytes of a packet.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }

    /// The number.
    #[inline(always)]
    pub const fn value(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

impl PartialOrd for Be16 {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Be16 {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.value().cmp(&other.value())
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

/// A MAC address.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Broadcast or multicast: the group bit is set.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first twelve bytes of a frame, destination and source MAC, as two words that compare quickly.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct MacPair {
    /// Bytes 0 to 7.
    pub head: u64,
    /// Bytes 8 to 11, then zeros.
    pub tail: u64,
}

impl MacPair {
    /// The pair of a frame that goes to `destination` and comes from `source`.
    #[inline(always)]
    pub const fn new(destination: Mac, source: Mac) -> Self {
        let (d, s) = (destination.0, source.0);
        Self {
            head: u64::from_ne_bytes([d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1]]),
            tail: u64::from_ne_bytes([s[2], s[3], s[4], s[5], 0, 0, 0, 0]),
        }
    }

    /// The destination MAC.
    #[inline(always)]
    pub const fn destination(&self) -> Mac {
        let h = self.head.to_ne_bytes();
        Mac([h[0], h[1], h[2], h[3], h[4], h[5]])
    }

    /// The source MAC.
    #[inline(always)]
    pub const fn source(&self) -> Mac {
        let (h, t) = (self.head.to_ne_bytes(), self.tail.to_ne_bytes());
        Mac([h[6], h[7], t[0], t[1], t[2], t[3]])
    }

    /// The twelve bytes.
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; 12] {
        let (h, t) = (self.head.to_ne_bytes(), self.tail.to_ne_bytes());
        [
            h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], t[0], t[1], t[2], t[3],
        ]
    }
}

/// The ends of the MAC addresses with which a frame comes and goes on, as one word.
#[inline(always)]
pub const fn tails(arrives: MacPair, leaves: MacPair) -> u64 {
    let (a, l) = (arrives.tail.to_ne_bytes(), leaves.tail.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], l[0], l[1], l[2], l[3]])
}

/// The first of the two of [`tails`], as a [`MacPair`] has it.
#[inline(always)]
pub(crate) const fn first_tail(word: u64) -> u64 {
    let w = word.to_ne_bytes();
    u64::from_ne_bytes([w[0], w[1], w[2], w[3], 0, 0, 0, 0])
}

/// The second.
#[inline(always)]
pub(crate) const fn second_tail(word: u64) -> u64 {
    let w = word.to_ne_bytes();
    u64::from_ne_bytes([w[4], w[5], w[6], w[7], 0, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_v4_mapped_and_comes_back() {
        let addr = Addr::v4([10, 0, 0, 5]);
        assert!(addr.is_v4());
        assert_eq!(
            addr.octets(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5]
        );
        assert_eq!(Addr::v6(addr.octets()), addr);
        assert!(!Addr::UNSPECIFIED.is_v4());
    }

    #[test]
    fn masking_keeps_the_network_and_nothing_else() {
        let addr = Addr::v4([10, 1, 2, 3]);
        assert_eq!(addr.masked(96 + 16), Addr::v4([10, 1, 0, 0]));
        assert_eq!(addr.masked(128), addr);
        assert_eq!(addr.masked(0), Addr::UNSPECIFIED);
    }

    #[test]
    fn addresses_that_nobody_sends_from_are_told_apart() {
        for octets in [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert!(Addr::v4(octets).is_no_source(), "{octets:?}");
        }
        assert!(!Addr::v4([10, 0, 0, 1]).is_no_source());
        assert!(Addr::v4([239, 1, 1, 1]).is_multicast());
        assert!(!Addr::v4([223, 255, 255, 255]).is_multicast());
        assert!(Addr::v4([169, 254, 169, 254]).is_link_local());
        assert!(!Addr::v4([169, 253, 0, 1]).is_link_local());
    }

    #[test]
    fn a_mac_pair_holds_both_addresses_in_frame_order() {
        let (to, from) = (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]));
        let pair = MacPair::new(to, from);
        assert_eq!(pair.destination(), to);
        assert_eq!(pair.source(), from);
        assert_eq!(pair.bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let back = MacPair::new(from, to);
        let word = tails(pair, back);
        assert_eq!(
            (first_tail(word), second_tail(word)),
            (pair.tail, back.tail)
        );
    }

    #[test]
    fn addresses_sort_as_numbers() {
        assert!(Addr::v4([9, 255, 0, 0]) < Addr::v4([10, 0, 0, 0]));
        assert!(Be16::new(80) < Be16::new(443));
    }
}
